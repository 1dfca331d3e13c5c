"""The page is one page of real text, says whose it is and what it may be used for, and is read back before it is sent."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pypdf import PdfReader

from dicom_node.result_words import Words
from dicom_node.results import page
from dicom_node.results.encode import encode
from dicom_node.results.page import draw_page
from dicom_node.results.pdf import RESULT
from dicom_node.results.report import EncodedResult, Report
from dicom_node.results.scene import scene_of
from dicom_node.results.writing import Written, written
from inference.findings import Findings, Remark, Text
from tests.conformance.made_findings import every_kind, many_detections, many_segments
from tests.conformance.reports import LUNG, MODEL, made_report, not_analysed

Peer = Callable[[str], str]


@pytest.fixture(scope="module")
def report() -> Report:
    made = made_report("axial", kinds=("pdf",))
    assert made.volume is not None
    return replace(made, findings=every_kind(made.volume), revision=3, remark="analysed 410 of 412 images")


@pytest.fixture(scope="module")
def result(report: Report) -> EncodedResult:
    (found,) = encode(report)
    return found


def document(result: EncodedResult) -> bytes:
    dataset = dcmread(BytesIO(result.payload))
    return bytes(dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength])


def text_of(pdf: bytes) -> str:
    (only,) = PdfReader(BytesIO(pdf), strict=True).pages
    return " ".join(only.extract_text().split())


def test_the_page_passes_its_checks(result: EncodedResult) -> None:
    assert result.faults == ()


def test_the_page_says_what_a_reader_must_know(report: Report, result: EncodedResult) -> None:
    said = text_of(document(result))
    for words in (
        "AI result, not reviewed",
        "not for diagnosis unless reviewed",
        "analysed 410 of 412 images",
        "Intended use: Finds shapes of known size in images made by tests.",
        "Limit: Sees nothing but what was put there.",
        "shape_finder@2.1.0",
        MODEL.device_uid,
        MODEL.manufacturer,
        "3, 2026-03-04",
        "Slices are thicker than 2.5 mm.",
        "größer als zuvor",
    ):
        assert words in said, words
    for finding in (*report.findings.segments, *report.findings.detections, *report.findings.landmarks):
        assert finding.label in said
    assert "12.3 ± 0.8" in said


def test_the_page_has_the_model_card_where_there_is_room(report: Report) -> None:
    """Use and limits are on every page."""
    few = replace(report, findings=Findings(report.findings.segments))
    said = text_of(draw_page(scene_of(few)))
    for words in (
        "Intended use: Finds shapes of known size in images made by tests.",
        "Population: Phantoms of any age.",
        "Metric: Dice 1 (0.99 to 1), on 3 phantoms",
        "Training data: Nothing.",
        "Qualification: research",
    ):
        assert words in said, words


def test_the_page_says_whose_it_is_unless_the_site_forbids_it(report: Report, result: EncodedResult) -> None:
    said, dataset = text_of(document(result)), dcmread(BytesIO(result.payload))
    assert dataset.BurnedInAnnotation == "YES"
    for words in ("Müller, Jürgen", "T-1", "1950-02-03, M", "2026-03-04", "ACC7"):
        assert words in said
    (without,) = encode(replace(report, words=Words(pdf_names_patient=False)))
    said, dataset = text_of(document(without)), dcmread(BytesIO(without.payload))
    assert without.faults == ()
    assert dataset.BurnedInAnnotation == "NO"
    for words in ("Müller", "T-1", "1950-02-03", "ACC7"):
        assert words not in said
    assert without.sop_instance_uid != result.sop_instance_uid


def test_another_reader_finds_the_same_text(peer: Peer, result: EncodedResult, tmp_path: Path) -> None:
    path = tmp_path / "page.pdf"
    path.write_bytes(document(result))
    run = [peer("pdftotext"), "-layout", str(path), "-"]
    said = subprocess.run(run, check=True, capture_output=True, text=True, timeout=60).stdout
    assert "Müller, Jürgen" in said
    assert "AI result - not for diagnosis unless reviewed by a physician" in said
    info = subprocess.run([peer("pdfinfo"), str(path)], check=True, capture_output=True, text=True, timeout=60)
    assert "Pages:           1\n" in info.stdout
    assert "Syntax Error" not in info.stderr


def test_the_same_report_gives_the_same_page_in_every_process() -> None:
    program = (
        "import hashlib; from tests.conformance.reports import made_report;"
        "from dicom_node.results.encode import encode;"
        "print(hashlib.sha256(encode(made_report('axial', kinds=('pdf',)))[0].payload).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120)
    (here,) = encode(made_report("axial", kinds=("pdf",)))
    assert done.stdout.strip() == hashlib.sha256(here.payload).hexdigest()


def test_fonts_are_within_the_document(result: EncodedResult) -> None:
    """A page whose letters depend on the reader's machine is another page there."""
    (only,) = PdfReader(BytesIO(document(result))).pages
    used = [font.get_object() for font in only["/Resources"]["/Font"].get_object().values()]  # type: ignore[index]
    embedded = [font for font in used if "/FontFile2" in (font.get("/FontDescriptor") or {})]
    assert len(embedded) >= 2
    assert all(font["/BaseFont"] == "/Helvetica" for font in used if font not in embedded)
    assert b"/F1 " not in only.get_contents().get_data().replace(b"BT /F1 12 Tf 14.4 TL ET", b"")  # type: ignore[union-attr]


