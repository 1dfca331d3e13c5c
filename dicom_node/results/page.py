"""One A4 page that a person can read: picture, table of findings, who found them, and how far they may be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from io import BytesIO

from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from dicom_node.results import page_parts as parts
from dicom_node.results.card import looks_of, pictures_of
from dicom_node.results.lettering import spelled
from dicom_node.results.looks import MOST_DETAILS, Look, Looks
from dicom_node.results.model_words import evidence, use_and_limits
from dicom_node.results.page_parts import HEIGHT, MARGIN, Part
from dicom_node.results.report import Report
from dicom_node.results.scene import Scene
from dicom_node.results.sources import instances_used
from dicom_node.results.summary import NOTHING_FOUND, Allowance, Summary, explained, shared_out, summary_of
from dicom_node.results.table import Table, numbers_in

GAP = 8.0
MOST_ROWS, FEWEST_ROWS, MOST_LIMIT_LINES = 60, 8, 10
MOST_BANNER_CHARACTERS = 320
ALLOWANCES = (
    Allowance(MOST_ROWS, 6, 5, purpose=True),
    Allowance(MOST_ROWS, 6, 5, details=False, purpose=True),
    Allowance(MOST_ROWS, 6, 5, picture_share=0.8, details=False, purpose=True),
    Allowance(MOST_ROWS, 6, 5),
    Allowance(MOST_ROWS, 6, 5, details=False),
    Allowance(MOST_ROWS, 6, 5, picture_share=0.8, details=False),
    Allowance(MOST_ROWS, 6, 5, picture_share=0.62, details=False),
    *(Allowance(rows, 6, 5) for rows in range(MOST_ROWS, FEWEST_ROWS - 1, -1)),
    *(Allowance(rows, 3, 3, 1, details=False) for rows in range(MOST_ROWS, FEWEST_ROWS - 1, -1)),
    *(Allowance(rows, 2, 2, 1, picture_share=0.62, details=False) for rows in range(FEWEST_ROWS - 1, -1, -1)),
)
"""From the most to what always fits: smaller pictures are given up where all rows fit then, and the model card but for use and
limits; with no rows left, the tables are only named."""

PICTURE_HEIGHT, DETAIL_HEIGHT, PIXELS_A_POINT = 216.0, 96.0, 2.2


def draw_page(scene: Scene) -> bytes:
    """PDF of one page. Text is text, in fonts that are within; the same report gives the same bytes.

    As many rows of findings are shown as there is room for between the pictures and the model card at the foot.
    """
    report = scene.report
    summary = explained(summary_of(scene), _words_besides(report))
    looks = looks_of(scene.volume, report.findings) if scene.is_analysed else None
    feet = {has_evidence: _foot(report, summary, has_evidence=has_evidence) for has_evidence in (True, False)}
    for allowed in ALLOWANCES:
        body, foot = _body(scene, summary, looks, allowed), feet[allowed.purpose]
        if _height(body) <= HEIGHT - 2 * MARGIN + 14 - _height(foot):
            break
    stream = BytesIO()
    page = Canvas(stream, pagesize=A4, invariant=1, pageCompression=1, lang="en")
    page.setTitle(document_title(report))
    page.setAuthor(summary.manufacturer)
    page.setSubject(summary.disclaimer)
    page.setCreator(f"{report.equipment.model_name} {report.equipment.software_version}")
    _draw(page, body, MARGIN - 10)
    _draw(page, foot, HEIGHT - MARGIN + 14 - _height(foot))
    page.showPage()
    page.save()
    return stream.getvalue()


def _words_besides(report: Report) -> str:
    """What the page says besides the summary."""
    whose = patient(report) if report.words.pdf_names_patient else ()
    return repr((whose, _model_words(report)))


def document_title(report: Report) -> str:
    what = "not analysed" if report.findings.not_analysed else "findings"
    return spelled(f"AI {what}: {report.model.title} {report.model.version}, revision {report.revision}")


def _height(body: Sequence[Part]) -> float:
    return sum(part.height + GAP for part in body)


def _draw(page: Canvas, body: Sequence[Part], top: float) -> None:
    for part in body:
        part.draw(page, top)
        top += part.height + GAP


def _body(scene: Scene, summary: Summary, looks: Looks | None, allowed: Allowance) -> list[Part]:
    report, tables = scene.report, shared_out(summary.tables, allowed.rows)
    body = [parts.header(summary)]
    if report.words.pdf_names_patient:
        body.append(parts.pairs(patient(report), 3))
    if summary.banner:
        body.append(parts.bar(summary.banner[:MOST_BANNER_CHARACTERS]))
    if summary.failure:
        body.append(parts.failure(summary.failure))
    if looks:
        body += _panels(scene, looks if allowed.details else Looks(looks.main), allowed.picture_share, tables)
        body += [parts.scale(heat_map) for heat_map in report.findings.heat_maps[:1]]
    if summary.is_silent:
        body.append(parts.lines_of([NOTHING_FOUND], 1, parts.Style(12)))
    body += [parts.table(table, allowed.heading_lines) for table in tables if table.rows]
    if unseen := [f"{table.title} ({table.left_out:,})" for table in tables if not table.rows]:
        body.append(parts.lines_of([f"Not shown here: {', '.join(unseen)}"], 2, parts.LIMIT))
    if summary.texts:
        body.append(parts.lines_of([f"{name}: {words}" for name, words in summary.texts], allowed.text_lines))
    if summary.remarks:
        body.append(parts.lines_of(summary.remarks, allowed.notice_lines, parts.LIMIT))
    return body


def _panels(scene: Scene, looks: Looks, share: float, tables: Sequence[Table]) -> list[Part]:
    numbers = numbers_in(tables)

    def part(shown: Sequence[Look], columns: int, height: float) -> Part:
        width = (parts.INNER - parts.BETWEEN * (columns - 1)) / columns
        size = round(width * PIXELS_A_POINT), round(height * PIXELS_A_POINT)
        return parts.pictures(lambda: pictures_of(scene, shown, size, numbers), columns, height)

    made = [part(looks.main, len(looks.main), PICTURE_HEIGHT * share)]
    return [*made, part(looks.details, MOST_DETAILS, DETAIL_HEIGHT)] if looks.details else made


def patient(report: Report) -> list[tuple[str, str]]:
    """Whose page this is: who finds it in a printer must know."""
    source = report.first_source

    def said(keyword: str) -> str:
        return spelled(str(source.get(keyword) or ""))

    name = str(source.get("PatientName") or "").partition("=")[0].split("^")
    found = [
        ("Patient", spelled(", ".join(part for part in name[:2] if part))),
        ("Patient ID", said("PatientID")),
        ("Born, sex", ", ".join(part for part in (day(said("PatientBirthDate")), said("PatientSex")) if part)),
        ("Study date", day(said("StudyDate"))),
        ("Accession number", said("AccessionNumber")),
        ("Study", said("StudyDescription")),
    ]
    return [(what, words or "–") for what, words in found]


def day(date: str) -> str:
    """A DICOM date as ISO 8601 has it; as it stands where it is none."""
    try:
        return datetime.strptime(date, "%Y%m%d").date().isoformat()  # noqa: DTZ007 - a date has no zone
    except ValueError:
        return date


def _foot(report: Report, summary: Summary, *, has_evidence: bool) -> list[Part]:
    """Model card and disclaimer. has_evidence: with population, metrics and training data."""
    model, source = report.model, report.first_source
    images = len(instances_used(report))
    series = "–" if source.get("SeriesNumber") is None else source.SeriesNumber
    modality, what = source.get("Modality") or "", "image" if images == 1 else "images"
    card = [
        ("Model", spelled(f"{model.name}@{model.version}")),
        ("Manufacturer", summary.manufacturer),
        ("Analysed" if summary.failure is None else "Sent", spelled(f"{modality} series {series}, {images:,} {what}")),
        ("Revision, made", summary.made.removeprefix("Revision ")),
    ]
    words = _model_words(report) if has_evidence else _model_words(report)[:-1]
    small = parts.Style(7.5, parts.PLAIN, parts.MUTED)
    return [
        parts.pairs(card, 4),
        parts.lines_of(words, MOST_LIMIT_LINES, small),
        parts.bar(summary.disclaimer, 11),
    ]


def _model_words(report: Report) -> list[str]:
    """Its evidence comes last."""
    model = report.model
    return [
        f"Device UID {model.device_uid}, content SHA-256 {model.content_sha256[:16]}",
        *map(spelled, use_and_limits(model)),
        spelled(" · ".join(evidence(model))),
    ]
