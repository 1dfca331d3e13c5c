"""Findings to a Basic Text SR (PS3.3 A.35.1), template TID 2000, for viewers that know no other report.

Sections of sentences: what it is and what limits it, what was found with numbers and units, what was analysed. Of each
finding with a place the image is named on which it shows best.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.uid import BasicTextSRStorage

from dicom_node.results import codes, sr_tree
from dicom_node.results.check_sr import check_report
from dicom_node.results.model_words import in_full
from dicom_node.results.predecessors import predecessor
from dicom_node.results.result_type import ResultType
from dicom_node.results.scene import Scene
from dicom_node.results.sentences import Sentence, sentences
from dicom_node.results.sources import instances_besides, instances_used
from dicom_node.results.sr import applies
from dicom_node.results.sr_context import language, observer, procedures
from dicom_node.results.sr_document import document
from dicom_node.results.sr_evaluations import MADE_BY_AI, about_revision
from dicom_node.results.sr_tree import Item
from dicom_node.results.writing import Written


def encode_sr_text(scene: Scene, ordered: str) -> Written:
    """The report in words."""
    return document(scene, ordered, BasicTextSRStorage, text_report(scene, ordered))


def text_report(scene: Scene, ordered: str) -> Item:
    """TID 2000: title, language, observer, procedure, then the sections."""
    report, findings = scene.report, scene.report.findings
    content = [*language(), *observer(report), *procedures(report)]
    summary = [sr_tree.text(codes.CONCLUSION, words) for words in _summary(scene, ordered)]
    content.append(sr_tree.container(codes.SUMMARY_SECTION, summary))
    if scene.is_analysed:
        said = [sr_tree.text(text.name, text.text) for text in findings.texts]
        said += [_finding(scene, sentence) for sentence in sentences(scene)]
        content.append(sr_tree.container(codes.FINDINGS_SECTION, said))
    described = [sr_tree.text(codes.PROCEDURE_DESCRIPTION, words) for words in _procedure(scene)]
    content.append(sr_tree.container(codes.PROCEDURE_SECTION, described))
    return sr_tree.root(codes.IMAGING_REPORT if scene.is_analysed else codes.FAILED_ANALYSES, content, "2000")


def _summary(scene: Scene, ordered: str) -> Iterator[str]:
    """What a reader must know first."""
    report = scene.report
    yield MADE_BY_AI
    if not_analysed := report.findings.not_analysed:
        yield f"Not analysed, because {not_analysed.text}"
    for words in (report.remark, about_revision(report, predecessor(report, ordered))):
        if words:
            yield words
    yield from (remark.text for remark in report.findings.remarks)


def _procedure(scene: Scene) -> Iterator[str]:
    """What was analysed, by what, and what that is for."""
    report = scene.report
    source, model = report.first_source, report.model
    images, others = len(instances_used(report)), len(instances_besides(report))
    series = f"series {source.get('SeriesNumber') or '?'}, {source.get('SeriesDescription') or 'without description'}"
    besides = f", and {others} of other series" if others else ""
    yield f"{'Analysed' if scene.is_analysed else 'Given'}: {images} images of {series}{besides}."
    yield f"Model: {model.title} {model.version} by {model.manufacturer}."
    yield from in_full(model)


def _finding(scene: Scene, sentence: Sentence) -> Item:
    """A sentence, and the image from which it can be seen."""
    at = [] if sentence.plane is None else [scene.planes[sentence.plane].reference]
    seen = [sr_tree.image(codes.SOURCE, reference, "INFERRED FROM") for reference in at]
    return sr_tree.text(codes.FINDING, sentence.words, children=seen)


RESULT = ResultType("sr_text", applies, encode_sr_text, check_report)
