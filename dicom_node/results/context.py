"""What every result shares with its source: patient, study, character set, time zone; and how it becomes a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from datetime import datetime, timedelta, timezone
from io import BytesIO

from pydicom.charset import convert_encodings
from pydicom.config import RAISE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import VR, PersonName, validate_value

from dicom_node.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.results import identity
from dicom_node.results.contributing_equipment import add_contributing_equipment, add_equipment
from dicom_node.results.report import Kind, Report

REQUIRED_IF_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
)
"""Type 2 of Patient (PS3.3 C.7.1.1) and General Study (C.7.2.1): present even where the source has none."""

INHERITED = (
    *REQUIRED_IF_EMPTY,
    "StudyInstanceUID",
    "StudyDescription",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence",
    "PatientBirthTime",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "IssuerOfAccessionNumberSequence",
    "ConsultingPhysicianName",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
)
"""Of the patient and study entities: a PACS that finds other values than the source's would split the patient."""

UNICODE = "ISO_IR 192"
TEXT_VRS = {VR.LO, VR.LT, VR.PN, VR.SH, VR.ST, VR.UC, VR.UT}


def new_object(report: Report, kind: Kind, sop_class_uid: str, modality: str) -> Dataset:
    """A data set with all modules that do not depend on the kind of result."""
    dataset = Dataset()
    inherit(dataset, report.first_source)
    created = local_time(report)
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = identity.sop_instance_uid(report, kind)
    dataset.InstanceCreationDate = dataset.SeriesDate = dataset.ContentDate = created.strftime("%Y%m%d")
    dataset.InstanceCreationTime = dataset.SeriesTime = dataset.ContentTime = created.strftime("%H%M%S")
    dataset.TimezoneOffsetFromUTC = created.strftime("%z")[:5]
    dataset.Modality = modality
    dataset.SeriesInstanceUID = identity.series_instance_uid(report, kind)
    dataset.SeriesNumber = identity.series_number(report, kind)
    dataset.SeriesDescription = identity.series_description(report)
    dataset.InstanceNumber = 1
    add_equipment(dataset, report.equipment)
    add_contributing_equipment(dataset, report)
    return dataset


def inherit(dataset: Dataset, source: Dataset) -> None:
    """Copy patient and study, and the character set that the names are written in."""
    if source.get("SpecificCharacterSet"):
        dataset.SpecificCharacterSet = deepcopy(source.SpecificCharacterSet)
    for keyword in INHERITED:
        is_required = keyword in REQUIRED_IF_EMPTY
        if keyword in source and not source[keyword].is_empty and (is_required or is_valid(source[keyword])):
            dataset.add(deepcopy(source[keyword]))
        elif is_required:
            setattr(dataset, keyword, "")
    removed = dataset.get("PatientIdentityRemoved") == "YES"
    if removed and "DeidentificationMethod" not in dataset and "DeidentificationMethodCodeSequence" not in dataset:
        dataset.DeidentificationMethod = "not stated in the source images"


def is_valid(element: DataElement) -> bool:
    """True where the value keeps the rules of its VR: an optional one that does not ("0Y" for an age) is left behind,
    while a required one is copied as it is, for the patient must stay the same."""
    if element.VR == VR.SQ:
        return True
    try:
        validate_value(element.VR, str(element.value) if element.VM == 1 else element.value, RAISE)
    except ValueError:
        return False
    return True


def local_time(report: Report) -> datetime:
    """created_at in the zone of the source, whose dates stand in the same object and obey the same offset."""
    offset = zone(str(report.first_source.get("TimezoneOffsetFromUTC") or ""))
    return report.created_at.astimezone(offset) if offset else report.created_at


def zone(offset: str) -> timezone | None:
    """+0100 as a time zone; None for anything else than PS3.3 C.12.1.1.8 allows."""
    if len(offset) != 5 or offset[0] not in "+-" or not offset[1:].isdigit():
        return None
    size = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5]))
    return timezone(size if offset[0] == "+" else -size) if size <= timedelta(hours=14) else None


def part10(dataset: Dataset) -> bytes:
    """The data set as a file (PS3.10 section 7), zero preamble, Explicit VR Little Endian."""
    name_private_coding_schemes(dataset)
    choose_character_set(dataset)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset.file_meta = meta
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def name_private_coding_schemes(dataset: Dataset) -> None:
    """Say who is responsible for the codes of private schemes (PS3.3 C.12.1.1.17); their designators begin with 99."""
    owner = dataset.ContributingEquipmentSequence[0].Manufacturer
    items = []
    for designator in sorted({scheme for scheme in schemes(dataset) if scheme.startswith("99")}):
        item = Dataset()
        item.CodingSchemeDesignator = designator
        item.CodingSchemeResponsibleOrganization = owner
        items.append(item)
    if items:
        dataset.CodingSchemeIdentificationSequence = items


def schemes(dataset: Dataset) -> Iterator[str]:
    """Every Coding Scheme Designator in the data set, nested ones included."""
    for element in dataset:
        if element.VR == VR.SQ:
            for item in element.value:
                yield from schemes(item)
        elif element.keyword == "CodingSchemeDesignator":
            yield str(element.value)


def choose_character_set(dataset: Dataset) -> None:
    """Keep the source's character set where it can write our text too; else write everything in Unicode."""
    declared = dataset.get("SpecificCharacterSet")
    encodings = convert_encodings(declared) if declared else ["ascii"]
    if not all(writable(character, encodings) for character in set("".join(texts(dataset)))):
        dataset.SpecificCharacterSet = UNICODE


def writable(character: str, encodings: Iterable[str]) -> bool:
    """True where one of the Python encodings has the character."""
    for encoding in encodings:
        try:
            character.encode(encoding)
        except UnicodeEncodeError:
            continue
        return True
    return False


def texts(dataset: Dataset) -> Iterator[str]:
    """Every value that the character set governs (PS3.5 6.1.2.2), nested ones included."""
    for element in dataset:
        if element.VR == VR.SQ:
            for item in element.value:
                yield from texts(item)
        elif element.VR in TEXT_VRS and element.value:
            values = element.value if element.VM > 1 else [element.value]
            yield from (str(value) if isinstance(value, PersonName) else value for value in values)
