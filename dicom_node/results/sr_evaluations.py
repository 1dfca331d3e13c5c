"""Qualitative Evaluations of TID 1500: what a report says besides numbers and places.

That nothing was found or nothing analysed, and why; what the model says in words; what a reader must know before he trusts
any of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from dicom_node.results import codes, sr_tree
from dicom_node.results.model_words import in_full
from dicom_node.results.report import Report
from dicom_node.results.scene import ParametricMap, Scene
from dicom_node.results.sr_tree import Item
from inference.findings import Classification, Code, HeatMap
from storage.records.results import Predecessor

MADE_BY_AI = "Result of an algorithm (AI), not verified by a physician."

NO_MAPS: Mapping[str, ParametricMap] = MappingProxyType({})

_STATES = {"present": codes.PRESENT, "absent": codes.ABSENT, "indeterminate": codes.UNDETERMINED}


def state_of(classification: Classification) -> Code:
    """CID 240."""
    return _STATES[classification.state]


def is_without_findings(scene: Scene) -> bool:
    """Whether all was analysed, and nothing at all was found: no voxel, no place, no number, nothing that is not absent.

    Numbers and words of the volume may be findings; where there are some, nobody but the reader can say.
    """
    findings = scene.report.findings
    return scene.is_analysed and not (
        any(item.number for item in scene.segments)
        or any(item.state != "absent" for item in findings.classifications)
        or any(item.finding_key is None for item in findings.measurements)
        or findings.detections
        or findings.landmarks
        or findings.heat_maps
        or findings.texts
    )


def evaluations(scene: Scene, replaced: Predecessor | None, maps: Mapping[str, ParametricMap] = NO_MAPS) -> list[Item]:
    """TID 1500 rows 12 to 14. replaced: the report that this one takes the place of. maps: those of heat maps, by key."""
    return [*_answers(scene), *_words(scene.report, replaced, maps)]


def _answers(scene: Scene) -> Iterator[Item]:
    findings = scene.report.findings
    if findings.not_analysed:
        yield sr_tree.code(codes.SUMMARY_OF_ANALYSES, codes.NOT_ATTEMPTED)
        yield sr_tree.code(codes.REASON, findings.not_analysed.code)
    elif is_without_findings(scene):
        yield sr_tree.code(codes.FINDINGS_SUMMARY, codes.WITHOUT_FINDINGS)


def _words(report: Report, replaced: Predecessor | None, maps: Mapping[str, ParametricMap]) -> Iterator[Item]:
    findings, model = report.findings, report.model
    if findings.not_analysed:
        yield sr_tree.text(codes.COMMENT, f"Not analysed, because {findings.not_analysed.text}")
    for said in findings.texts:
        yield sr_tree.text(said.name, said.text)
    for heat_map in findings.heat_maps:
        shown = maps.get(heat_map.key)
        seen = [sr_tree.image(codes.BEST_ILLUSTRATION, shown.reference, "INFERRED FROM")] if shown else []
        yield sr_tree.text(codes.COMMENT, about(heat_map), children=seen)
    for words in (report.remark, about_revision(report, replaced)):
        if words:
            yield sr_tree.text(codes.COMMENT, words)
    for remark in findings.remarks:
        yield sr_tree.text(remark.code, remark.text)
    for comment in (MADE_BY_AI, *in_full(model)):
        yield sr_tree.text(codes.COMMENT, comment)


def about(heat_map: HeatMap) -> str:
    """What a heat map shows, for one who reads of it before he sees it."""
    low, high = heat_map.shown
    unit = "" if heat_map.unit.value == "1" else f" {heat_map.unit.value}"
    return f"Heat map {heat_map.label!r}: {heat_map.quantity.meaning}, shown from {low:g} to {high:g}{unit}."


def about_revision(report: Report, replaced: Predecessor | None) -> str:
    """Which revision of the series this is about, and what it takes the place of; nothing for a first report."""
    if replaced is None:
        return f"Revision {report.revision} of the series." if report.revision > 1 else ""
    if replaced.revision == report.revision:
        return "This report replaces an earlier one on the same images."
    return (
        f"Revision {report.revision} of the series: its images changed after revision {replaced.revision} was analysed, and"
        " this report replaces that one."
    )
