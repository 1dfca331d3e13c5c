"""Every series of the real data against SimpleITK and dcm2niix, voxel by voxel and affine by affine.

A series that is refused is named here with the reason it must give; a series where a peer reads nothing or something else
is named with why. A series that is in neither list must equal both peers. Files that hold one instance in several encodings
are compared one by one.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from inference.errors import NotAVolume
from inference.series import read_series
from inference.volume import Volume
from tests.inference.peer_readers import (
    PeerImage,
    convert_with_dcm2niix,
    on_grid_of,
    read_with_simpleitk,
)

AFFINE_MM = 0.01
"""How far any corner of a peer's grid may lie from ours."""

REFUSED = {
    "ct_head_ge_tilt_varspacing": "spacing varies from 1.08 to 7.00 mm",
    "ct_one_slice_16_syntaxes/US-YBR_FULL_422-EVRLE.dcm": "no usable Image Position",
    "ct_one_slice_16_syntaxes/no-pixel-spacing.dcm": "no usable Image Position",
    "dcmqi_data/segmentations/23x38x3/seg": "Segmentation holds labels",
    "dcmqi_data/segmentations/24x38x3/seg": "Segmentation holds labels",
    "dcmqi_data/segmentations/liver.dcm": "Segmentation holds labels",
    "dcmqi_data/segmentations/partial_overlaps.dcm": "Segmentation holds labels",
    "dcmqi_data/segmentations/sparse-labelmap": "Label Map Segmentation holds labels",
    "dcmqi_data/sr-example/seg.dcm": "Segmentation holds labels",
    "highdicom_test_files/dx_image.dcm": "no usable Image Position",
    "highdicom_test_files/seg_image": "Segmentation holds labels",
    "highdicom_test_files/sm_image": "25 frames without functional groups",
    "highdicom_test_files": "25 frames without functional groups",
    "odd_dicom2nifti/failing/gantrytilting/001": "leans 14.0 degrees off the normal",
    "odd_dicom2nifti/failing/notavolume/001": "neither Spacing Between Slices nor Slice Thickness",
    "odd_dicom2nifti/failing/sliceincrement/001": "no image between z=28.1 and 38.1 mm (spacing 5.00 mm)",
    "odd_dicom2nifti/failing/sliceincrement/002": "no image between z=-51.1 and -49.6 mm (spacing 0.75 mm)",
    "odd_dicom2nifti/generic/rgb/001": "pixels are colours, not numbers: RGB",
    "pydicom_charset/chr": "no usable Image Position",
    "pydicom_test_files/ExplVR_BigEnd.dcm": "no usable Image Position",
    "pydicom_test_files/GDCMJ2K_TextGBR.dcm": "no usable Image Position",
    "pydicom_test_files/JPEG-lossy.dcm": "no usable Image Position",
    "pydicom_test_files/JPEG2000": "no usable Image Position",
    "pydicom_test_files/JPGExtended.dcm": "no usable Image Position",
    "pydicom_test_files/MR_truncated.dcm": "Pixel Data holds 8130 bytes, 8192 needed",
    "pydicom_test_files/SC_": "no usable Image Position",
    "pydicom_test_files/SC_rgb_rle_16bit_2frame.dcm": "2 frames without functional groups",
    "pydicom_test_files/SC_rgb_rle_2frame.dcm": "2 frames without functional groups",
    "pydicom_test_files/SC_rgb_rle_32bit_2frame.dcm": "2 frames without functional groups",
    "pydicom_test_files/badVR.dcm": "an RT Dose is no image",
    "pydicom_test_files/rtdose": "an RT Dose is no image",
    "pydicom_test_files/dicomdirtests/77654033/CR": "no usable Image Position",
    "pydicom_test_files/dicomdirtests/77654033/CT2": "no image between z=-99.5 and 103.0 mm",
    "pydicom_test_files/dicomdirtests/98892001/CT2N": "localizer (value 3 of Image Type) (all 2 images)",
    "pydicom_test_files/dicomdirtests/98892003/MR2": "3 images lie in 3 planes that are not parallel",
    "pydicom_test_files/dicomdirtests/98892003/MR700": "7 images lie in 7 planes that are not parallel",
    "pydicom_test_files/examples_": "no usable Image Position",
    "pydicom_test_files/examples_ybr_color.dcm": "30 frames without functional groups",
    "pydicom_test_files/image_dfl.dcm": "no usable Image Position",
    "pydicom_test_files/liver_": "Segmentation holds labels",
    "pydicom_test_files": "no usable Image Position",
}
"""Start of a unit's name (the longest that fits) to the words its reason must hold."""

