"""What the objects say of patient, model, time and identity, read back from their bytes."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.results import identity
from dicom_node.results.encode import encode
from dicom_node.results.report import USUAL_KINDS, Report
from inference.findings import Findings
from tests.conformance.reports import (
    CREATED,
    MODEL,
    findings_on,
    made_report,
    made_volume,
    not_analysed,
    one_segment,
    report_on,
)


@pytest.fixture(scope="module")
def report() -> Report:
    return made_report("axial")


@pytest.fixture(scope="module")
def objects(report: Report) -> dict[str, Dataset]:
    return {result.kind: dcmread(BytesIO(result.payload)) for result in encode(report)}


def texts(dataset: Dataset) -> list[str]:
    found = []
    dataset.walk(lambda _, element: found.append(element.value) if element.keyword == "TextValue" else None)
    return found


def test_the_same_report_gives_the_same_bytes(report: Report) -> None:
    assert encode(report) == encode(made_report("axial"))


def test_encoding_leaves_the_sources_as_they_are(report: Report) -> None:
    before = [deepcopy(source) for source in report.sources]
    encode(report)
    assert list(report.sources) == before


@pytest.mark.parametrize("change", [{"revision": 2}, {"model": replace(MODEL, version="2.2.0")}])
def test_another_revision_or_version_has_other_uids(report: Report, change: dict[str, object]) -> None:
    first, second = encode(report), encode(replace(report, **change))
    for name in ("sop_instance_uid", "series_instance_uid"):
        assert {getattr(r, name) for r in first}.isdisjoint(getattr(r, name) for r in second)


def test_a_finding_keeps_its_tracking_uid_through_revisions_and_versions(report: Report) -> None:
    later = replace(report, revision=2, model=replace(MODEL, version="3.0.0"))
    for segment in report.findings.segments:
        assert identity.tracking_uid(report, segment) == identity.tracking_uid(later, segment)
    assert len({identity.tracking_uid(report, segment) for segment in report.findings.segments}) == 4


def test_time_points_of_one_series_do_not_share_uids() -> None:
    datasets, volume = made_volume("axial")
    first = encode(report_on(datasets, replace(volume, split_by=(("TemporalPositionIdentifier", "1"),))))
    second = encode(report_on(datasets, replace(volume, split_by=(("TemporalPositionIdentifier", "2"),))))
    assert {r.sop_instance_uid for r in first}.isdisjoint(r.sop_instance_uid for r in second)


def test_series_sort_beside_their_source_under_one_description(report: Report) -> None:
    results = encode(report)
    assert [(r.kind, r.series_number) for r in results] == [("seg", 4901), ("sr", 4902), ("sc", 4903)]
    assert {r.description for r in results} == {"AI: Shape finder 2.1.0"}


def test_a_long_title_is_shortened_and_the_version_is_kept(report: Report) -> None:
    description = identity.series_description(replace(report, model=replace(MODEL, title="Long title " * 9)))
    assert len(description) <= 64
    assert description.endswith(" 2.1.0")


@pytest.mark.parametrize("kind", USUAL_KINDS)
def test_patient_and_study_are_those_of_the_source(kind: str, objects: dict[str, Dataset], report: Report) -> None:
    result, source = objects[kind], report.first_source
    for keyword in ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyDate"):
        assert result[keyword].value == source[keyword].value
    assert str(result.PatientName) == "Müller^Jürgen"
    assert result.SpecificCharacterSet == "ISO_IR 100"
    assert (result.StudyInstanceUID, result.AccessionNumber) == (source.StudyInstanceUID, "ACC7")


def test_an_optional_value_that_breaks_its_rules_is_left_behind() -> None:
    datasets, volume = made_volume("axial")
    with pytest.warns(UserWarning, match="Invalid value"):
        datasets[0].PatientAge = "0Y"
    datasets[0].PatientWeight = "70.5"
    (result,) = encode(report_on(datasets, volume, kinds=("sr",)))
    dataset = dcmread(BytesIO(result.payload))
    assert "PatientAge" not in dataset
    assert dataset.PatientWeight == 70.5


@pytest.mark.parametrize("kind", USUAL_KINDS)
def test_the_model_is_named_as_contributing_equipment(kind: str, objects: dict[str, Dataset]) -> None:
    (item,) = objects[kind].ContributingEquipmentSequence
    assert item.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert (item.Manufacturer, item.ManufacturerModelName) == ("dicom-node tests", "Shape finder")
    assert (item.SoftwareVersions, item.DeviceUID) == ("2.1.0", MODEL.device_uid)


@pytest.mark.parametrize("kind", USUAL_KINDS)
def test_times_stand_in_the_time_zone_of_the_source(kind: str, objects: dict[str, Dataset]) -> None:
    assert CREATED.isoformat() == "2026-03-04T15:06:07+01:00"
    result = objects[kind]
    assert (result.ContentDate, result.ContentTime, result.TimezoneOffsetFromUTC) == ("20260304", "103607", "-0330")


def test_text_that_the_source_cannot_write_is_written_in_unicode() -> None:
    report = made_report("axial", kinds=("sr",))
    japanese = replace(report, model=replace(MODEL, title="肺 density"))
    dataset = dcmread(BytesIO(encode(japanese)[0].payload))
    assert dataset.SpecificCharacterSet == "ISO_IR 192"
    assert (str(dataset.PatientName), dataset.SeriesDescription) == ("Müller^Jürgen", "AI: 肺 density 2.1.0")


def test_the_report_is_unverified_and_says_that_it_comes_from_ai(objects: dict[str, Dataset]) -> None:
    sr = objects["sr"]
    assert (sr.VerificationFlag, sr.ConceptNameCodeSequence[0].CodeValue) == ("UNVERIFIED", "126000")
    said = texts(sr)
    assert any("AI" in text and "not verified by a physician" in text for text in said)
    assert any(text.startswith("Intended use: ") for text in said)
    assert "Slices are thicker than 2.5 mm; volumes are less exact." in said


def test_an_empty_segment_is_in_the_report_and_not_in_the_segmentation(objects: dict[str, Dataset]) -> None:
    assert [s.SegmentLabel for s in objects["seg"].SegmentSequence] == ["Right shape", "Left shape", "Shape within"]
    assert [s.SegmentNumber for s in objects["seg"].SegmentSequence] == [1, 2, 3]
    assert objects["seg"].SegmentsOverlap == "YES"
    assert "Shape not there" in texts(objects["sr"])


def test_findings_without_any_voxel_make_no_segmentation() -> None:
    datasets, volume = made_volume("axial")
    results = encode(report_on(datasets, volume, one_segment(findings_on(volume), "none")))
    assert [result.kind for result in results] == ["sr", "sc"]


def test_a_report_without_its_segmentation_does_not_refer_to_one() -> None:
    (result,) = encode(made_report("axial", kinds=("sr",)))
    dataset = dcmread(BytesIO(result.payload))
    series = dataset.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert [item.SeriesInstanceUID for item in series] == [made_report("axial").first_source.SeriesInstanceUID]


def test_nothing_analysed_gives_the_reason_to_those_who_take_reports_and_to_those_who_take_pictures() -> None:
    report = not_analysed(made_volume("axial")[0])
    result, picture = encode(report)
    assert (result.kind, picture.kind) == ("sr", "sc")
    dataset = dcmread(BytesIO(result.payload))
    assert "Not analysed, because the images end above the diaphragm" in texts(dataset)
    evidence = dataset.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert len(evidence.ReferencedSOPSequence) == len(report.sources)
    assert encode(replace(report, kinds=frozenset({"seg"}))) == ()


def test_frames_of_a_multi_frame_source_are_named_by_number() -> None:
    report = made_report("multi_frame")
    seg, sr = (dcmread(BytesIO(result.payload)) for result in encode(report)[:2])
    numbers = {
        int(group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber)
        for group in seg.PerFrameFunctionalGroupsSequence
    }
    assert numbers <= set(range(1, 13))
    assert len(numbers) > 5
    outlined = sr.ContentSequence[-2].ContentSequence[-2].ContentSequence[-1]
    assert outlined.ContentSequence[0].ReferencedSOPSequence[0].ReferencedFrameNumber in numbers


def test_the_summary_is_a_picture_that_says_it_bears_text(objects: dict[str, Dataset]) -> None:
    summary = objects["sc"]
    assert (summary.BurnedInAnnotation, summary.PhotometricInterpretation) == ("YES", "RGB")
    pixels = summary.pixel_array
    reds = np.count_nonzero((pixels == (230, 80, 80)).all(axis=2))
    blues = np.count_nonzero((pixels == (80, 140, 240)).all(axis=2))
    assert min(reds, blues) > 200


def test_a_report_without_time_zone_is_refused(report: Report) -> None:
    with pytest.raises(ValueError, match="needs a time zone"):
        replace(report, created_at=CREATED.replace(tzinfo=None))


def test_findings_without_a_volume_are_refused(report: Report) -> None:
    with pytest.raises(ValueError, match="must say 'not analysed'"):
        replace(report, volume=None, findings=Findings())
