"""Key Object Selection documents, as archives and workstations make them: for tests."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence

from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from tests.encoded import CT_IMAGE_STORAGE

KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"
OF_INTEREST = ("113000", "Of Interest")
QUALITY = ("113001", "Rejected for Quality Reasons")
SAFETY = ("113037", "Rejected for Patient Safety Reasons")


def key_object(
    references: Mapping[str, Sequence[str]],
    *,
    study_instance_uid: str,
    title: tuple[str, str] = QUALITY,
    scheme: str = "DCM",
    sop_instance_uid: str | None = None,
    shown: Iterable[str] | None = None,
    patient_id: str = "CANARY-1",
) -> FileDataset:
    """references: SOP Instance UIDs of CT images by Series Instance UID. shown: those of the content, where not the same."""
    document = FileDataset("", {}, preamble=bytes(128))
    document.file_meta = FileMetaDataset()
    document.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    document.SOPClassUID = UID(KEY_OBJECT_SELECTION)
    document.SOPInstanceUID = UID(sop_instance_uid or generate_uid())
    document.file_meta.MediaStorageSOPClassUID = document.SOPClassUID
    document.file_meta.MediaStorageSOPInstanceUID = document.SOPInstanceUID
    document.StudyDate = document.ContentDate = "20260102"
    document.StudyTime = document.ContentTime = "120000"
    document.AccessionNumber = "ACC1"
    document.Modality = "KO"
    document.Manufacturer = ""
    document.ReferringPhysicianName = ""
    document.PatientName = "Canary^Yellow"
    document.PatientID = patient_id
    document.PatientBirthDate = document.PatientSex = ""
    document.StudyInstanceUID = study_instance_uid
    document.SeriesInstanceUID = generate_uid()
    document.StudyID = ""
    document.SeriesNumber = document.InstanceNumber = 1
    document.ReferencedPerformedProcedureStepSequence = []
    document.ValueType = "CONTAINER"
    document.ConceptNameCodeSequence = [_code(*title, scheme)]
    document.ContinuityOfContent = "SEPARATE"
    document.CurrentRequestedProcedureEvidenceSequence = [_study(study_instance_uid, references)]
    every = [uid for uids in references.values() for uid in uids] if shown is None else list(shown)
    document.ContentSequence = [_image(uid) for uid in every]
    return document


def encoded(document: Dataset) -> bytes:
    """The data set without its file meta information."""
    buffer = io.BytesIO()
    plain = Dataset(document)
    plain.save_as(buffer, implicit_vr=False, little_endian=True, enforce_file_format=False)
    return buffer.getvalue()


def _study(study_instance_uid: str, references: Mapping[str, Sequence[str]]) -> Dataset:
    study = Dataset()
    study.StudyInstanceUID = study_instance_uid
    study.ReferencedSeriesSequence = []
    for uid, instances in references.items():
        series = Dataset()
        series.SeriesInstanceUID = uid
        series.ReferencedSOPSequence = [_reference(instance) for instance in instances]
        study.ReferencedSeriesSequence.append(series)
    return study


def _image(sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = "IMAGE"
    item.ReferencedSOPSequence = [_reference(sop_instance_uid)]
    return item


def _reference(sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = CT_IMAGE_STORAGE
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def _code(value: str, meaning: str, scheme: str) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item
