"""Coded concepts as DICOM writes them, and those that our objects need beyond the model's own."""

from __future__ import annotations

from highdicom.sr import CodedConcept

from inference.findings import Code

IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
FAILED_ANALYSES = Code("111024", "DCM", "Failed Analyses")
IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
MODALITY = Code("121139", "DCM", "Modality")
FRAME_OF_REFERENCE_UID = Code("112227", "DCM", "Frame of Reference UID")
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")
DEVICE = Code("121007", "DCM", "Device")
SOURCE = Code("260753009", "SCT", "Source")
OUTLINE = Code("111041", "DCM", "Outline")
COMMENT = Code("121106", "DCM", "Comment")
SUMMARY_OF_ANALYSES = Code("111065", "DCM", "Summary of Analyses")
NOT_ATTEMPTED = Code("111225", "DCM", "Not Attempted")
REASON = Code("410666004", "SCT", "Reason")

SEGMENTATION = Code("113076", "DCM", "Segmentation")
BACKGROUND = Code("125040", "DCM", "Background")
SPATIAL_CONCEPT = Code("309825002", "SCT", "Spatial and Relational Concept")
SOURCE_OF_PROCESSING = Code("121322", "DCM", "Source image for image processing operation")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")

PROCEDURES = {
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "MR": Code("25056-3", "LN", "MRI unspecified body region"),
    "NM": Code("49118-3", "LN", "NM unspecified body region"),
    "PT": Code("44136-0", "LN", "PET unspecified body region"),
}
"""CID 100, for a source that does not name its procedure."""

XR_PROCEDURE = Code("43468-8", "LN", "XR unspecified body region")

MODALITIES = {
    "CT": Code("CT", "DCM", "Computed Tomography"),
    "MR": Code("MR", "DCM", "Magnetic Resonance"),
    "NM": Code("NM", "DCM", "Nuclear Medicine"),
    "PT": Code("PT", "DCM", "Positron emission tomography"),
    "CR": Code("CR", "DCM", "Computed Radiography"),
    "DX": Code("DX", "DCM", "Digital Radiography"),
    "MG": Code("MG", "DCM", "Mammography"),
    "US": Code("US", "DCM", "Ultrasound"),
    "XA": Code("XA", "DCM", "X-Ray Angiography"),
}
"""CID 29, as far as it holds what a model may be given."""


def concept(code: Code) -> CodedConcept:
    """The code as an item of a code sequence (PS3.3 section 8.8)."""
    return CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning)
