"""Findings to a Comprehensive 3D SR (PS3.3 A.35.13), root template TID 1500, Measurement Report (PS3.16).

What the model found stands in measurement groups; who and what the model is, and what a reader must know before he
trusts a number, in Qualitative Evaluations. A report that nothing was analysed, or nothing found, has no measurements, so
it is not titled as a measurement report; viewers then show its text.
"""

from __future__ import annotations

from pydicom.uid import Comprehensive3DSRStorage

from dicom_node.results import codes, sr_tree
from dicom_node.results.check_sr import check_report
from dicom_node.results.predecessors import predecessor
from dicom_node.results.result_type import ResultType
from dicom_node.results.scene import Scene
from dicom_node.results.sr_context import algorithm, context_of
from dicom_node.results.sr_document import document, maps_for, segmentation_for
from dicom_node.results.sr_evaluations import evaluations
from dicom_node.results.sr_groups import has_places
from dicom_node.results.sr_pictures import groups_of
from dicom_node.results.sr_tree import Item
from dicom_node.results.writing import Written
from inference.findings import Code


def applies(_scene: Scene) -> bool:
    """A report is never silent: it says what was found, that nothing was, or why nothing was analysed."""
    return True


def encode_sr(scene: Scene, ordered: str) -> Written:
    """The report document. It refers to the Segmentation and the maps that are ordered with it, where these were made."""
    return document(scene, ordered, Comprehensive3DSRStorage, measurement_report(scene, ordered))


def measurement_report(scene: Scene, ordered: str) -> Item:
    """TID 1500. It uses nothing that Comprehensive SR does not allow: coordinates are 2D, on the images themselves."""
    report = scene.report
    groups = groups_of(scene, segmentation_for(scene, ordered)) if scene.is_analysed else []
    said = evaluations(scene, predecessor(report, ordered), maps_for(scene, ordered))
    content = context_of(report, names_all=has_places(scene))
    if groups:
        content.append(sr_tree.container(codes.IMAGING_MEASUREMENTS, [*algorithm(report), *groups]))
    content.append(sr_tree.container(codes.QUALITATIVE_EVALUATIONS, said))
    return sr_tree.root(_title(scene), content, "1500")


def _title(scene: Scene) -> Code:
    """CID 7021, extended where no finding has a place of its own: viewers that look for places then show the text."""
    if not scene.is_analysed:
        return codes.FAILED_ANALYSES
    return codes.IMAGING_MEASUREMENT_REPORT if has_places(scene) else codes.IMAGING_REPORT


RESULT = ResultType("sr", applies, encode_sr, check_report)
