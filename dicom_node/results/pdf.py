"""Findings to an Encapsulated PDF (PS3.3 A.45.1): one page that a person can read, and print."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from dicom_node.results import codes, context
from dicom_node.results.check_pdf import check_pdf
from dicom_node.results.page import document_title, draw_page
from dicom_node.results.result_type import ResultType
from dicom_node.results.scene import Scene
from dicom_node.results.sources import instances_used
from dicom_node.results.writing import Written, written

MIME_TYPE = "application/pdf"


def applies(_scene: Scene) -> bool:
    """A page is never silent: it says what was found, that nothing was, or why nothing was analysed."""
    return True


def encode_pdf(scene: Scene, ordered: str) -> Written:
    """Encapsulated Document (PS3.3 C.24.2). Burned In Annotation says whether the page tells whose it is."""
    report = scene.report
    document = draw_page(scene)
    dataset = context.new_object(report, ordered, EncapsulatedPDFStorage, "DOC")
    dataset.ConversionType = "SYN"
    dataset.AcquisitionDateTime = ""
    dataset.BurnedInAnnotation = "YES" if report.words.pdf_names_patient else "NO"
    dataset.RecognizableVisualFeatures = "NO"
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.DocumentTitle = document_title(report)
    title = codes.FAILED_ANALYSES if report.findings.not_analysed else codes.IMAGING_MEASUREMENT_REPORT
    dataset.ConceptNameCodeSequence = [codes.concept(title)]
    dataset.SourceInstanceSequence = [_source(instance.item()) for instance in instances_used(report)]
    dataset.MIMETypeOfEncapsulatedDocument = MIME_TYPE
    dataset.EncapsulatedDocumentLength = len(document)
    dataset.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    return written(dataset)


def _source(item: Dataset) -> Dataset:
    item.PurposeOfReferenceCodeSequence = [codes.concept(codes.SOURCE_OF_PROCESSING)]
    return item


def check(scene: Scene, _ordered: str, pdf: Written) -> list[str]:
    return check_pdf(scene, pdf)


RESULT = ResultType("pdf", applies, encode_pdf, check)
