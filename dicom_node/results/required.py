"""What each kind of object must hold: the modules of its IOD (PS3.3 annex A), and of each the attributes of type 1 and 2.

Of type 1 an attribute must be there with a value, of type 2 it must be there. Conditions (1C, 2C) are left to the checks
that know when they apply. Names of modules are those of the standard's tables, so that a test can hold them beside these.
"""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.result_kinds import ResultKind


@dataclass(frozen=True, slots=True)
class Needs:
    """Keywords of type 1 and of type 2."""

    type_1: tuple[str, ...] = ()
    type_2: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Iod:
    sop_class_uid: str
    modules: tuple[str, ...]


def _needs(type_1: str = "", type_2: str = "") -> Needs:
    return Needs(tuple(type_1.split()), tuple(type_2.split()))


_PIXELS = "SamplesPerPixel PhotometricInterpretation Rows Columns BitsAllocated"
_INTEGERS = "BitsStored HighBit PixelRepresentation"

MODULES: dict[str, Needs] = {
    "patient": _needs(type_2="PatientName PatientID PatientBirthDate PatientSex"),
    "general-study": _needs("StudyInstanceUID", "StudyDate StudyTime AccessionNumber ReferringPhysicianName StudyID"),
    "general-series": _needs("Modality SeriesInstanceUID", "SeriesNumber"),
    "segmentation-series": _needs("Modality SeriesNumber"),
    "parametric-map-series": _needs("Modality SeriesNumber"),
    "presentation-series": _needs("Modality"),
    "sr-document-series": _needs("Modality SeriesInstanceUID SeriesNumber", "ReferencedPerformedProcedureStepSequence"),
    "key-object-document-series": _needs(
        "Modality SeriesInstanceUID SeriesNumber", "ReferencedPerformedProcedureStepSequence"
    ),
    "encapsulated-document-series": _needs("Modality SeriesInstanceUID SeriesNumber"),
    "frame-of-reference": _needs("FrameOfReferenceUID", "PositionReferenceIndicator"),
    "general-equipment": _needs(type_2="Manufacturer"),
    "enhanced-general-equipment": _needs("Manufacturer ManufacturerModelName DeviceSerialNumber SoftwareVersions"),
    "sc-equipment": _needs("ConversionType"),
    "general-image": _needs(type_2="InstanceNumber"),
    "image-pixel": _needs(f"{_PIXELS} {_INTEGERS}"),
    "floating-point-image-pixel": _needs(f"{_PIXELS} FloatPixelData"),
    "segmentation-image": _needs(
        "ImageType InstanceNumber SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored HighBit"
        " PixelRepresentation LossyImageCompression SegmentationType SegmentSequence ContentLabel",
        "ContentDescription",
    ),
    "segmentation-multi-frame-functional-groups": _needs(
        "ContentDate ContentTime InstanceNumber NumberOfFrames SharedFunctionalGroupsSequence"
    ),
    "parametric-map-image": _needs(
        "ImageType InstanceNumber SamplesPerPixel PhotometricInterpretation BitsAllocated BurnedInAnnotation"
        " RecognizableVisualFeatures LossyImageCompression ContentLabel ContentQualification PresentationLUTShape",
        "ContentDescription",
    ),
    "parametric-map-multi-frame-functional-groups": _needs(
        "ContentDate ContentTime InstanceNumber NumberOfFrames SharedFunctionalGroupsSequence"
    ),
    "multi-frame-dimension": _needs("DimensionOrganizationSequence"),
    "acquisition-context": _needs(type_2="AcquisitionContextSequence"),
    "sr-document-general": _needs(
        "ContentDate ContentTime InstanceNumber CompletionFlag VerificationFlag", "PerformedProcedureCodeSequence"
    ),
    "key-object-document": _needs("ContentDate ContentTime InstanceNumber CurrentRequestedProcedureEvidenceSequence"),
    "document-root": _needs("ValueType ConceptNameCodeSequence ContinuityOfContent ContentSequence"),
    "presentation-state-identification": _needs(
        "InstanceNumber ContentLabel PresentationCreationDate PresentationCreationTime", "ContentDescription"
    ),
    "presentation-state-relationship": _needs("ReferencedSeriesSequence"),
    "displayed-area": _needs("DisplayedAreaSelectionSequence"),
    "graphic-annotation": _needs("GraphicAnnotationSequence"),
    "graphic-layer": _needs("GraphicLayerSequence"),
    "encapsulated-document": _needs(
        "InstanceNumber BurnedInAnnotation EncapsulatedDocument MIMETypeOfEncapsulatedDocument",
        "ContentDate ContentTime AcquisitionDateTime DocumentTitle ConceptNameCodeSequence",
    ),
    "sop-common": _needs("SOPClassUID SOPInstanceUID"),
}
"""`document-root` is of our own: what the SR Document Content Module asks of the root, a container that is never empty."""

