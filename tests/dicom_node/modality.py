"""A modality that tells of its procedure step as it sends its images, and an archive that tells what it has: for tests."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom import Dataset, dcmread
from pydicom.uid import UID, generate_uid
from pynetdicom import AE
from pynetdicom.association import Association

from tests.encoded import CT_IMAGE_STORAGE, EXPLICIT_LITTLE, ct_image
from tests.key_objects import KEY_OBJECT_SELECTION
from tests.waiting import LIMIT_S

MPPS = "1.2.840.10008.3.1.2.3.3"
IAN = "1.2.840.10008.5.1.4.33"
Series = Mapping[str, Sequence[str]]  # SOP Instance UIDs by Series Instance UID


def image(sop_instance_uid: str, series_instance_uid: str, study_instance_uid: str, number: int) -> Dataset:
    encoded = ct_image(
        sop_instance_uid,
        SeriesInstanceUID=series_instance_uid,
        StudyInstanceUID=study_instance_uid,
        InstanceNumber=number,
        ImagePositionPatient=[0, 0, 2.5 * number],
    )
    read = dcmread(io.BytesIO(encoded), force=True)
    read.ensure_file_meta()
    read.file_meta.TransferSyntaxUID = UID(EXPLICIT_LITTLE)
    return read


@dataclass
class Modality:
    """The SCU of one procedure step, as it sends its images."""

    study_instance_uid: str = field(default_factory=generate_uid)
    sop_instance_uid: str = field(default_factory=generate_uid)
    answers: list[Dataset] = field(default_factory=list)

    def begin(self, association: Association, **changes: object) -> Dataset:
        """N-CREATE, IN PROGRESS. changes: attributes by keyword; None leaves one out."""
        scheduled = Dataset()
        scheduled.StudyInstanceUID = self.study_instance_uid
        scheduled.AccessionNumber = "A1"
        values: dict[str, object] = {
            "ScheduledStepAttributesSequence": [scheduled],
            "PatientName": "Canary^Yellow",
            "PerformedProcedureStepID": "P1",
            "PerformedStationAETitle": "CT1",
            "PerformedProcedureStepStartDate": "20261121",
            "PerformedProcedureStepStartTime": "1200",
            "PerformedProcedureStepStatus": "IN PROGRESS",
            "Modality": "CT",
            "PerformedSeriesSequence": [],
        }
        status, _ = association.send_n_create(_data_set(values | changes), MPPS, self.sop_instance_uid)
        return self._answered(status)

    def set(self, association: Association, status: str | None, series: Series | None) -> Dataset:
        """N-SET of the status, and of the series with their images."""
        values: dict[str, object] = {
            "PerformedProcedureStepStatus": status,
            "PerformedProcedureStepEndDate": "20261121",
            "PerformedSeriesSequence": None if series is None else [_series(*one) for one in series.items()],
        }
        answer, _ = association.send_n_set(_data_set(values), MPPS, self.sop_instance_uid)
        return self._answered(answer)

    def store(self, association: Association, series: str, uids: Iterable[str]) -> None:
        for number, uid in enumerate(uids):
            answer = association.send_c_store(image(uid, series, self.study_instance_uid, number))
            assert answer.Status == 0x0000

    def _answered(self, status: Dataset) -> Dataset:
        self.answers.append(status)
        return status


def notify(
    association: Association, study_instance_uid: str, series: Series, *, availability: str = "ONLINE"
) -> Dataset:
    """N-CREATE of an instance availability notification."""
    told = Dataset()
    told.ReferencedPerformedProcedureStepSequence = []
    told.StudyInstanceUID = study_instance_uid
    told.ReferencedSeriesSequence = []
    for uid, instances in series.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedSOPSequence = [_reference(one) for one in instances]
        for one in item.ReferencedSOPSequence:
            one.InstanceAvailability = availability
            one.RetrieveAETitle = "PACS1"
        told.ReferencedSeriesSequence.append(item)
    status, _ = association.send_n_create(told, IAN, generate_uid())
    return status


@contextmanager
def association_of(port: int, *, calling_ae_title: str = "CT1") -> Iterator[Association]:
    entity = AE(calling_ae_title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = LIMIT_S
    for uid in (MPPS, IAN, CT_IMAGE_STORAGE, KEY_OBJECT_SELECTION):
        entity.add_requested_context(uid, EXPLICIT_LITTLE)
    association = entity.associate("127.0.0.1", port, ae_title="DICOM-NODE")
    assert association.is_established
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        association.join(LIMIT_S)


def _series(series_instance_uid: str, instances: Sequence[str]) -> Dataset:
    item = Dataset()
    item.PerformingPhysicianName = ""
    item.ProtocolName = "CHEST"
    item.SeriesInstanceUID = series_instance_uid
    item.SeriesDescription = ""
    item.RetrieveAETitle = ""
    item.ReferencedImageSequence = [_reference(uid) for uid in instances]
    item.ReferencedNonImageCompositeSOPInstanceSequence = []
    return item


def _reference(sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = CT_IMAGE_STORAGE
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def _data_set(values: Mapping[str, object]) -> Dataset:
    data_set = Dataset()
    for keyword, value in values.items():
        if value is not None:
            setattr(data_set, keyword, value)
    return data_set
