"""Other people's readers, as functions from file to what they read: values of masks on our grid, and measurements."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from inference.volume import Volume
from tests.waiting import LIMIT_S

DCMJS = Path(__file__).parents[2] / ".cache" / "dcmjs" / "0.49.0"
"""dcmjs as `make peers` fetches it."""
READ_SR = Path(__file__).with_name("read_sr.cjs")

Values = dict[int, NDArray[np.float32]]
"""By segment number: what each voxel of our grid has of it, 0 to 1."""

LARGEST_FRACTION = 255


def dcmqi_masks(program: str, path: Path, volume: Volume, folder: Path) -> list[NDArray[np.bool_]]:
    """The masks of a BINARY Segmentation, segment by segment, as dcmqi's segimage2itkimage reads them."""
    return [values.astype(np.bool_) for values in dcmqi_values(program, path, "seg", volume, folder).values()]


def dcmqi_values(program: str, path: Path, kind: str, volume: Volume, folder: Path) -> Values:
    """What dcmqi's segimage2itkimage reads, brought to the volume's grid by patient coordinates.

    Every voxel that it reads must lie on a voxel of the volume.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [program, "--inputDICOM", str(path), "--outputDirectory", str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S)
    read = {int(file.stem): _on_grid(sitk.ReadImage(str(file)), volume) for file in sorted(folder.glob("*.nrrd"))}
    if kind == "seg_labelmap":
        (labels,) = read.values()
        return {int(number): np.float32(labels == number) for number in np.unique(labels) if number}
    if kind == "seg_fractional":
        return {number: values / np.float32(LARGEST_FRACTION) for number, values in sorted(read.items())}
    return {number: np.float32(values == number) for number, values in sorted(read.items())}


def _on_grid(image: sitk.Image, volume: Volume) -> NDArray[np.float32]:
    values = sitk.GetArrayFromImage(image)
    direction = np.reshape(image.GetDirection(), (3, 3))
    slices_rows_columns = np.argwhere(values)
    places = (slices_rows_columns[:, ::-1] * image.GetSpacing()) @ direction.T + image.GetOrigin()
    read = np.zeros(volume.voxels.shape, np.float32)
    read[_indices(places, volume)] = values[tuple(slices_rows_columns.T)]
    return read


def _indices(places_lps: NDArray[np.float64], volume: Volume) -> tuple[NDArray[np.int64], ...]:
    """The voxels of the volume at these places (points, 3), each of which must be the centre of one."""
    ours = (np.linalg.inv(volume.affine_lps) @ np.column_stack([places_lps, np.ones(len(places_lps))]).T)[:3].T
    np.testing.assert_allclose(ours, np.rint(ours), atol=0.05)
    return tuple(np.rint(ours).astype(int).T)


def highdicom_values(path: Path, volume: Volume) -> Values:
    """What highdicom's get_volume reads, brought to the volume's grid by patient coordinates."""
    seg = hd.seg.segread(path)
    whole = seg.get_volume(combine_segments=False)
    found = {}
    for channel, number in enumerate(seg.segment_numbers):
        values = np.asarray(whole.array[..., channel], np.float32)
        theirs = np.argwhere(values)
        places = (whole.affine @ np.column_stack([theirs, np.ones(len(theirs))]).T)[:3].T
        found[int(number)] = np.zeros(volume.voxels.shape, np.float32)
        found[int(number)][_indices(places, volume)] = values[tuple(theirs.T)]
    return found


def highdicom_frames(path: Path, source_uids: list[str]) -> Values:
    """What highdicom reads for each of the single-frame sources, in their order: for stacks that are no rectangular volume."""
    seg = hd.seg.segread(path)
    frames = seg.get_pixels_by_source_instance(source_uids, assert_missing_frames_are_empty=True)
    return {int(number): np.asarray(frames[..., i], np.float32) for i, number in enumerate(seg.segment_numbers)}


@dataclass(frozen=True, order=True)
class Measured:
    """A number of a report, with the codes of what was measured and of its unit."""

    about: str
    name: str
    scheme: str
    value: float
    unit: str


def by_dcmqi(program: str, path: Path, output: Path) -> list[Measured]:
    """What dcmqi's tid1500reader finds."""
    command = [program, "--inputDICOM", str(path), "--outputMetadata", str(output)]
    subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S)
    return [
        Measured(
            group["TrackingIdentifier"],
            item["quantity"]["CodeValue"],
            item["quantity"]["CodingSchemeDesignator"],
            float(item["value"]),
            item["units"]["CodeValue"],
        )
        for group in json.loads(output.read_text())["Measurements"]
        for item in group.get("measurementItems", [])
    ]


def by_highdicom(path: Path) -> list[Measured]:
    """What highdicom's srread finds in groups of all three templates."""
    content = hd.sr.srread(path).content
    groups: list[Any] = [
        *content.get_volumetric_roi_measurement_groups(),
        *content.get_planar_roi_measurement_groups(),
        *content.get_image_measurement_groups(),
    ]
    return [
        Measured(
            str(group.tracking_identifier),
            item.name.value,
            item.name.scheme_designator,
            float(item.value),
            item.unit.value,
        )
        for group in groups
        for item in group.get_measurements()
        if item.value is not None
    ]


def by_dcmjs(node: str, path: Path) -> list[Measured]:
    """What dcmjs finds. Where it is missing, the test fails in CI, else is skipped."""
    if not DCMJS.exists():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{DCMJS} is missing: `make peers`")
    command = [node, str(READ_SR), str(DCMJS), str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT_S)
    return [
        Measured(about or "", name, scheme, value, unit)
        for about, (name, scheme), value, (unit, _) in json.loads(done.stdout)
    ]


def map_by_dcmqi(program: str, path: Path, volume: Volume, folder: Path) -> NDArray[np.float32]:
    """The values of a Parametric Map as dcmqi's paramap2itkimage reads them, on the volume's grid."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [program, "--inputDICOM", str(path), "--outputDirectory", str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S)
    (file,) = folder.glob("*.nrrd")
    return _on_grid(sitk.ReadImage(str(file)), volume)


def map_by_highdicom(path: Path, volume: Volume) -> NDArray[np.float32]:
    """The values of a Parametric Map as highdicom reads them, on the volume's grid."""
    whole = hd.imread(path).get_volume()
    read = np.zeros(volume.voxels.shape, np.float32)
    theirs = np.argwhere(np.ones(whole.spatial_shape, np.bool_))
    places = (whole.affine @ np.column_stack([theirs, np.ones(len(theirs))]).T)[:3].T
    read[_indices(places, volume)] = np.asarray(whole.array, np.float32).ravel()
    return read
