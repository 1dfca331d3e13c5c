"""Other people's readers find in our objects the mask and the numbers that went in."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.sr.codedict import codes

from dicom_node.results.encode import encode
from dicom_node.results.report import Report
from dicom_node.results.segments import numbered
from inference.findings import Segment
from inference.transforms import mask_on_acquired
from tests.conformance.readers import dcmqi_masks
from tests.conformance.reports import made_report, real_volume, report_on
from tests.waiting import LIMIT_S

Peer = Callable[[str], str]

UPRIGHT = ("axial", "sagittal", "oblique", "multi_frame")
"""Geometries that a rectangular image can hold; ITK's and highdicom's volumes are such."""


def segments_encoded(report: Report) -> list[Segment]:
    assert report.volume is not None
    return [item.segment for item in numbered(report.findings, report.volume) if item.number]


def check_against_dcmqi(report: Report, program: str, folder: Path) -> None:
    """Every voxel that dcmqi reads is a voxel of our mask, at the same place in the patient, and none is missing."""
    path = folder / "seg.dcm"
    path.write_bytes(encode(report)[0].payload)
    assert report.volume is not None
    masks = dcmqi_masks(program, path, report.volume, folder / "dcmqi")
    for segment, read in zip(segments_encoded(report), masks, strict=True):
        assert np.array_equal(read, segment.mask), segment.key


@pytest.mark.parametrize("geometry", UPRIGHT)
def test_dcmqi_reads_the_same_mask_voxel_by_voxel(geometry: str, peer: Peer, tmp_path: Path) -> None:
    check_against_dcmqi(made_report(geometry, kinds=("seg",)), peer("segimage2itkimage"), tmp_path)


@pytest.mark.parametrize("series", ["ct_chest_siemens_A0002_B40f", "mr_brain_siemens_prisma_sag"])
def test_dcmqi_reads_the_same_mask_on_series_from_scanners(
    series: str, peer: Peer, tmp_path: Path, shared_data: Path
) -> None:
    report = report_on(*real_volume(shared_data / series), kinds=("seg",))
    check_against_dcmqi(report, peer("segimage2itkimage"), tmp_path)


@pytest.mark.parametrize("geometry", UPRIGHT)
def test_highdicom_reads_the_same_volume(geometry: str) -> None:
    report = made_report(geometry, kinds=("seg",))
    assert report.volume is not None
    read = hd.seg.segread(BytesIO(encode(report)[0].payload)).get_volume(combine_segments=False)
    to_ours = np.linalg.inv(report.volume.affine_lps) @ read.affine
    for number, segment in enumerate(segments_encoded(report)):
        mask = read.array[..., number].astype(np.bool_)
        indices = (to_ours @ np.column_stack([np.argwhere(mask), np.ones(int(mask.sum()))]).T)[:3].T
        np.testing.assert_allclose(indices, np.rint(indices), atol=0.05)
        assert {tuple(index) for index in np.rint(indices).astype(int)} == {
            tuple(index) for index in np.argwhere(segment.mask)
        }


@pytest.mark.parametrize("geometry", ["tilted", "resampled"])
def test_highdicom_reads_each_frame_of_a_tilted_series(geometry: str) -> None:
    report = made_report(geometry, kinds=("seg",))
    assert report.volume is not None
    seg = hd.seg.segread(BytesIO(encode(report)[0].payload))
    uids = [str(source.SOPInstanceUID) for source in report.sources]
    frames: NDArray[np.uint8] = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    for number, segment in enumerate(segments_encoded(report)):
        assert np.array_equal(frames[..., number].astype(np.bool_), mask_on_acquired(segment.mask, report.volume))


def test_dcmqi_reads_the_numbers(peer: Peer, tmp_path: Path) -> None:
    report = made_report("axial")
    path, output = tmp_path / "sr.dcm", tmp_path / "sr.json"
    path.write_bytes(encode(report)[1].payload)
    command = [peer("tid1500reader"), "--inputDICOM", str(path), "--outputMetadata", str(output)]
    subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S)
    read = {
        (group["TrackingIdentifier"], item["quantity"]["CodeValue"], item["units"]["CodeValue"]): float(item["value"])
        for group in json.loads(output.read_text())["Measurements"]
        for item in group["measurementItems"]
    }
    labels = {segment.key: segment.label for segment in report.findings.segments}
    expected = {
        (labels[m.finding_key], m.name.value, m.unit.value): m.value
        for m in report.findings.measurements
        if np.isfinite(m.value)
    }
    assert read == pytest.approx(expected, rel=1e-5)
    assert len(read) == 7


def test_highdicom_reads_the_groups_with_their_segments() -> None:
    report = made_report("axial")
    results = encode(report)
    sr = hd.sr.srread(BytesIO(results[1].payload))
    groups = sr.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == [s.label for s in report.findings.segments]
    references = [group.referenced_segment for group in groups if group.reference_type == codes.DCM.ReferencedSegment]
    assert [reference[0].referenced_segment_numbers[0] for reference in references] == [1, 2, 3]
    assert {reference[0].referenced_sop_instance_uid for reference in references} == {results[0].sop_instance_uid}