ITEMS: dict[tuple[str, ...], Needs] = {
    ("SegmentSequence",): _needs(
        "SegmentNumber SegmentLabel SegmentAlgorithmType SegmentedPropertyCategoryCodeSequence"
        " SegmentedPropertyTypeCodeSequence"
    ),
    ("DimensionOrganizationSequence",): _needs("DimensionOrganizationUID"),
    ("DimensionIndexSequence",): _needs("DimensionOrganizationUID DimensionIndexPointer"),
    ("ReferencedSeriesSequence",): _needs("SeriesInstanceUID"),
    ("ReferencedSeriesSequence", "ReferencedInstanceSequence"): _needs(
        "ReferencedSOPClassUID ReferencedSOPInstanceUID"
    ),
    ("ReferencedSeriesSequence", "ReferencedImageSequence"): _needs("ReferencedSOPClassUID ReferencedSOPInstanceUID"),
    ("SourceImageSequence",): _needs("ReferencedSOPClassUID ReferencedSOPInstanceUID"),
    ("DisplayedAreaSelectionSequence",): _needs(
        "DisplayedAreaTopLeftHandCorner DisplayedAreaBottomRightHandCorner PresentationSizeMode"
    ),
    ("GraphicLayerSequence",): _needs("GraphicLayer GraphicLayerOrder"),
    ("CurrentRequestedProcedureEvidenceSequence",): _needs("StudyInstanceUID ReferencedSeriesSequence"),
    ("CurrentRequestedProcedureEvidenceSequence", "ReferencedSeriesSequence"): _needs(
        "SeriesInstanceUID ReferencedSOPSequence"
    ),
    ("PertinentOtherEvidenceSequence",): _needs("StudyInstanceUID ReferencedSeriesSequence"),
    ("PredecessorDocumentsSequence",): _needs("StudyInstanceUID ReferencedSeriesSequence"),
    ("PredecessorDocumentsSequence", "ReferencedSeriesSequence"): _needs("SeriesInstanceUID ReferencedSOPSequence"),
    ("CodingSchemeIdentificationSequence",): _needs("CodingSchemeDesignator"),
    ("ContentTemplateSequence",): _needs("MappingResource TemplateIdentifier"),
    ("ConceptNameCodeSequence",): _needs("CodeMeaning"),
}
"""By the path of a sequence, what each of its items must hold, wherever the sequence is there."""

_PATIENT_AND_STUDY = ("patient", "general-study")
_SEGMENTATION = (
    *_PATIENT_AND_STUDY,
    "general-series",
    "segmentation-series",
    "frame-of-reference",
    "general-equipment",
    "enhanced-general-equipment",
    "general-image",
    "image-pixel",
    "segmentation-image",
    "segmentation-multi-frame-functional-groups",
    "multi-frame-dimension",
    "sop-common",
)
_REPORT = (
    *_PATIENT_AND_STUDY,
    "sr-document-series",
    "general-equipment",
    "sr-document-general",
    "document-root",
    "sop-common",
)
_STORAGE = "1.2.840.10008.5.1.4.1.1."

IODS: dict[ResultKind, Iod] = {
    "seg": Iod(f"{_STORAGE}66.4", _SEGMENTATION),
    "seg_fractional": Iod(f"{_STORAGE}66.4", _SEGMENTATION),
    "seg_labelmap": Iod(f"{_STORAGE}66.7", _SEGMENTATION),
    "sr": Iod(f"{_STORAGE}88.34", (*_REPORT, "enhanced-general-equipment")),
    "sr_comprehensive": Iod(f"{_STORAGE}88.33", _REPORT),
    "sr_text": Iod(f"{_STORAGE}88.11", _REPORT),
    "sc": Iod(
        f"{_STORAGE}7",
        (*_PATIENT_AND_STUDY, "general-series", "sc-equipment", "general-image", "image-pixel", "sop-common"),
    ),
    "gsps": Iod(
        f"{_STORAGE}11.1",
        (
            *_PATIENT_AND_STUDY,
            "general-series",
            "presentation-series",
            "general-equipment",
            "presentation-state-identification",
            "presentation-state-relationship",
            "displayed-area",
            "graphic-annotation",
            "graphic-layer",
            "sop-common",
        ),
    ),
    "key_images": Iod(
        f"{_STORAGE}88.59",
        (
            *_PATIENT_AND_STUDY,
            "key-object-document-series",
            "general-equipment",
            "key-object-document",
            "document-root",
            "sop-common",
        ),
    ),
    "parametric_map": Iod(
        f"{_STORAGE}30",
        (
            *_PATIENT_AND_STUDY,
            "general-series",
            "parametric-map-series",
            "frame-of-reference",
            "general-equipment",
            "enhanced-general-equipment",
            "general-image",
            "floating-point-image-pixel",
            "parametric-map-image",
            "parametric-map-multi-frame-functional-groups",
            "multi-frame-dimension",
            "acquisition-context",
            "sop-common",
        ),
    ),
    "pdf": Iod(
        f"{_STORAGE}104.1",
        (
            *_PATIENT_AND_STUDY,
            "encapsulated-document-series",
            "general-equipment",
            "sc-equipment",
            "encapsulated-document",
            "sop-common",
        ),
    ),
}