NO_DECODER = "it has no decoder for this transfer syntax"
FRAGMENTS = "it does not read a frame that lies in several fragments"
WITHOUT_DCM2NIIX = {
    "CT0012.fragmented_no_bot_jpeg_baseline.51.dcm": FRAGMENTS,
    "CT1_J2KR": FRAGMENTS,
    "CT2_J2KR": FRAGMENTS,
    "CTImage.dcm_DeflatedExplicitVRLittleEndianTransferSyntax_1.2.840.10008.1.2.1.99.dcm": NO_DECODER,
    "CTImage.dcm_JPEGLSLosslessTransferSyntax_1.2.840.10008.1.2.4.80.dcm": NO_DECODER,
    "CTImage.dcm_JPEGLSLossyTransferSyntax_1.2.840.10008.1.2.4.81.dcm": NO_DECODER,
    "CTImage.dcm_JPEGProcess10_12TransferSyntax_1.2.840.10008.1.2.4.55.dcm": NO_DECODER,
    "CTImage.dcm_JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51.dcm": NO_DECODER,
    "CTImage.dcm_JPEGProcess6_8TransferSyntax_1.2.840.10008.1.2.4.53.dcm": NO_DECODER,
    "MR_small_jpeg_ls_lossless.dcm": NO_DECODER,
    "odd_dicom2nifti/generic/compressed_jpegls/001": NO_DECODER,
    "CTImage.dcm_JPEGProcess1TransferSyntax_1.2.840.10008.1.2.4.50.dcm": (
        "lossy JPEG: its inverse cosine transform differs from libjpeg's by up to 3 stored values, here of slope 32.1;"
        " the standard leaves that open and SimpleITK agrees with us to the bit"
    ),
    "J2K_pixelrep_mismatch.dcm": (
        "it takes Gantry/Detector Tilt -22 for a shear of the lone, already oblique image and moves its origin"
    ),
}
"""End of a unit's name to why dcm2niix is no witness there."""


FIELD_MAP = (("FrameType", "ORIGINAL\\PRIMARY\\T1\\FIELD_MAP"),)


@dataclass
class Unit:
    """Files that are read together."""

    name: str
    paths: list[Path] = field(default_factory=list)
    datasets: list[Dataset] = field(default_factory=list)


def _units(shared_data: Path) -> Iterator[Unit]:
    found: defaultdict[tuple[str, str], Unit] = defaultdict(lambda: Unit(""))
    for path in sorted(shared_data.rglob("*")):
        if not path.is_file() or path.name.startswith("DICOMDIR"):
            continue
        try:
            dataset = dcmread(path, force=True)
        except (InvalidDicomError, OSError, ValueError, NotImplementedError):
            continue
        if "SeriesInstanceUID" in dataset and "PixelData" in dataset:
            folder = str(path.parent.relative_to(shared_data))
            unit = found[folder, dataset.SeriesInstanceUID]
            unit.name = folder
            unit.paths.append(path)
            unit.datasets.append(dataset)
    for unit in found.values():
        uids = [dataset.get("SOPInstanceUID") for dataset in unit.datasets]
        if len(unit.paths) == 1 or (uids[0] and len(set(uids)) < len(uids)):
            for path, dataset in zip(unit.paths, unit.datasets, strict=True):
                yield Unit(f"{unit.name}/{path.name}", [path], [dataset])
        else:
            yield unit


@pytest.fixture(scope="module")
def units(shared_data: Path) -> list[Unit]:
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # broken on purpose: wrong VRs, missing meta headers
        return list(_units(shared_data))


