"""Key images: the images on which findings show best, no others, each told in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.rejection import read_rejection
from dicom_node.results.encode import encode
from dicom_node.results.key_images import check
from dicom_node.results.report import Report
from dicom_node.results.scene import scene_of
from dicom_node.results.writing import Written, written
from inference.findings import Detection, Findings, Point
from tests.conformance.places import placed_findings
from tests.conformance.reports import ABNORMAL, NODULE, findings_on, made_volume, not_analysed, one_segment, report_on


def report_of(geometry: str = "axial", findings: Findings | None = None) -> Report:
    datasets, volume = made_volume(geometry)
    return report_on(datasets, volume, findings or placed_findings(volume), kinds=("key_images",))


def document_of(report: Report) -> Dataset:
    (result,) = encode(report)
    assert result.faults == ()
    return dcmread(BytesIO(result.payload))


def selected(document: Dataset) -> list[Dataset]:
    return [item.ReferencedSOPSequence[0] for item in document.ContentSequence if item.ValueType == "IMAGE"]


def words(document: Dataset) -> str:
    (item,) = [
        item for item in document.ContentSequence if item.ValueType == "TEXT" and item.RelationshipType == "CONTAINS"
    ]
    return str(item.TextValue)


def at_slices(*slices: float) -> Findings:
    return Findings(
        detections=tuple(
            Detection(f"{n}", f"Dot {n}", ABNORMAL, NODULE, Point((at, 4.0, 4.0))) for n, at in enumerate(slices)
        )
    )


def test_each_image_with_a_finding_is_selected_once_in_order() -> None:
    report = report_of(findings=at_slices(7, 2.4, 6.8))
    uids = [str(source.SOPInstanceUID) for source in report.sources]
    document = document_of(report)
    assert document.ConceptNameCodeSequence[0].CodeValue == "113000"
    assert [uids.index(image.ReferencedSOPInstanceUID) for image in selected(document)] == [2, 7]
    assert words(document) == (
        "AI result, not reviewed by a physician: Shape finder 2.1.0. image 3: Dot 1; image 8: Dot 0, Dot 2"
    )


def test_a_segment_is_shown_where_it_is_largest_and_an_empty_one_nowhere() -> None:
    _, volume = made_volume("axial")
    findings = one_segment(findings_on(volume), "right")
    largest = int(findings.segments[0].mask.sum(axis=(1, 2)).argmax())
    report = report_of(findings=findings)
    (image,) = selected(document_of(report))
    assert image.ReferencedSOPInstanceUID == report.sources[largest].SOPInstanceUID
    assert encode(report_of(findings=one_segment(findings_on(volume), "none"))) == ()


def test_frames_of_a_multi_frame_source_are_selected_by_number() -> None:
    (image,) = selected(document_of(report_of("multi_frame", at_slices(3, 8))))
    assert list(image.ReferencedFrameNumber) == [4, 9]


def test_a_place_on_a_straightened_volume_is_that_of_the_image_that_was_acquired() -> None:
    straight = report_of("resampled", at_slices(3))
    (image,) = selected(document_of(straight))
    assert image.ReferencedSOPInstanceUID == straight.sources[3].SOPInstanceUID


def test_what_was_not_analysed_has_no_key_images() -> None:
    report = not_analysed(made_volume("axial")[0])
    assert encode(replace(report, kinds=frozenset({"key_images"}))) == ()


def test_a_remark_on_all_of_it_is_told() -> None:
    report = replace(report_of(), remark="analysed 410 of 412 images")
    assert "Shape finder 2.1.0. analysed 410 of 412 images. image" in words(document_of(report))


def test_key_images_reject_nothing() -> None:
    """The node reads key objects that reject images; its own, sent back to it, must not be one."""
    (result,) = encode(report_of())
    body = result.payload[result.payload.index(b"\x08\x00\x05\x00CS") :]
    assert read_rejection(body, "1.2.840.10008.1.2.1") is None


def take_one(document: Dataset) -> None:
    del document.ContentSequence[-1]


def take_another(document: Dataset) -> None:
    uid = report_of().sources[0].SOPInstanceUID
    document.ContentSequence[-1].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = uid


def forget_evidence(document: Dataset) -> None:
    del document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (take_one, "is not selected"),
        (take_another, "shows no finding best"),
        (forget_evidence, "is not listed as evidence"),
    ],
)
def test_a_wrong_selection_is_found_out(change: Callable[[Dataset], None], fault: str) -> None:
    report = report_of()
    document = document_of(report)
    change(document)
    broken = written(document)
    assert any(fault in said for said in check(scene_of(report), "key_images", Written(document, broken.file)))
