"""The summary picture says what was found, of every kind, stays within bounds, and never lacks its warning."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.result_words import Words
from dicom_node.results import identity
from dicom_node.results.card import HIGHEST, draw_card, foot_of
from dicom_node.results.encode import encode
from dicom_node.results.lettering import can_show, fit, font, named, spelled, wrap
from dicom_node.results.report import EncodedResult, Report
from dicom_node.results.sc import RESULT
from dicom_node.results.scene import scene_of
from dicom_node.results.summary import NOTHING_FOUND, shared_out, summary_of
from dicom_node.results.table import Table, tables
from dicom_node.results.writing import Written, written
from inference.findings import Code, Findings, Measurement, NotAnalysed, Remark, Text
from tests.conformance.kinds import DIAMETER, MM
from tests.conformance.made_findings import every_kind, many_detections, many_segments
from tests.conformance.reports import HU, LUNG, MODEL, made_report, made_volume, not_analysed, report_on


@pytest.fixture(scope="module")
def report() -> Report:
    return made_report("axial", kinds=("sc",))


def of(report: Report, findings: Findings) -> Report:
    return replace(report, findings=findings)


def card(report: Report) -> NDArray[np.uint8]:
    return np.asarray(draw_card(scene_of(report)))


def encoded(report: Report) -> EncodedResult:
    (result,) = encode(replace(report, kinds=frozenset(("sc",))))
    return result


def found(report: Report) -> dict[str, Table]:
    return {table.title: table for table in summary_of(scene_of(report)).tables}


def test_every_kind_of_finding_has_its_table(report: Report) -> None:
    assert report.volume is not None
    made = found(of(report, every_kind(report.volume)))
    assert list(made) == ["Assessment", "Detections", "Segments", "Landmarks", "Heat maps", "All that was analysed"]
    assert made["Assessment"].headings == ("State", "Probability", "Threshold")
    assert [row.cells for row in made["Assessment"].rows] == [("present", "0.87", "0.50"), ("absent", "< 0.01", "0.50")]
    first = made["Detections"].rows[0]
    assert made["Detections"].headings == ("Site", "Image", "Score", "Diameter (mm)")
    assert (first.number, first.label, first.cells[0], first.cells[2:]) == (
        1,
        "Nodule",
        "right lung",
        ("0.90", "12.3 ± 0.8"),
    )
    assert [row.number for row in made["Landmarks"].rows] == [4]
    assert made["Landmarks"].rows[0].cells[2] == "± 2.50 mm"
    assert made["Heat maps"].rows[0].cells == ("Probability", "0 to 1")
    assert made["All that was analysed"].rows[0].cells == ("41.0",)


def test_the_image_of_a_detection_is_the_one_that_viewers_number_so(report: Report) -> None:
    assert report.volume is not None
    findings = every_kind(report.volume)
    numbers = {str(source.SOPInstanceUID): source.InstanceNumber for source in report.sources}
    box = findings.detections[0].place
    middle = round((box.first[0] + box.last[0]) / 2)  # type: ignore[union-attr]
    expected = str(numbers[report.volume.sources[middle].sop_instance_uid])
    assert found(of(report, findings))["Detections"].rows[0].cells[1] == expected


def test_findings_come_by_importance_where_not_all_fit(report: Report) -> None:
    assert report.volume is not None
    made = found(of(report, many_segments(report.volume, 100)))["Segments"]
    cut = made.first(10)
    assert "Structure 51" in [row.label for row in cut.rows]  # the abnormal one
    assert [row.label for row in cut.rows[:3]] == ["Structure 1", "Structure 2", "Structure 3"]  # in the model's order
    assert cut.says_more == "Not shown here: 90 of 100"
    detected = found(of(report, many_detections(report.volume, 1000)))["Detections"].first(5)
    assert [row.number for row in detected.rows] == [1, 2, 3, 4, 5]
    scores = [row.cells[detected.headings.index("Score")] for row in detected.rows]
    assert scores == sorted(scores, reverse=True)
    assert detected.says_more == "Not shown here: 995 of 1,000"


def test_rows_are_shared_among_tables_and_none_is_lost() -> None:
    many, few = (Table(str(count), (), tuple(found_rows(count))) for count in (30, 3))
    shared = shared_out([many, few], 12)
    assert [(len(table.rows), table.left_out) for table in shared] == [(9, 21), (3, 0)]
    assert [len(table.rows) for table in shared_out([many, few], 99)] == [30, 3]


def found_rows(count: int) -> list[object]:
    from dicom_node.results.table import Row

    return [Row(str(index), (), index) for index in range(count)]


@pytest.mark.parametrize("what", ["segments", "detections", "everything", "words"])
def test_a_picture_is_bounded_however_much_was_found(report: Report, what: str) -> None:
    assert report.volume is not None
    findings = {
        "segments": lambda volume: many_segments(volume, 100),
        "detections": lambda volume: many_detections(volume, 1000),
        "everything": lambda volume: replace(
            every_kind(volume),
            texts=tuple(Text(f"t{i}", LUNG, "word " * 200) for i in range(20)),
            remarks=tuple(Remark(LUNG, "remark " * 100) for _ in range(20)),
        ),
        "words": lambda _: Findings(texts=(Text("t", LUNG, "x" * 5000),), remarks=(Remark(LUNG, "y" * 5000),)),
    }[what](report.volume)
    drawn = card(replace(of(report, findings), remark="of " * 300))
    assert drawn.shape[1] == 1280
    assert drawn.shape[0] <= HIGHEST


def test_a_picture_of_many_segments_makes_no_volume_of_each(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    from inference.findings import Segment

    def refuse(_: Segment) -> None:
        raise AssertionError("a whole mask was made")

    assert report.volume is not None
    findings = many_segments(report.volume, 100)
    monkeypatch.setattr(Segment, "mask", property(refuse))
    card(of(report, findings))


def test_what_was_not_analysed_has_a_card_with_the_reason(report: Report) -> None:
    failed = not_analysed(report.sources)
    summary = summary_of(scene_of(failed))
    assert summary.failure is not None
    assert summary.failure.reason == "the images end above the diaphragm"
    assert summary.failure.code == "Anatomy coverage incomplete (130576, DCM)"
    assert summary.failure.sent == "CT series 4, 12 images"
    result = encoded(failed)
    assert result.faults == ()
    assert result.sop_instance_uid != encoded(report).sop_instance_uid
    other = replace(failed, findings=Findings(not_analysed=NotAnalysed(LUNG, "another reason")))
    assert not np.array_equal(card(failed), card(other))


def test_the_picture_says_what_the_model_is_for_and_for_whom_where_there_is_room(report: Report) -> None:
    assert report.volume is not None
    said = "Intended use: Finds shapes of known size in images made by tests.", "Population: Phantoms of any age."
    assert summary_of(scene_of(report)).purpose == said
    few, many = of(report, Findings(report.findings.segments)), of(report, many_detections(report.volume, 1000))
    other = replace(MODEL, card=replace(MODEL.card, population="Nobody."))
    for one, is_shown in ((few, True), (many, False)):
        changed = card(replace(one, model=other))
        assert (card(one).shape != changed.shape or (card(one) != changed).any()) == is_shown


def test_findings_without_numbers_have_tables_without_columns(report: Report) -> None:
    plain = of(report, Findings(report.findings.segments))
    assert found(plain)["Segments"].headings == ()
    for kind in ("sc", "pdf"):
        (result,) = encode(replace(plain, kinds=frozenset((kind,))))
        assert result.faults == ()


def test_a_model_that_found_nothing_says_so(report: Report) -> None:
    assert summary_of(scene_of(of(report, Findings()))).is_silent
    assert not summary_of(scene_of(report)).is_silent
    assert not summary_of(scene_of(not_analysed(report.sources))).is_silent
    assert NOTHING_FOUND
    with_statement, without = card(of(report, Findings())), card(of(report, Findings(texts=(Text("t", LUNG, "."),))))
    assert with_statement.shape[0] > without.shape[0]


def test_the_words_of_the_site_stand_at_the_foot(report: Report) -> None:
    words = Words("Ergebnis einer KI – nur nach ärztlicher Prüfung verwenden")
    german = replace(report, words=words)
    foot = np.asarray(foot_of(scene_of(german)))
    assert np.array_equal(card(german)[-len(foot) :], foot)
    assert not np.array_equal(card(report)[-len(foot) :], foot)
    assert encoded(german).faults == ()


def test_another_wording_makes_another_instance(report: Report) -> None:
    other = replace(report, words=Words("Only after review by a physician"))
    assert identity.sop_instance_uid(other, "sc") != identity.sop_instance_uid(report, "sc")
    assert identity.sop_instance_uid(other, "sr") == identity.sop_instance_uid(report, "sr")


def test_the_patient_is_not_in_the_picture(report: Report) -> None:
    """Neither name nor number changes a single pixel."""
    before = card(report)
    for source in report.sources:
        renamed = Dataset()
        renamed.update(source)
    others = [_renamed(source) for source in report.sources]
    assert np.array_equal(card(replace(report, sources=others)), before)


def _renamed(source: Dataset) -> Dataset:
    other = Dataset()
    other.update(source)
    other.PatientName, other.PatientID, other.PatientBirthDate = "Canary^Yellow", "CANARY", "19010101"
    other.AccessionNumber, other.StudyDate, other.StudyDescription = "CANARY", "19010102", "CANARY"
    return other


def broken(result: EncodedResult, **changes: object) -> Written:
    dataset = dcmread(BytesIO(result.payload))
    drawn = dcmread(BytesIO(result.payload))
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return Written(drawn, written(dataset).file)


def test_a_picture_that_was_changed_is_found_out(report: Report) -> None:
    scene, result = scene_of(report), encoded(report)
    dataset = dcmread(BytesIO(result.payload))
    assert RESULT.check(scene, "sc", broken(result)) == []
    pixels = bytearray(dataset.PixelData)
    pixels[1000] ^= 1
    assert "not the one that was drawn" in RESULT.check(scene, "sc", broken(result, PixelData=bytes(pixels)))[0]
    blank = np.array(dataset.pixel_array)
    blank[-40:] = 0
    faults = RESULT.check(scene, "sc", broken(result, PixelData=blank.tobytes()))
    assert any("lacks the words at its foot" in fault for fault in faults)
    assert "does not say so" in RESULT.check(scene, "sc", broken(result, BurnedInAnnotation="NO"))[0]


def test_a_picture_of_the_wrong_length_is_found_out(report: Report) -> None:
    cut = broken(encoded(report), Rows=dcmread(BytesIO(encoded(report).payload)).Rows + 1)
    with pytest.raises(Exception, match="bytes of Pixel Data"):
        RESULT.check(scene_of(report), "sc", cut)


def test_a_picture_that_names_foreign_images_is_found_out(report: Report) -> None:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2", "1.2.3"
    result = encoded(report)
    (fault,) = RESULT.check(scene_of(report), "sc", broken(result, SourceImageSequence=[item]))
    assert "1.2.3, which is no source" in fault
    (fault,) = RESULT.check(scene_of(report), "sc", broken(result, SourceImageSequence=[]))
    assert "names no image" in fault


def test_a_picture_is_the_same_whenever_it_is_drawn(report: Report) -> None:
    assert report.volume is not None
    full = of(report, every_kind(report.volume))
    assert encoded(full).payload == encoded(full).payload


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Größe in mm², ± 3 µm – “x”", "Größe in mm², ± 3 µm – “x”"),
        ("Ωμέγα, Ящерица, ქართული, Հայերեն", "Ωμέγα, Ящерица, ქართული, Հայերեն"),
        ("肺 結節 found", "[…] found"),
        ("نتيجة AI", "[…] AI"),
        ("한국어", "[…]"),
        ("a\nb\tc", "a b c"),
    ],
)
def test_letters_that_the_face_lacks_are_never_drawn_as_boxes(text: str, shown: str) -> None:
    assert spelled(text) == shown
    assert can_show(spelled(text))


def test_a_finding_whose_label_cannot_be_drawn_has_the_name_of_its_code() -> None:
    assert named("左肺", LUNG) == "Lung"
    assert named("左肺", Code("肺", "99X", "肺")) == "[…] (99X)"
    assert named("Left lung", LUNG) == "Left lung"


def test_what_could_not_be_drawn_is_explained(report: Report) -> None:
    plain = Findings(texts=(Text("t", LUNG, "nodule"),))
    foreign = Findings(texts=(Text("t", LUNG, "結節"),))
    assert not summary_of(scene_of(of(report, plain))).remarks
    (remark,) = summary_of(scene_of(of(report, foreign))).remarks
    assert "cannot be drawn" in remark


def test_lines_are_never_wider_than_their_room() -> None:
    text = "short words, and one-that-is-" + "very" * 60 + "-long"
    lines = wrap(text, 300, 17)
    assert all(font(17).getlength(line) <= 300 for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert font(17).getlength(fit(text, 200, 17)) <= 200


def test_numbers_are_shown_as_far_as_they_can_be_repeated() -> None:
    mm = Measurement(DIAMETER, 2755.4, MM, None, uncertainty=43.2)
    shown = [
        tables(Findings(measurements=(one,)), str)[0].rows[0].cells[0]
        for one in (
            mm,
            replace(mm, value=6.137, uncertainty=0.8),
            replace(mm, uncertainty=0.04),
            replace(mm, uncertainty=None),
        )
    ]
    assert shown == ["2,755 ± 43", "6.14 ± 0.80", "2,755 ± 0.04", "2,755"]
    assert tables(Findings(measurements=(replace(mm, value=float("nan"), uncertainty=None),)), str)[0].rows[
        0
    ].cells == ("–",)
    assert tables(Findings(measurements=(replace(mm, unit=HU),)), str)[0].rows[0].label == "Diameter (HU)"


def test_more_kinds_of_measurement_than_columns_are_counted(report: Report) -> None:
    segment = report.findings.segments[0]
    measured = tuple(
        Measurement(Code(str(index), "99T", f"Quantity {index}"), 1.0, MM, segment.key) for index in range(9)
    )
    table = found(of(report, Findings((segment,), measured)))["Segments"]
    assert len(table.headings) == 6
    assert table.says_more == "Not shown here: 3 further kinds of measurement"


def test_pictures_open_for_every_geometry() -> None:
    for name in ("sagittal", "oblique", "tilted", "resampled", "multi_frame"):
        report = made_report(name, kinds=("sc",))
        result = encoded(report)
        assert result.faults == ()
        image = Image.fromarray(dcmread(BytesIO(result.payload)).pixel_array)
        assert image.size[0] == 1280
    datasets, volume = made_volume("axial")
    one = replace(volume, voxels=volume.voxels[:1], sources=volume.sources[:1])
    assert encoded(report_on(datasets, one, Findings(), kinds=("sc",))).faults == ()
    assert MODEL.title in summary_of(scene_of(report_on(datasets, one, Findings()))).title