@pytest.fixture(scope="module")
def readings(units: list[Unit]) -> dict[str, tuple[Unit, tuple[Volume, ...] | str]]:
    """What this project makes of every unit: its volumes, or the reason for none."""
    found: dict[str, tuple[Unit, tuple[Volume, ...] | str]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, unit in enumerate(units):
            try:
                made: tuple[Volume, ...] | str = read_series(unit.datasets).volumes
            except NotAVolume as error:
                made = str(error)
            found[f"{number} {unit.name}"] = (unit, made)
    return found


def _linked(folder: Path, paths: list[Path]) -> Path:
    folder.mkdir(parents=True)
    for number, path in enumerate(paths):
        (folder / f"{number:04d}.dcm").symlink_to(path)
    return folder


def _paths_of(volume: Volume, unit: Unit) -> list[Path]:
    wanted = {source.sop_instance_uid for source in volume.sources}
    return [
        path
        for path, dataset in zip(unit.paths, unit.datasets, strict=True)
        if dataset.get("SOPInstanceUID", "") in wanted
    ]


def _difference(volume: Volume, images: list[PeerImage]) -> str:
    """Empty when one of the images equals the volume; else what is wrong with the best one."""
    worst = "no image on this grid"
    for image in images:
        on_grid = on_grid_of(image, volume.affine_lps, AFFINE_MM)
        if on_grid is not None and on_grid.shape == volume.voxels.shape:
            off = float(np.abs(on_grid - volume.voxels).max())
            if off <= 1e-6 * max(1.0, float(np.abs(on_grid).max())):
                return ""
            worst = f"values differ by up to {off:.4g}"
    return worst


def test_every_refused_series_says_the_expected_reason(
    readings: dict[str, tuple[Unit, tuple[Volume, ...] | str]],
) -> None:
    wrong = []
    for unit, made in readings.values():
        keys = [key for key in REFUSED if unit.name.startswith(key)]
        if isinstance(made, str) and (not keys or REFUSED[max(keys, key=len)] not in made):
            wrong.append(f"{unit.name}: {made}")
    assert not wrong, "\n".join(wrong)


def test_no_series_is_read_that_must_be_refused_by_name(
    readings: dict[str, tuple[Unit, tuple[Volume, ...] | str]],
) -> None:
    refused = {unit.name for unit, made in readings.values() if isinstance(made, str)}
    exact = {name for name in REFUSED if any(unit.name == name for unit, _ in readings.values())}
    read = exact - refused - {"pydicom_test_files", "highdicom_test_files"}
    assert not read, f"read as volumes: {sorted(read)}"
    volumes = [made for _, made in readings.values() if not isinstance(made, str)]
    assert len(volumes) >= 50, "fewer series than known make a volume"


def test_every_volume_equals_what_simpleitk_reads(
    readings: dict[str, tuple[Unit, tuple[Volume, ...] | str]], tmp_path: Path
) -> None:
    wrong, compared = [], 0
    for number, (unit, made) in enumerate(readings.values()):
        if isinstance(made, str) or made[0].sources[0].frame_number is not None:
            continue
        for rank, volume in enumerate(made):
            folder = _linked(tmp_path / f"{number}-{rank}", _paths_of(volume, unit))
            images = read_with_simpleitk(folder)
            if len(volume.sources) == 1:
                for image in images:  # SimpleITK gives a lone image 1 mm, whatever Slice Thickness says
                    image.affine_lps[:3, 2] *= volume.spacing_mm[0] / np.linalg.norm(image.affine_lps[:3, 2])
            compared += 1
            difference = _difference(volume, images)
            if difference:
                wrong.append(f"{unit.name}: {difference}")
    assert not wrong, "\n".join(wrong)
    assert compared >= 45


def test_every_volume_equals_what_dcm2niix_writes(
    readings: dict[str, tuple[Unit, tuple[Volume, ...] | str]], peer: Callable[[str], str], tmp_path: Path
) -> None:
    program = peer("dcm2niix")
    wrong, compared = [], 0
    for number, (unit, made) in enumerate(readings.values()):
        if isinstance(made, str) or any(unit.name.endswith(name) for name in WITHOUT_DCM2NIIX):
            continue
        folder = _linked(tmp_path / f"{number}-in", unit.paths)
        images = convert_with_dcm2niix(program, folder, tmp_path / f"{number}-out")
        for volume in made:
            compared += 1
            difference = _difference(volume, list(images.values()))
            if difference:
                wrong.append(f"{unit.name} {volume.split_by}: {difference} ({len(images)} images)")
    assert not wrong, "\n".join(wrong)
    assert compared >= 45


def test_multi_frame_instances_have_the_values_that_simpleitk_reads(
    readings: dict[str, tuple[Unit, tuple[Volume, ...] | str]],
) -> None:
    """SimpleITK reads frames in stored order, several volumes as one, and rescales every frame by the first one's slope and
    intercept. So frames are compared one by one, by the frame number of each slice, and those that have the rescale of the
    first frame; the field map of the Philips instance has its own, and dcm2niix as witness."""
    compared = 0
    for unit, made in readings.values():
        if isinstance(made, str) or made[0].sources[0].frame_number is None:
            continue
        for volume in made:
            if unit.name.endswith("IM_0027_fMAP.dcm") and volume.split_by == FIELD_MAP:
                continue
            (path,) = _paths_of(volume, unit)
            stored = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path), SimpleITK.sitkFloat64))
            for slice_voxels, source in zip(volume.voxels, volume.sources, strict=True):
                frame = stored[(source.frame_number or 0) - 1]
                assert np.allclose(slice_voxels, frame, rtol=1e-6, atol=1e-3), unit.name
                compared += 1
    assert compared >= 60


