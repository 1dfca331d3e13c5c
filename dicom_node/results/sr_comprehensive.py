"""Findings to a Comprehensive SR (PS3.3 A.35.3): the report of `sr`, for receivers that do not take the newer SOP class."""

from __future__ import annotations

from pydicom.uid import ComprehensiveSRStorage

from dicom_node.results.check_sr import check_report
from dicom_node.results.result_type import ResultType
from dicom_node.results.scene import Scene
from dicom_node.results.sr import applies, measurement_report
from dicom_node.results.sr_document import document
from dicom_node.results.writing import Written


def encode_sr_comprehensive(scene: Scene, ordered: str) -> Written:
    """The same content, item by item."""
    return document(scene, ordered, ComprehensiveSRStorage, measurement_report(scene, ordered))


RESULT = ResultType("sr_comprehensive", applies, encode_sr_comprehensive, check_report)
