"""What the record of an instance holds, and the row that is made of it, now or by the next start."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from dicom_node.content import Received, judged
from dicom_node.facts import Header
from dicom_node.part10 import data_set_at, file_meta
from storage.objects.pack import content_sum
from storage.records.received import Association, NewInstance


class Announced(NamedTuple):
    """What the C-STORE command and its presentation context say of the data set that follows."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


class Stored(NamedTuple):
    """Where a data set is kept, and what it is."""

    key: str
    size_bytes: int
    content_sum: str


def told_of(association: Association) -> bytes:
    """Of an association, for the notes of all that it brings."""
    return orjson.dumps(association)


def note_of(announced: Announced, received_at: float, association: bytes) -> bytes:
    """What is kept beside the object, for `instance_of_note`. association: as `told_of` gives it."""
    return b'{"announced":%b,"association":%b}' % (orjson.dumps((*announced, received_at)), association)


def instance_of_note(note: bytes, content: bytes, key: str) -> tuple[NewInstance, Association]:
    """What the row of a record was to be made of. content: the object, whose last bytes are the data set.

    It was acknowledged: a smaller node.limits.sequence_depth than it came under does not take it away.
    """
    told = orjson.loads(note)
    association, (*announced_uids, received_at) = Association(**told["association"]), told["announced"]
    announced = Announced(*announced_uids)
    payload = memoryview(content)[data_set_at(content) :]
    header = judged(received_as(payload, announced, association))
    stored = Stored(key, len(payload), content_sum(payload))
    row = row_of(
        header,
        stored,
        transfer_syntax_uid=announced.transfer_syntax_uid,
        association_id=association.association_id,
        received_at=received_at,
    )
    return row, association


def meta_of(announced: Announced) -> bytes:
    return file_meta(
        sop_class_uid=announced.sop_class_uid,
        sop_instance_uid=announced.sop_instance_uid,
        transfer_syntax_uid=announced.transfer_syntax_uid,
    )


def received_as(payload: bytes | memoryview, told: Announced, association: Association) -> Received:
    return Received(
        payload, told.sop_class_uid, told.sop_instance_uid, told.transfer_syntax_uid, association.association_id
    )


def row_of(
    header: Header, stored: Stored, *, transfer_syntax_uid: str, association_id: str, received_at: float
) -> NewInstance:
    """The row of an instance: what its header says, where it is kept, and who brought it when."""
    return NewInstance(
        sop_class_uid=header.sop_class_uid,
        sop_instance_uid=header.sop_instance_uid,
        series_instance_uid=header.series_instance_uid,
        study_instance_uid=header.study_instance_uid,
        transfer_syntax_uid=transfer_syntax_uid,
        content_sum=stored.content_sum,
        object_key=stored.key,
        size_bytes=stored.size_bytes,
        association_id=association_id,
        received_at=received_at,
        patient_id=header.patient_id,
        patient_name=header.patient_name,
        accession_number=header.accession_number,
        study_date=header.study_date,
        study_description=header.study_description,
        facts=header.facts,
    )
