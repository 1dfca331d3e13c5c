"""Other people's readers and validators on Segmentations of all three types, voxel by voxel, in every geometry."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray

from dicom_node.result_kinds import ResultKind
from dicom_node.results.encode import encode
from dicom_node.results.fractions import fractions_on
from dicom_node.results.report import Report
from dicom_node.results.scene import scene_of
from dicom_node.results.segments import Numbered
from inference.findings import Findings
from inference.volume import Volume
from tests.conformance.readers import dcmqi_masks, dcmqi_values
from tests.conformance.reports import made_volume, real_volume, report_on
from tests.conformance.validators import dciodvfy_errors
from tests.segmented import SUITED, many, masks, probabilities

Peer = Callable[[str], str]
Make = Callable[[Volume], Findings]

GEOMETRIES = ("axial", "sagittal", "oblique", "tilted", "resampled", "multi_frame")
UPRIGHT = ("axial", "sagittal", "oblique", "multi_frame")
CASES = [pytest.param(kind, make, id=f"{kind}-{make.__name__}") for kind, row in SUITED.items() for make in row]


def made(kind: ResultKind, make: Make, geometry: str) -> tuple[Report, list[Numbered], bytes]:
    """A report, its segments that hold a voxel, and the file."""
    datasets, volume = made_volume(geometry)
    return written(report_on(datasets, volume, make(volume), (kind,)))


def written(report: Report) -> tuple[Report, list[Numbered], bytes]:
    (result,) = encode(report)
    assert not result.faults
    return report, [item for item in scene_of(report).segments if item.number], result.payload


def expected(kind: ResultKind, item: Numbered) -> NDArray[np.float64]:
    """What a reader must find of a segment on the acquired planes."""
    planes = range(len(item.pixels))
    if kind == "seg_fractional":
        return np.stack([fractions_on(item, plane) / 255 for plane in planes])
    return np.stack([item.on(plane) for plane in planes]).astype(np.float64)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("kind", "make"), CASES)
def test_dciodvfy_finds_no_error(kind: ResultKind, make: Make, geometry: str, peer: Peer, tmp_path: Path) -> None:
    path = tmp_path / "seg.dcm"
    path.write_bytes(made(kind, make, geometry)[2])
    assert not dciodvfy_errors(peer("dciodvfy"), path)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("kind", "make"), CASES)
def test_highdicom_reads_each_source_frame_as_it_was_segmented(kind: ResultKind, make: Make, geometry: str) -> None:
    report, segments, payload = made(kind, make, geometry)
    read = hd.seg.segread(BytesIO(payload))
    sources = [plane.reference for plane in scene_of(report).planes]
    numbers = [item.number for item in segments]
    if sources[0].frame_number is None:
        uids = [source.sop_instance_uid for source in sources]
        pixels = read.get_pixels_by_source_instance(uids, numbers, assert_missing_frames_are_empty=True)
    else:
        frames = [source.frame_number for source in sources if source.frame_number]
        uid = sources[0].sop_instance_uid
        pixels = read.get_pixels_by_source_frame(uid, frames, numbers, assert_missing_frames_are_empty=True)
    for index, item in enumerate(segments):
        np.testing.assert_allclose(pixels[..., index], expected(kind, item), atol=1e-6)


@pytest.mark.parametrize("geometry", UPRIGHT)
@pytest.mark.parametrize(("kind", "make"), CASES)
def test_highdicom_finds_each_voxel_where_it_is_in_the_patient(kind: ResultKind, make: Make, geometry: str) -> None:
    report, segments, payload = made(kind, make, geometry)
    assert report.volume is not None
    with warnings.catch_warnings(action="ignore"):
        volume = hd.seg.segread(BytesIO(payload)).get_volume(combine_segments=False)
    to_ours = np.linalg.inv(report.volume.affine_lps) @ volume.affine
    for index, item in enumerate(segments):
        found = volume.array[..., index]
        places = (to_ours @ np.column_stack([np.argwhere(found), np.ones(np.count_nonzero(found))]).T)[:3].T
        np.testing.assert_allclose(places, np.rint(places), atol=0.01)
        ours = np.zeros(report.volume.voxels.shape)
        ours[tuple(np.rint(places).astype(int).T)] = found[found > 0]
        np.testing.assert_allclose(ours, expected(kind, item), atol=1e-6)


@pytest.mark.parametrize("geometry", UPRIGHT)
@pytest.mark.parametrize("make", [masks, many])
def test_dcmqi_reads_the_masks(make: Make, geometry: str, peer: Peer, tmp_path: Path) -> None:
    report, segments, payload = made("seg", make, geometry)
    compare_with_dcmqi(report, segments, payload, peer("segimage2itkimage"), tmp_path)


@pytest.mark.parametrize("geometry", UPRIGHT)
def test_dcmqi_reads_the_label_map(geometry: str, peer: Peer, tmp_path: Path) -> None:
    report, segments, payload = made("seg_labelmap", many, geometry)
    assert report.volume is not None
    path = tmp_path / "seg.dcm"
    path.write_bytes(payload)
    read = dcmqi_values(peer("segimage2itkimage"), path, "seg_labelmap", report.volume, tmp_path / "dcmqi")
    assert list(read) == [item.number for item in segments]
    for item in segments:
        assert np.array_equal(read[item.number], item.segment.mask), item.segment.key


@pytest.mark.parametrize(
    ("series", "make"),
    [
        ("ct_chest_siemens_A0002_B40f", masks),
        ("ct_chest_siemens_A0002_B40f", probabilities),
        pytest.param("ct_chest_siemens_A0002_B40f", many, marks=pytest.mark.long),
        ("mr_brain_siemens_prisma_sag", masks),
        ("mr_brain_siemens_prisma_sag", probabilities),
        ("mr_brain_siemens_prisma_sag", many),
    ],
)
def test_series_from_scanners(series: str, make: Make, peer: Peer, tmp_path: Path, shared_data: Path) -> None:
    datasets, volume = real_volume(shared_data / series)
    findings = make(volume)
    for kind in [kind for kind, row in SUITED.items() if make in row]:
        report, segments, payload = written(report_on(datasets, volume, findings, (kind,)))
        path = tmp_path / f"{kind}.dcm"
        path.write_bytes(payload)
        assert not dciodvfy_errors(peer("dciodvfy"), path)
        if kind == "seg":
            compare_with_dcmqi(report, segments, payload, peer("segimage2itkimage"), tmp_path)


def compare_with_dcmqi(report: Report, segments: list[Numbered], payload: bytes, program: str, folder: Path) -> None:
    assert report.volume is not None
    path = folder / "read.dcm"
    path.write_bytes(payload)
    read = dcmqi_masks(program, path, report.volume, folder / "dcmqi")
    for item, mask in zip(segments, read, strict=True):
        assert np.array_equal(mask, item.segment.mask), item.segment.key