@pytest.fixture(scope="module")
def tilted(shared_data: Path) -> list[Path]:
    """Four slices of a head CT whose origins do not move along the normal: gantry tilt of 14 degrees."""
    return sorted((shared_data / "odd_dicom2nifti/failing/gantrytilting/001").iterdir())


def test_a_tilted_series_kept_as_it_is_has_each_slice_where_its_instance_says(tilted: list[Path]) -> None:
    """Against the attributes themselves: NIfTI and SimpleITK write this stack with a direction matrix that is not the data's
    (dcm2niix stretches rows to 0.44 mm, SimpleITK drops the shear)."""
    datasets = [dcmread(path) for path in tilted]
    volume = read_series(datasets, tilt="keep").volumes[0]
    assert volume.gantry_tilt_deg == pytest.approx(14, abs=0.1)
    by_uid = {dataset.SOPInstanceUID: dataset for dataset in datasets}
    for index, source in enumerate(volume.sources):
        dataset = by_uid[source.sop_instance_uid]
        origin = (volume.affine_lps @ [index, 0, 0, 1])[:3]
        assert np.allclose(origin, np.array(dataset.ImagePositionPatient, float), atol=1e-6)
        assert np.array_equal(volume.voxels[index], dataset.pixel_array.astype(float) - 1024)


def test_a_tilted_series_resampled_equals_the_correction_of_dcm2niix(
    tilted: list[Path], peer: Callable[[str], str], tmp_path: Path
) -> None:
    volume = read_series([dcmread(path) for path in tilted], tilt="resample").volumes[0]
    images = convert_with_dcm2niix(peer("dcm2niix"), _linked(tmp_path / "in", tilted), tmp_path / "out")
    (corrected,) = [image for name, image in images.items() if "_Tilt" in name]
    on_grid = on_grid_of(corrected, volume.affine_lps, AFFINE_MM)
    assert on_grid is not None
    assert on_grid.shape == volume.voxels.shape
    assert np.abs(on_grid - volume.voxels).max() <= 1.0, "it rounds interpolated values to whole numbers"


def test_a_tilted_series_of_uneven_spacing_may_be_made_rectangular(shared_data: Path) -> None:
    paths = sorted((shared_data / "ct_head_ge_tilt_varspacing").iterdir())
    datasets = [dcmread(path) for path in paths]
    volume = read_series(datasets, tilt="resample", spacing="resample").volumes[0]
    columns = volume.affine_lps[:3, :3]
    assert np.allclose(columns.T @ columns, np.diag(np.square(volume.spacing_mm)), atol=1e-6)
    assert volume.gantry_tilt_deg == pytest.approx(18.5, abs=0.1)
    extent_mm = volume.spacing_mm[0] * (volume.voxels.shape[0] - 1)
    normal = columns[:, 0] / volume.spacing_mm[0]
    along = [float(np.array(d.ImagePositionPatient, float) @ normal) for d in datasets]
    assert max(along) - min(along) - volume.spacing_mm[0] < extent_mm <= max(along) - min(along) + 1e-6
    first = min(datasets, key=lambda d: float(np.array(d.ImagePositionPatient, float) @ normal))
    stored = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(first.filename), SimpleITK.sitkFloat64))[0]
    row = round((np.linalg.inv(volume.affine_lps) @ [*map(float, first.ImagePositionPatient), 1])[1])
    assert np.abs(volume.voxels[0, row : row + 512] - stored).mean() < 25, "half a pixel of interpolation at most"
