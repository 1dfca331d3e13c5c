"""Reports of every kind of finding: where each stands, what is said of it, and that it is the tree which highdicom writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from benchmarks import highdicom_sr
from dicom_node.result_kinds import REPORTS
from dicom_node.results.check_sr import check_sr
from dicom_node.results.encode import encode
from dicom_node.results.explicit_vr import elements
from dicom_node.results.places import first_pixels
from dicom_node.results.reading import Answer, answers_of, comments_of, numbers_of, tracking_uids, walk
from dicom_node.results.report import Report
from dicom_node.results.scene import scene_of
from dicom_node.results.sentences import sentences
from dicom_node.results.sources import ResultRefused, instances_used, planes
from dicom_node.results.sr_groups import MOST_POINTS
from inference.findings import (
    Box,
    Classification,
    Code,
    Contour,
    Detection,
    Findings,
    Landmark,
    Measurement,
    Point,
    Text,
)
from tests.conformance.kinds import (
    CARINA,
    DIAMETER,
    EFFUSION,
    IMPRESSION,
    KINDS,
    MM,
    PNEUMOTHORAX,
    findings_of,
    findings_of_every_kind,
)
from tests.conformance.reports import ABNORMAL, LUNG, ML, NODULE, RIGHT, VOLUME, made_volume, not_analysed, report_on

GEOMETRIES = ("axial", "oblique", "tilted", "resampled", "multi_frame")
WITHOUT_FINDINGS = "All algorithms succeeded; without findings"


def encoded(report: Report, kind: str = "sr") -> Dataset:
    (result,) = [one for one in encode(report) if one.kind == kind]
    assert result.faults == ()
    return dcmread(BytesIO(result.payload))


def of_every_kind(geometry: str, kind: str = "sr") -> Dataset:
    datasets, volume = made_volume(geometry)
    return encoded(report_on(datasets, volume, findings_of_every_kind(volume), kinds=("seg", kind)), kind)


def with_findings(geometry: str, findings: Findings, kind: str = "sr") -> Dataset:
    return encoded(report_on(*made_volume(geometry), findings, kinds=(kind,)), kind)


def groups_of(report: Dataset) -> dict[str, Dataset]:
    """The measurement groups by their tracking identifiers."""
    return {
        str(group.ContentSequence[0].TextValue): group
        for group in walk(report)
        if group.ConceptNameCodeSequence[0].CodeValue == "125007"
    }


def codes_in(report: Dataset) -> dict[str, str]:
    """Name and value of every CODE item, by their meanings."""
    return {
        str(item.ConceptNameCodeSequence[0].CodeMeaning): str(item.ConceptCodeSequence[0].CodeMeaning)
        for item in walk(report)
        if item.ValueType == "CODE"
    }


@pytest.mark.parametrize("kind", ["sr", "sr-alone", "sr_comprehensive", "sr_comprehensive-alone"])
@pytest.mark.parametrize("geometry", ["axial", "resampled"])
def test_every_tracked_finding_has_2d_coordinates(kind: str, geometry: str) -> None:
    placed, tracked = tracking_uids(of_every_kind(geometry, kind))
    assert placed == tracked
    assert len(tracked) == 13


def test_comprehensive_sr_has_the_same_content_as_comprehensive_3d_sr() -> None:
    newer, older = of_every_kind("axial"), of_every_kind("axial", "sr_comprehensive")
    assert newer.SOPClassUID != older.SOPClassUID
    assert newer.SOPInstanceUID != older.SOPInstanceUID
    assert list(newer.ContentSequence) == list(older.ContentSequence)


def detections(count: int, slices: int) -> Findings:
    """Contours with their numbers, on slices in turn."""
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    found, measured = [], []
    for index in range(count):
        radius = 2 + index % 5
        points = tuple((15 + radius * float(np.sin(a)), 14.5 + radius * float(np.cos(a))) for a in angles)
        place = Contour(index % slices, points) if index % 4 else Point((index % slices, 7.0, 9.5))
        site = LUNG if index % 3 else None
        score = None if index % 7 == 0 else index / count
        side = RIGHT if site else None
        found.append(Detection(f"n{index}", f"Nodule {index}", ABNORMAL, NODULE, place, score, (0, 0, 0), site, side))
        measured.append(Measurement(DIAMETER, 2.0 * radius + index / 7, MM, f"n{index}"))
    return Findings(detections=tuple(found), measurements=tuple(measured))


@pytest.mark.parametrize("geometry", ["axial", "multi_frame"])
def test_the_groups_are_item_by_item_those_that_highdicom_writes(geometry: str) -> None:
    datasets, volume = made_volume(geometry)
    report = report_on(datasets, volume, detections(24, len(volume.sources)), kinds=("sr",))
    ours = list(groups_of(encoded(report)).values())
    theirs = [group[0] for group in highdicom_sr.groups(report)]
    for group in theirs:
        group.ContinuityOfContent = "SEPARATE"  # highdicom says CONTINUOUS, which means running text
    assert len(ours) == 24
    for mine, expected in zip(ours, theirs, strict=True):
        assert Dataset(mine) == read_back(expected)


def read_back(group: Dataset) -> Dataset:
    """The group as it is after it was written: coordinates become single, texts are padded."""
    whole = Dataset()
    whole.ContentSequence = [Dataset(group)]
    buffer = BytesIO()
    whole.save_as(buffer, implicit_vr=False, little_endian=True)
    buffer.seek(0)
    return dcmread(buffer, force=True).ContentSequence[0]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_place_in_the_volume_is_the_same_place_in_the_patient_on_the_image(geometry: str) -> None:
    datasets, volume = made_volume(geometry)
    acquired = planes(report_on(datasets, volume), volume)
    at = first_pixels(volume)[3] + (0, 11.25, 6.5)
    findings = Findings(landmarks=(Landmark("there", "There", CARINA, Point(tuple(at.tolist()))),))
    group = groups_of(encoded(report_on(datasets, volume, findings, kinds=("sr",))))["There"]
    scoord = next(item for item in group.ContentSequence if item.ValueType == "SCOORD")
    reference = scoord.ContentSequence[0].ReferencedSOPSequence[0]
    plane = next(
        plane
        for plane in acquired
        if plane.reference.sop_instance_uid == reference.ReferencedSOPInstanceUID
        and plane.reference.frame_number == reference.get("ReferencedFrameNumber")
    )
    column, row = scoord.GraphicData
    in_patient = plane.affine_lps() @ (row - 0.5, column - 0.5, 1)
    np.testing.assert_allclose(in_patient, (volume.affine_lps @ (*at, 1))[:3], atol=1e-3)


@pytest.mark.parametrize("geometry", ["axial", "resampled"])
def test_a_deep_box_stands_on_every_image_that_it_reaches_the_middle_one_first(geometry: str) -> None:
    datasets, volume = made_volume(geometry)
    box = Detection("box", "Box", ABNORMAL, NODULE, Box((2, 5, 6), (5, 9, 11)))
    group = groups_of(encoded(report_on(datasets, volume, Findings(detections=(box,)), kinds=("sr",))))["Box"]
    regions = [item for item in group.ContentSequence if item.ValueType == "SCOORD"]
    uids = [plane.reference.sop_instance_uid for plane in planes(report_on(datasets, volume), volume)]
    shown = [uids.index(one.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for one in regions]
    assert sorted(shown) == [2, 3, 4, 5]
    assert shown[0] == 4
    assert group.ContentTemplateSequence[0].TemplateIdentifier == "1411"
    points = np.reshape(regions[0].GraphicData, (-1, 2))
    assert len(points) == 9
    np.testing.assert_allclose(points.max(axis=0) - points.min(axis=0), (6, 5))


def test_coordinates_stay_on_the_image() -> None:
    far = Detection("far", "Far", ABNORMAL, NODULE, Contour(2, ((-5, 3), (100, 3), (100, 200))))
    group = groups_of(with_findings("axial", Findings(detections=(far,))))["Far"]
    points = np.reshape(next(item for item in group.ContentSequence if item.ValueType == "SCOORD").GraphicData, (-1, 2))
    assert points.min() == 0
    assert points.max(axis=0).tolist() == [37, 41]


def test_an_outline_of_more_points_than_an_element_can_hold_loses_some_and_stays_closed() -> None:
    angles = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    points = tuple((15 + 9 * float(np.sin(a)), 15 + 9 * float(np.cos(a))) for a in angles)
    findings = Findings(detections=(Detection("round", "Round", ABNORMAL, NODULE, Contour(2, points)),))
    group = groups_of(with_findings("axial", findings))["Round"]
    drawn = np.reshape(next(item for item in group.ContentSequence if item.ValueType == "SCOORD").GraphicData, (-1, 2))
    assert len(drawn) == MOST_POINTS
    assert drawn[0].tolist() == drawn[-1].tolist()


def test_a_thousand_findings_stand_in_one_report() -> None:
    datasets, volume = made_volume("axial")
    report = report_on(datasets, volume, detections(1000, len(volume.sources)), kinds=("sr", "sr_text"))
    results = {result.kind: result for result in encode(report)}
    assert [result.faults for result in results.values()] == [(), ()]
    assert results["sr"].payload.count(b"Measurement Group ") == 1000
    assert results["sr_text"].payload.count(b"Nodule 999") == 1
    assert {result.payload for result in encode(report)} == {result.payload for result in results.values()}


def test_what_is_absent_is_not_named_as_a_finding_and_what_is_present_is() -> None:
    groups = groups_of(of_every_kind("axial"))
    named = {
        name: [item.ConceptNameCodeSequence[0].CodeMeaning for item in group.ContentSequence]
        for name, group in groups.items()
    }
    assert "Finding" in named["Pneumothorax"]
    assert "Finding" not in named["Effusion"]
    assert "Finding" not in named["Nodules"]
    assert answers_of(of_every_kind("axial")) == (
        Answer("Pneumothorax", "Pneumothorax", "Present"),
        Answer("Effusion", "Pleural effusion", "Absent"),
        Answer("Nodules", "Nodule", "Undetermined"),
    )


def test_shares_stand_in_percent_and_numbers_with_their_uncertainty() -> None:
    report = of_every_kind("axial")
    found = {(number.about, number.name): (number.value, number.unit) for number in numbers_of(report)}
    assert found["Pneumothorax", "Probability"] == (87.5, "%")
    assert found["Pneumothorax", "Threshold Value"] == (50, "%")
    assert found["Nodule at a point", "Certainty of Finding"] == (91, "%")
    assert found["All images analysed", "Attenuation Coefficient"] == (-701.25, "HU")
    diameter = next(item for item in groups_of(report)["Nodule in a box"].ContentSequence if item.ValueType == "NUM" and
                    item.ConceptNameCodeSequence[0].CodeMeaning == "Diameter")  # fmt: skip
    (uncertainty,) = diameter.ContentSequence
    assert uncertainty.RelationshipType == "HAS PROPERTIES"
    assert uncertainty.ConceptNameCodeSequence[0].CodeValue == "371884006"
    assert uncertainty.MeasuredValueSequence[0].NumericValue == 0.75
    assert uncertainty.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue == "mm"


def test_a_side_without_a_site_is_not_lost() -> None:
    sided = replace(findings_of("detections", made_volume("axial")[1]).detections[1], finding_site=None)
    group = groups_of(with_findings("axial", Findings(detections=(sided,))))[sided.label]
    finding = next(item for item in group.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "121071")
    assert finding.ContentSequence[0].ConceptCodeSequence[0].CodeMeaning == "Left"


@pytest.mark.parametrize(
    "findings",
    [
        Findings(),
        Findings(classifications=(Classification("e", "Effusion", EFFUSION, "absent", 0.1),)),
        findings_of("segments", made_volume("axial")[1]),
    ],
    ids=["nothing", "absent", "segments"],
)
def test_that_nothing_was_found_is_said_and_only_then(findings: Findings) -> None:
    report = with_findings("axial", findings)
    said = codes_in(report).get("CAD Processing and Findings Summary")
    assert said == (None if findings.segments else WITHOUT_FINDINGS)


@pytest.mark.parametrize("state", ["present", "indeterminate"])
def test_a_report_of_what_is_or_may_be_there_does_not_say_that_nothing_was_found(state: str) -> None:
    findings = Findings(classifications=(Classification("p", "Pneumothorax", PNEUMOTHORAX, state),))  # type: ignore[arg-type]
    assert "CAD Processing and Findings Summary" not in codes_in(with_findings("axial", findings))


def test_empty_segments_alone_are_no_finding() -> None:
    empty = [one for one in findings_of("segments", made_volume("axial")[1]).segments if one.key == "none"]
    assert WITHOUT_FINDINGS in codes_in(with_findings("axial", Findings(tuple(empty)))).values()


@pytest.mark.parametrize("kind", KINDS)
def test_only_reports_with_places_of_their_own_are_titled_as_measurements(kind: str) -> None:
    datasets, volume = made_volume("axial")
    report = encoded(report_on(datasets, volume, findings_of(kind, volume), kinds=("sr",)))
    has_places = kind in ("segments", "detections", "landmarks")
    title = report.ConceptNameCodeSequence[0]
    assert title.CodeMeaning == ("Imaging Measurement Report" if has_places else "Diagnostic Imaging Report")
    assert tracking_uids(report)[0] == tracking_uids(report)[1]
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert len(evidence) == len(instances_used(report_on(datasets, volume)))


@pytest.mark.parametrize("kind", ["sr", "sr_text"])
def test_reports_have_the_model_card(kind: str) -> None:
    datasets, volume = made_volume("axial")
    (result,) = encode(report_on(datasets, volume, kinds=(kind,)))
    said = dcmread(BytesIO(result.payload)).to_json()
    for words in (
        "Intended use: Finds shapes of known size in images made by tests.",
        "Population: Phantoms of any age.",
        "Limit: Sees nothing but what was put there.",
        "Metric: Dice 1 (0.99 to 1), on 3 phantoms",
        "Training data: Nothing.",
        "Qualification: research; its package states no approval as a medical device.",
    ):
        assert words in said


def test_words_of_the_model_stand_under_their_names() -> None:
    report = of_every_kind("axial")
    assert "One nodule, größer als 6 mm." in comments_of(report)
    assert "Heat map 'What drew attention': Probability, shown from 0 to 1." in comments_of(report)


@pytest.mark.parametrize("kind", REPORTS)
def test_words_that_the_sources_character_set_lacks_make_the_report_unicode(kind: str) -> None:
    findings = Findings(texts=(Text("said", IMPRESSION, "Δ volume 5 % ― 肺"),))
    report = with_findings("axial", findings, kind)
    assert report.SpecificCharacterSet == "ISO_IR 192"
    assert str(report.PatientName) == "Müller^Jürgen"
    assert "Δ volume 5 % ― 肺" in [item.TextValue for item in walk(report) if item.ValueType == "TEXT"]


def test_private_codes_of_any_depth_are_explained() -> None:
    method = Code("OWN", "99TESTS", "A method of our own")
    landmark = Landmark("there", "There", CARINA, Point((2, 5, 5)), 1.5)
    number = Measurement(VOLUME, 1.0, ML, "there", method=method)
    report = with_findings("axial", Findings(landmarks=(landmark,), measurements=(number,)))
    schemes = [item.CodingSchemeDesignator for item in report.CodingSchemeIdentificationSequence]
    assert schemes == ["99DICOMNODE", "99TESTS"]


def test_findings_of_any_kind_keep_their_tracking_uids_in_the_next_revision() -> None:
    datasets, volume = made_volume("axial")
    first = report_on(datasets, volume, findings_of_every_kind(volume), kinds=("sr",))
    later = replace(first, revision=2)
    assert tracking_uids(encoded(first)) == tracking_uids(encoded(later))
    assert encoded(first).SOPInstanceUID != encoded(later).SOPInstanceUID


def test_a_report_in_words_says_everything_with_numbers_units_and_images() -> None:
    report = of_every_kind("axial", "sr_text")
    said = {str(item.TextValue): item for item in walk(report) if item.ValueType == "TEXT"}
    for words in (
        "Result of an algorithm (AI), not verified by a physician.",
        "Pneumothorax (Lung, Right): present (probability 87.5 %, threshold 50 %).",
        "Effusion: absent (probability 6.25 %, threshold 50 %).",
        "Nodules (Left): indeterminate.",
        "Nodule in a box (Left): certainty 50 %; Diameter 6.5 mm, +/- 0.75 mm. Slice 7 of 12.",
        "Carina: column 19, row 21; within 1.5 mm with 95 % probability. Slice 3 of 12.",
        "Shape not there (Lung, Left): nothing found; Volume 0 mL.",
        "All images analysed: Attenuation Coefficient (mean, threshold) -701.25 HU, +/- 12.5 HU.",
        "Model: Shape finder 2.1.0 by dicom-node tests.",
        "Limit: Sees nothing but what was put there.",
    ):
        assert words in said
    at = said["Nodule in a box (Left): certainty 50 %; Diameter 6.5 mm, +/- 0.75 mm. Slice 7 of 12."]
    _, volume = made_volume("axial")
    reference = at.ContentSequence[0].ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == volume.sources[6].sop_instance_uid


def test_a_report_in_words_says_that_nothing_was_found_or_analysed() -> None:
    datasets, volume = made_volume("axial")
    scene = scene_of(report_on(datasets, volume, Findings()))
    assert [sentence.words for sentence in sentences(scene)] == ["All was analysed, and nothing was found."]
    refused = encoded(replace(not_analysed(datasets), kinds=frozenset(["sr_text"])), "sr_text")
    texts = [item.TextValue for item in walk(refused) if item.ValueType == "TEXT"]
    assert "Not analysed, because the images end above the diaphragm" in texts
    assert "Given: 12 images of series 4, without description." in texts


def payload_and_known() -> tuple[bytes, set[str]]:
    datasets, volume = made_volume("axial")
    results = {result.kind: result for result in encode(report_on(datasets, volume, kinds=("seg", "sr")))}
    return results["sr"].payload, {source.SOPInstanceUID for source in datasets} | {results["seg"].sop_instance_uid}


def changed(payload: bytes, change: Callable[[Dataset], None]) -> bytes:
    dataset = dcmread(BytesIO(payload))
    change(groups_of(dataset)["Right shape"])
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("code", "rules"),
    [
        ("112039", ["must have one tracking identifier, but has 0"]),
        ("121191", ["must have regions or a segment, but has 0 and 0", "TID 1411: Could not find any allowed ROI"]),
    ],
    ids=["no identifier", "no segment"],
)
def test_a_group_that_breaks_its_template_is_a_fault(code: str, rules: list[str]) -> None:
    def take(group: Dataset) -> None:
        group.ContentSequence = [
            item for item in group.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue != code
        ]

    payload, known = payload_and_known()
    assert check_sr(payload, known) == []
    faults = check_sr(changed(payload, take), known)
    assert len(faults) == len(rules)
    assert all(rule in fault for rule, fault in zip(rules, faults, strict=True))


def test_a_number_without_a_unit_is_a_fault() -> None:
    def take(group: Dataset) -> None:
        number = next(item for item in group.ContentSequence if item.ValueType == "NUM")
        del number.MeasuredValueSequence

    payload, known = payload_and_known()
    (fault,) = check_sr(changed(payload, take), known)
    assert "TID 1411" in fault


def test_a_group_of_an_unknown_template_is_a_fault() -> None:
    def rename(group: Dataset) -> None:
        group.ContentTemplateSequence[0].TemplateIdentifier = "1234"

    payload, known = payload_and_known()
    assert "'1234'" in check_sr(changed(payload, rename), known)[0]


def test_a_report_that_is_cut_off_is_refused() -> None:
    payload, known = payload_and_known()
    assert elements(payload[132:])
    with pytest.raises(ResultRefused, match="cannot be read back"):
        check_sr(payload[:-7], known)
