"""What a picture and a page say, in words: who says it, of what, what was found, and what limits it. One text for both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dicom_node.results.context import local_time
from dicom_node.results.lettering import ABSENT, ABSENT_EXPLAINED, spelled
from dicom_node.results.model_words import purpose
from dicom_node.results.picture_names import is_tiled, short_name
from dicom_node.results.picture_rows import by_picture
from dicom_node.results.report import Report
from dicom_node.results.scene import Scene
from dicom_node.results.sources import instance_numbers, instances_used
from dicom_node.results.table import ImageName, Table, tables
from inference.findings import NotAnalysed

BADGE = "AI result, not reviewed"
NOTHING_FOUND = "The model found nothing to report."
WHAT_TO_DO = (
    "Read these images as if there were no AI: nothing was computed.",
    "If they should be analysed, send what the reason says is missing or wrong; the series is then analysed again.",
)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What there is room for: rows of all tables together, lines of texts, of remarks and of headings, pictures of so much
    of their full height, smaller ones besides, and more of the model card."""

    rows: int
    text_lines: int = 8
    notice_lines: int = 6
    heading_lines: int = 3
    picture_share: float = 1.0
    details: bool = True
    purpose: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """Why nothing was analysed: the reason in words, its code, what was sent, and what to do."""

    reason: str
    code: str
    sent: str
    what_to_do: tuple[str, ...] = WHAT_TO_DO


@dataclass(frozen=True, slots=True)
class Summary:
    """title: of the model, with its version. banner: what limits all of it. failure: set where nothing was analysed.

    texts: what the model says, each under its name. remarks: what limits its numbers. made: which revision, and when.
    disclaimer: as the site decided it. purpose: what the model is for, and for whom.
    """

    title: str
    manufacturer: str
    banner: str
    made: str
    disclaimer: str
    tables: tuple[Table, ...]
    texts: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]
    failure: Failure | None = None
    purpose: tuple[str, ...] = ()

    @property
    def is_silent(self) -> bool:
        """Whether the model was run and found nothing."""
        return not (self.failure or self.tables or self.texts)


def summary_of(scene: Scene) -> Summary:
    report, findings, model = scene.report, scene.report.findings, scene.report.model
    shown = by_picture(findings, scene.volume) if scene.is_analysed else findings
    made = Summary(
        title=spelled(f"{model.title} {model.version}"),
        manufacturer=spelled(model.manufacturer),
        banner=spelled(report.remark or ""),
        made=f"Revision {report.revision}, {local_time(report):%Y-%m-%d %H:%M %z}",
        disclaimer=spelled(report.words.disclaimer),
        tables=tuple(tables(shown, image_names(report))) if scene.is_analysed else (),
        texts=tuple((spelled(text.name.meaning), spelled(text.text)) for text in findings.texts),
        remarks=tuple(spelled(remark.text) for remark in findings.remarks),
        failure=_failure(report, findings.not_analysed) if findings.not_analysed else None,
        purpose=tuple(map(spelled, purpose(model))),
    )
    return explained(made)


def explained(summary: Summary, besides: str = "") -> Summary:
    """With a remark on what could not be written, in the summary or in other words that stand with it."""
    is_needed = ABSENT in repr(summary) + besides and ABSENT_EXPLAINED not in summary.remarks
    return replace(summary, remarks=(*summary.remarks, ABSENT_EXPLAINED)) if is_needed else summary


def _failure(report: Report, reason: NotAnalysed) -> Failure:
    source = report.first_source
    images = len(instances_used(report))
    modality, number = source.get("Modality") or "", source.get("SeriesNumber")
    series = f"series {number}" if number is not None else "a series"
    said = f"{modality} {series}, {images:,} {'image' if images == 1 else 'images'}".strip()
    code = f"{reason.code.meaning} ({reason.code.value}, {reason.code.scheme})"
    return Failure(spelled(reason.text), spelled(code), spelled(said))


def image_names(report: Report) -> ImageName:
    """What the image of a slice is called: its Instance Number, else its place among the slices, or the frame."""
    numbers = instance_numbers(report)
    frames = report.volume.sources if report.volume else ()
    pictures = report.volume.pictures if report.volume else ()

    def name(place: float) -> str:
        index = min(max(round(place), 0), len(frames) - 1)
        if report.volume and is_tiled(report.volume):
            return "whole"
        if pictures and report.volume:
            first = next(picture for picture in pictures if picture.slice == index)
            return short_name(report.volume, first).removeprefix("image ")
        frame = frames[index]
        if frame.frame_number is not None:
            return f"frame {frame.frame_number}"
        number = numbers.get(frame.sop_instance_uid)
        return str(index + 1 if number is None else number)

    return name


def shared_out(made: Sequence[Table], rows: int) -> list[Table]:
    """The tables with so many rows in all: each gets its share, and what one does not need the others get."""
    wanted = [len(table.rows) for table in made]
    given = [0] * len(made)
    while rows > 0 and given != wanted:
        for index, most in enumerate(wanted):
            if rows > 0 and given[index] < most:
                given[index] += 1
                rows -= 1
    return [table.first(count) for table, count in zip(made, given, strict=True)]