def test_a_document_is_identified_as_the_standard_asks(result: EncodedResult, report: Report) -> None:
    dataset = dcmread(BytesIO(result.payload))
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.104.1"
    assert (dataset.Modality, dataset.MIMETypeOfEncapsulatedDocument) == ("DOC", "application/pdf")
    assert dataset.DocumentTitle == "AI findings: Shape finder 2.1.0, revision 3"
    assert dataset.ConceptNameCodeSequence[0].CodeValue == "126000"
    assert dataset.VerificationFlag == "UNVERIFIED"
    named = [item.ReferencedSOPInstanceUID for item in dataset.SourceInstanceSequence]
    assert named == [source.SOPInstanceUID for source in report.sources]
    assert dataset.EncapsulatedDocument.startswith(b"%PDF-")


def test_what_was_not_analysed_has_a_page_with_the_reason(report: Report) -> None:
    (failed,) = encode(replace(not_analysed(report.sources), kinds=frozenset(("pdf",))))
    assert failed.faults == ()
    said = text_of(document(failed))
    assert "Not analysed because the images end above the diaphragm" in said
    assert "130576" in said
    assert "Müller, Jürgen" in said
    assert dcmread(BytesIO(failed.payload)).ConceptNameCodeSequence[0].CodeValue == "111024"


@pytest.mark.parametrize("what", ["segments", "detections", "words", "everything"])
def test_however_much_was_found_it_is_one_page_and_nothing_overlaps(
    report: Report, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert report.volume is not None
    words = Findings(texts=(Text("t", LUNG, "word " * 900),), remarks=(Remark(LUNG, "x" * 3000),))
    full = replace(every_kind(report.volume), texts=words.texts, remarks=words.remarks)
    findings = {
        "segments": many_segments(report.volume, 100),
        "detections": many_detections(report.volume, 1000),
        "words": words,
        "everything": full,
    }[what]
    ends: list[float] = []
    drawing = page._draw

    def drawn(canvas: object, body: list[page.Part], top: float) -> None:
        ends.extend((top, top + sum(part.height + page.GAP for part in body)))
        drawing(canvas, body, top)  # type: ignore[arg-type]

    monkeypatch.setattr(page, "_draw", drawn)
    model = replace(MODEL, limits=tuple("limit " * 40 for _ in range(9)), intended_use="use " * 100)
    pdf = draw_page(scene_of(replace(report, findings=findings, model=model, remark="of " * 300)))
    assert len(PdfReader(BytesIO(pdf)).pages) == 1
    body_top, body_end, foot_top, foot_end = ends
    assert 0 < body_top < body_end <= foot_top + 0.01 < foot_end <= page.HEIGHT
    said = text_of(pdf)
    assert "Not shown here" in said or "not shown here" in said


def test_names_in_letters_that_the_face_lacks_are_not_boxes(report: Report) -> None:
    def renamed(source: Dataset) -> Dataset:
        other = Dataset()
        other.update(source)
        other.SpecificCharacterSet = "ISO_IR 192"
        other.PatientName = "山田^太郎=山田^太郎=やまだ^たろう"
        return other

    (made,) = encode(replace(report, sources=[renamed(source) for source in report.sources]))
    said = text_of(document(made))
    assert made.faults == ()
    assert "[…]" in said
    assert "cannot be drawn" in said
    assert "T-1" in said


def changed(result: EncodedResult, document: bytes) -> Written:
    dataset = dcmread(BytesIO(result.payload))
    dataset.EncapsulatedDocumentLength = len(document)
    dataset.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    return Written(dataset, written(dataset).file)


def test_a_document_that_does_not_open_is_found_out(report: Report, result: EncodedResult) -> None:
    whole = document(result)
    scene = scene_of(report)
    assert RESULT.check(scene, "pdf", changed(result, whole)) == []
    for broken in (whole[: len(whole) // 2], b"%PDF-1.4\n", b""):
        assert any("does not open" in fault for fault in RESULT.check(scene, "pdf", changed(result, broken)))


def test_a_page_without_its_warning_or_its_patient_is_found_out(report: Report, result: EncodedResult) -> None:
    scene = scene_of(report)
    other = draw_page(scene_of(replace(report, words=Words("Some other words of the site", pdf_names_patient=False))))
    faults = RESULT.check(scene, "pdf", changed(result, other))
    assert any("lacks the words at its foot" in fault for fault in faults)
    assert any("whose it is" in fault for fault in faults)


def test_a_document_of_two_pages_is_found_out(report: Report, result: EncodedResult) -> None:
    two = BytesIO()
    blank = Image.new("RGB", (20, 20))
    blank.save(two, "PDF", save_all=True, append_images=[blank])
    (fault,) = RESULT.check(scene_of(report), "pdf", changed(result, two.getvalue()))
    assert "2 pages" in fault
