"""Coded concepts as DICOM writes them, and those that our objects need beyond the model's own."""

from __future__ import annotations

from highdicom.sr import CodedConcept

from inference.findings import Code

IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
IMAGING_REPORT = Code("18748-4", "LN", "Diagnostic Imaging Report")
FAILED_ANALYSES = Code("111024", "DCM", "Failed Analyses")
IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
MODALITY = Code("121139", "DCM", "Modality")
FRAME_OF_REFERENCE_UID = Code("112227", "DCM", "Frame of Reference UID")
LANGUAGE = Code("121049", "DCM", "Language of Content Item and Descendants")
ENGLISH = Code("en", "RFC5646", "English")
OBSERVER_TYPE = Code("121005", "DCM", "Observer Type")
DEVICE_OBSERVER_UID = Code("121012", "DCM", "Device Observer UID")
DEVICE_OBSERVER_NAME = Code("121013", "DCM", "Device Observer Name")
DEVICE_OBSERVER_MANUFACTURER = Code("121014", "DCM", "Device Observer Manufacturer")
DEVICE_OBSERVER_MODEL_NAME = Code("121015", "DCM", "Device Observer Model Name")
ALGORITHM_NAME = Code("111001", "DCM", "Algorithm Name")
ALGORITHM_VERSION = Code("111003", "DCM", "Algorithm Version")
ALGORITHM_PARAMETERS = Code("111002", "DCM", "Algorithm Parameters")
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")
DEVICE = Code("121007", "DCM", "Device")
SOURCE = Code("260753009", "SCT", "Source")
MEASUREMENT_GROUP = Code("125007", "DCM", "Measurement Group")
TRACKING_IDENTIFIER = Code("112039", "DCM", "Tracking Identifier")
TRACKING_UID = Code("112040", "DCM", "Tracking Unique Identifier")
FINDING_CATEGORY = Code("276214006", "SCT", "Finding category")
FINDING = Code("121071", "DCM", "Finding")
FINDING_SITE = Code("363698007", "SCT", "Finding Site")
LATERALITY = Code("272741003", "SCT", "Laterality")
MEASUREMENT_METHOD = Code("370129005", "SCT", "Measurement Method")
DERIVATION = Code("121401", "DCM", "Derivation")
UNCERTAINTY = Code("371884006", "SCT", "+/-, range of measurement uncertainty")
CERTAINTY = Code("111012", "DCM", "Certainty of Finding")
PROBABILITY = Code("122157", "DCM", "Probability")
THRESHOLD = Code("122411", "DCM", "Threshold Value")
IMAGE_LATERALITY = Code("111027", "DCM", "Image Laterality")
IMAGE_REGION = Code("111030", "DCM", "Image Region")
REFERENCED_SEGMENT = Code("121191", "DCM", "Referenced Segment")
SOURCE_SERIES = Code("121232", "DCM", "Source series for segmentation")
ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
PLACE_UNCERTAINTY = Code("PLACE95", "99DICOMNODE", "Radius around the place with 95 % probability")
PERCENT = Code("%", "UCUM", "Percent")
MILLIMETRE = Code("mm", "UCUM", "millimeter")
OUTLINE = Code("111041", "DCM", "Outline")
BEST_ILLUSTRATION = Code("121080", "DCM", "Best illustration of finding")
COMMENT = Code("121106", "DCM", "Comment")
SUMMARY_OF_ANALYSES = Code("111065", "DCM", "Summary of Analyses")
NOT_ATTEMPTED = Code("111225", "DCM", "Not Attempted")
FINDINGS_SUMMARY = Code("111017", "DCM", "CAD Processing and Findings Summary")
WITHOUT_FINDINGS = Code("111241", "DCM", "All algorithms succeeded; without findings")
PRESENT = Code("52101004", "SCT", "Present")
ABSENT = Code("272519000", "SCT", "Absent")
UNDETERMINED = Code("373068000", "SCT", "Undetermined")
REASON = Code("410666004", "SCT", "Reason")

SEGMENTATION = Code("113076", "DCM", "Segmentation")
BACKGROUND = Code("125040", "DCM", "Background")
SPATIAL_CONCEPT = Code("309825002", "SCT", "Spatial and Relational Concept")
SOURCE_OF_PROCESSING = Code("121322", "DCM", "Source image for image processing operation")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")

FINDINGS_SECTION = Code("59776-5", "LN", "Findings")
SUMMARY_SECTION = Code("55112-7", "LN", "Summary")
PROCEDURE_SECTION = Code("55111-9", "LN", "Current Procedure Descriptions")
PROCEDURE_DESCRIPTION = Code("121065", "DCM", "Procedure Description")
CONCLUSION = Code("121077", "DCM", "Conclusion")
"""Sections and elements of a report in words (PS3.16 CID 7001 and 7002)."""

PROCEDURES = {
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "MR": Code("25056-3", "LN", "MRI unspecified body region"),
    "NM": Code("49118-3", "LN", "NM unspecified body region"),
    "PT": Code("44136-0", "LN", "PET unspecified body region"),
}
"""CID 100, for a source that does not name its procedure."""

ANY_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
"""Of CID 100 as well: what is true of every other modality, and known to validators with older lists."""

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
