"""What every result shares with its source: patient, study and character set."""

from __future__ import annotations

from pydicom.config import RAISE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import VR, validate_value

from dicom_node.character_sets import are_as_defined
from dicom_node.results.source_text import element_of, terms_of

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


def inherit(dataset: Dataset, source: Dataset) -> None:
    """Copy patient and study, and the character set that the names are written in where it is one that others can read."""
    if (terms := terms_of(source)) and are_as_defined(terms):
        dataset.SpecificCharacterSet = list(terms) if len(terms) > 1 else terms[0]
    for keyword in INHERITED:
        must_stay = keyword in (*REQUIRED_IF_EMPTY, "StudyInstanceUID")
        element = element_of(source, keyword)
        if element is not None and not element.is_empty and (must_stay or is_valid(element)):
            dataset.add(element)
        elif keyword in REQUIRED_IF_EMPTY:
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
