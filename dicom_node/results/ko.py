"""Results that do not count any more, to a Key Object Selection that rejects them (PS3.3 A.35.4, TID 2010 of PS3.16).

Titled "Rejected for Quality Reasons", it tells a PACS that follows IHE Imaging Object Change Management to show them no
more. Written without highdicom, since the dispatcher makes it, which loads no more than it needs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from dicom_node.result_kinds import SEGMENTATIONS, kind_of
from dicom_node.results.equipment import add_equipment
from dicom_node.results.identity import LO_LENGTH, derived_uid
from dicom_node.results.patient import inherit
from dicom_node.results.report import Equipment
from dicom_node.results.zone import stated_zone
from inference.findings import Code
from storage.records.results import Result

REJECTED_FOR_QUALITY_REASONS = Code("113001", "DCM", "Rejected for Quality Reasons")
KEY_OBJECT_DESCRIPTION = Code("113012", "DCM", "Key Object Description")
OBSERVER_TYPE = Code("121005", "DCM", "Observer Type")
DEVICE = Code("121007", "DCM", "Device")
DEVICE_OBSERVER_UID = Code("121012", "DCM", "Device Observer UID")
DEVICE_OBSERVER_NAME = Code("121013", "DCM", "Device Observer Name")

DESCRIPTION = "AI: earlier results, superseded"
NUMBER_AMONG_RESULTS = 8
"""Series 2901 to 2907 are rejected in series 2908, beside which it sorts."""
WITH_PIXELS = {*SEGMENTATIONS, "sc", "parametric_map"}


def encode_rejection(
    rejected: Sequence[Result], example: Dataset, *, told: str, at: datetime, equipment: Equipment | None = None
) -> Dataset:
    """The document that rejects results of one study.

    example: one of them, from which patient and study are taken. told: the destination that it is for, which holds all of
    them. at: when, with its time zone.
    """
    equipment, at = equipment or Equipment(), at.astimezone(stated_zone(example) or at.tzinfo)
    uids = sorted(item.sop_instance_uid for item in rejected)
    dataset = Dataset()
    inherit(dataset, example)
    dataset.SOPClassUID = KeyObjectSelectionDocumentStorage
    dataset.SOPInstanceUID = derived_uid("rejection", told, *uids)
    dataset.SeriesInstanceUID = derived_uid("series of rejection", told, *uids)
    dataset.Modality = "KO"
    number = int(example.SeriesNumber)
    dataset.SeriesNumber = number - number % 10 + NUMBER_AMONG_RESULTS
    dataset.SeriesDescription = DESCRIPTION[:LO_LENGTH]
    dataset.InstanceNumber = 1
    dataset.InstanceCreationDate = dataset.SeriesDate = dataset.ContentDate = at.strftime("%Y%m%d")
    dataset.InstanceCreationTime = dataset.SeriesTime = dataset.ContentTime = at.strftime("%H%M%S")
    dataset.TimezoneOffsetFromUTC = at.strftime("%z")[:5]
    dataset.ReferencedPerformedProcedureStepSequence = []
    add_equipment(dataset, equipment)
    dataset.CurrentRequestedProcedureEvidenceSequence = [evidence(rejected)]
    add_content(dataset, rejected, equipment)
    return dataset


def evidence(rejected: Sequence[Result]) -> Dataset:
    """Hierarchical SOP Instance Reference of all that is rejected (PS3.3 C.17.2.1)."""
    by_series: dict[str, list[Dataset]] = defaultdict(list)
    for item in rejected:
        by_series[item.series_instance_uid].append(reference(item))
    study = Dataset()
    study.StudyInstanceUID = rejected[0].study_instance_uid
    study.ReferencedSeriesSequence = []
    for series_instance_uid, items in by_series.items():
        series = Dataset()
        series.SeriesInstanceUID = series_instance_uid
        series.ReferencedSOPSequence = items
        study.ReferencedSeriesSequence.append(series)
    return study


def add_content(dataset: Dataset, rejected: Sequence[Result], equipment: Equipment) -> None:
    """TID 2010: the title, who rejects, why, and what."""
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
    dataset.ValueType, dataset.ContinuityOfContent = "CONTAINER", "SEPARATE"
    dataset.ConceptNameCodeSequence = [coded(REJECTED_FOR_QUALITY_REASONS)]
    dataset.ContentTemplateSequence = [template]
    observer = content("HAS OBS CONTEXT", "CODE", OBSERVER_TYPE)
    observer.ConceptCodeSequence = [coded(DEVICE)]
    device = content("HAS OBS CONTEXT", "UIDREF", DEVICE_OBSERVER_UID)
    device.UID = derived_uid("device", equipment.manufacturer, equipment.model_name, equipment.serial_number)
    name = content("HAS OBS CONTEXT", "TEXT", DEVICE_OBSERVER_NAME)
    name.TextValue = equipment.model_name
    why = content("CONTAINS", "TEXT", KEY_OBJECT_DESCRIPTION)
    why.TextValue = "Superseded: the images of the series changed after these results were made."
    dataset.ContentSequence = [observer, device, name, why, *(pointer(item) for item in rejected)]


def pointer(item: Result) -> Dataset:
    """IMAGE, or COMPOSITE for what has no pixels."""
    found = content("CONTAINS", "IMAGE" if kind_of(item.kind) in WITH_PIXELS else "COMPOSITE")
    found.ReferencedSOPSequence = [reference(item)]
    return found


def reference(item: Result) -> Dataset:
    found = Dataset()
    found.ReferencedSOPClassUID = item.sop_class_uid
    found.ReferencedSOPInstanceUID = item.sop_instance_uid
    return found


def content(relationship: str, value_type: str, name: Code | None = None) -> Dataset:
    found = Dataset()
    found.RelationshipType, found.ValueType = relationship, value_type
    if name:
        found.ConceptNameCodeSequence = [coded(name)]
    return found


def coded(code: Code) -> Dataset:
    """An item of a code sequence (PS3.3 section 8.8)."""
    found = Dataset()
    found.CodeValue, found.CodingSchemeDesignator, found.CodeMeaning = code.value, code.scheme, code.meaning
    return found
