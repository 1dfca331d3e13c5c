"""Results that contradict their source images are refused; each test breaks one thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.results.check_seg import check_seg
from dicom_node.results.check_sr import check_sr
from dicom_node.results.encode import encode
from dicom_node.results.reading import tracking_uids
from dicom_node.results.report import Report
from dicom_node.results.segments import numbered
from dicom_node.results.sources import ResultRefused, planes
from tests.conformance.reports import made_report, made_volume, report_on


@pytest.fixture(scope="module")
def report() -> Report:
    return made_report("axial", kinds=("seg", "sr"))


@pytest.fixture(scope="module")
def payloads(report: Report) -> dict[str, bytes]:
    return {result.kind: result.payload for result in encode(report)}


def changed(payload: bytes, change: Callable[[Dataset], None]) -> bytes:
    dataset = dcmread(BytesIO(payload))
    change(dataset)
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def refuse_seg(report: Report, payload: bytes, rule: str) -> None:
    assert report.volume is not None
    with pytest.raises(ResultRefused, match=rule):
        check_seg(payload, numbered(report.findings, report.volume), planes(report, report.volume))


def test_the_unbroken_objects_pass(report: Report, payloads: dict[str, bytes]) -> None:
    assert report.volume is not None
    check_seg(payloads["seg"], numbered(report.findings, report.volume), planes(report, report.volume))


def test_a_flipped_mask_is_refused(report: Report, payloads: dict[str, bytes]) -> None:
    def flip(dataset: Dataset) -> None:
        """Give the frames of the first segment the pixels of one another, the last ones first."""
        size, count = dataset.Rows * dataset.Columns, int(dataset.NumberOfFrames)
        bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")[: size * count]
        frames = bits.reshape(count, size).copy()
        groups = dataset.PerFrameFunctionalGroupsSequence
        first = [i for i, g in enumerate(groups) if g.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1]
        frames[first] = frames[first[::-1]]
        data = np.packbits(frames, bitorder="little").tobytes()
        dataset.PixelData = data + b"\0" * (len(data) % 2)

    refuse_seg(report, changed(payloads["seg"], flip), "is not image")


def test_planes_in_the_opposite_order_are_refused(report: Report, payloads: dict[str, bytes]) -> None:
    def turn(dataset: Dataset) -> None:
        groups = dataset.PerFrameFunctionalGroupsSequence
        positions = [group.PlanePositionSequence for group in groups]
        for group, position in zip(groups, positions[::-1], strict=True):
            group.PlanePositionSequence = position

    refuse_seg(report, changed(payloads["seg"], turn), "lies .* mm from its source frame")


def test_a_missing_frame_is_refused(report: Report, payloads: dict[str, bytes]) -> None:
    def drop(dataset: Dataset) -> None:
        dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:-1]
        count = dataset.NumberOfFrames = len(dataset.PerFrameFunctionalGroupsSequence)
        size = -(-dataset.Rows * dataset.Columns * count // 8)
        dataset.PixelData = dataset.PixelData[: size + size % 2]

    refuse_seg(report, changed(payloads["seg"], drop), "holds .* of .* frames")


def test_a_frame_of_a_foreign_image_is_refused(report: Report, payloads: dict[str, bytes]) -> None:
    def point_elsewhere(dataset: Dataset) -> None:
        derivation = dataset.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
        derivation.SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"

    refuse_seg(report, changed(payloads["seg"], point_elsewhere), "not a source")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_that_runs_against_its_images_is_refused(axis: int) -> None:
    datasets, volume = made_volume("axial")
    affine = volume.affine_lps.copy()
    affine[:3, 3] += affine[:3, axis] * (volume.voxels.shape[axis] - 1)
    affine[:3, axis] *= -1
    with pytest.raises(ResultRefused, match="flipped or moved"):
        encode(report_on(datasets, replace(volume, affine_lps=affine)))


def test_a_volume_of_other_images_is_refused() -> None:
    datasets, volume = made_volume("axial")
    with pytest.raises(ResultRefused, match="not among the source instances"):
        encode(report_on(datasets[:-1], volume))


def test_every_finding_has_a_place_on_an_image(payloads: dict[str, bytes], report: Report) -> None:
    placed, tracked = tracking_uids(dcmread(BytesIO(payloads["sr"])))
    assert placed == tracked
    assert len(tracked) == len(report.findings.segments)


def test_a_finding_without_a_place_is_refused(payloads: dict[str, bytes], report: Report) -> None:
    def take_outline(dataset: Dataset) -> None:
        group = dataset.ContentSequence[-2].ContentSequence[-1]
        group.ContentSequence = [item for item in group.ContentSequence if item.ValueType != "SCOORD"]

    known = {str(source.SOPInstanceUID) for source in report.sources}
    references = known | {str(dcmread(BytesIO(payloads["seg"])).SOPInstanceUID)}
    check_sr(payloads["sr"], references)
    with pytest.raises(ResultRefused, match="1 of 4 findings have no outline"):
        check_sr(changed(payloads["sr"], take_outline), references)


def test_a_reference_that_leads_nowhere_is_refused(payloads: dict[str, bytes], report: Report) -> None:
    known = {str(source.SOPInstanceUID) for source in report.sources}
    with pytest.raises(ResultRefused, match="which is no source"):
        check_sr(payloads["sr"], known)
