"""Instances: an instance is added once, whatever is sent how often; another content under its UID is kept apart."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, insert, select, update

from storage.database import Database
from storage.events import record
from storage.records import Added, Event, Instance, InstanceOutcome, NewInstance
from storage.schema import association, association_series, instance, series, study


class Instances:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, new: NewInstance) -> Added:
        """Make one received instance known; committed when this returns.

        The object under `new.object_key` must be durable already. Returns the key of the object that is kept: where the
        same instance was known, that is the earlier one and the new object may be removed.
        """
        with self._database.write() as connection:
            series_id, revision, state = _open_series(connection, new)
            outcome, object_key = _insert_once(connection, new, series_id, revision, state)
            _count(connection, new.association_id, series_id, repeated=outcome == "same")
        return Added(outcome, object_key)

    def of_series(self, series_id: int, *, up_to_revision: int) -> tuple[Instance, ...]:
        """The instances of a series that a job on this revision analyses, in order of arrival."""
        query = (
            select(instance)
            .where(instance.c.series_id == series_id, instance.c.revision <= up_to_revision, ~instance.c.conflict)
            .order_by(instance.c.instance_id)
        )
        with self._database.read() as connection:
            return tuple(
                Instance(**{name: row._mapping[name] for name in Instance.__dataclass_fields__})
                for row in connection.execute(query)
            )

    def knows_content(self, sop_instance_uid: str, content_sha256: str, transfer_syntax_uid: str) -> bool:
        """Whether exactly this is kept already, so that its object need not be written again."""
        query = select(instance.c.instance_id).where(
            instance.c.sop_instance_uid == sop_instance_uid,
            instance.c.content_sha256 == content_sha256,
            instance.c.transfer_syntax_uid == transfer_syntax_uid,
        )
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def known_objects(self, object_keys: Collection[str]) -> frozenset[str]:
        """Which of these objects belong to an instance. At most some hundreds at once."""
        query = select(instance.c.object_key).where(instance.c.object_key.in_(object_keys))
        with self._database.read() as connection:
            return frozenset(connection.execute(query).scalars())


def _open_series(connection: Connection, new: NewInstance) -> tuple[int, int, str]:
    """The series' (id, revision, state), inserted with its study where it is not known yet."""
    identity = (
        series.c.study_instance_uid == new.study_instance_uid,
        series.c.series_instance_uid == new.series_instance_uid,
    )
    found = connection.execute(select(series.c.series_id, series.c.revision, series.c.state).where(*identity)).first()
    if found:
        return found.series_id, found.revision, found.state
    if not connection.execute(
        select(study.c.study_instance_uid).where(study.c.study_instance_uid == new.study_instance_uid)
    ).first():
        connection.execute(insert(study).values(_study_values(new)))
    inserted = connection.execute(
        insert(series).values(
            series_instance_uid=new.series_instance_uid,
            study_instance_uid=new.study_instance_uid,
            state="arriving",
            revision=1,
            instance_count=0,
            first_received_at=new.received_at,
            last_received_at=new.received_at,
        )
    )
    source = connection.execute(select(association).where(association.c.association_id == new.association_id)).one()
    record(
        connection,
        [
            Event(
                "series_begins",
                f"first image of a series from {source.calling_ae_title} at {source.address}",
                at=new.received_at,
                study_instance_uid=new.study_instance_uid,
                series_instance_uid=new.series_instance_uid,
                association_id=new.association_id,
            )
        ],
    )
    (series_id,) = inserted.inserted_primary_key or (0,)
    return series_id, 1, "arriving"


def _study_values(new: NewInstance) -> dict[str, Any]:
    return {
        "study_instance_uid": new.study_instance_uid,
        "patient_id": new.patient_id,
        "patient_name": new.patient_name,
        "accession_number": new.accession_number,
        "study_date": new.study_date,
        "study_description": new.study_description,
        "first_received_at": new.received_at,
    }


def _insert_once(
    connection: Connection, new: NewInstance, series_id: int, revision: int, state: str
) -> tuple[InstanceOutcome, str]:
    known = connection.execute(
        select(instance.c.content_sha256, instance.c.transfer_syntax_uid, instance.c.object_key).where(
            instance.c.sop_instance_uid == new.sop_instance_uid
        )
    ).all()
    for row in known:
        if (row.content_sha256, row.transfer_syntax_uid) == (new.content_sha256, new.transfer_syntax_uid):
            return "same", row.object_key
    conflict = bool(known)
    if not conflict and state == "whole":
        revision = _reopen(connection, new, series_id, revision)
    connection.execute(
        insert(instance).values(
            series_id=series_id,
            sop_class_uid=new.sop_class_uid,
            sop_instance_uid=new.sop_instance_uid,
            transfer_syntax_uid=new.transfer_syntax_uid,
            content_sha256=new.content_sha256,
            object_key=new.object_key,
            size_bytes=new.size_bytes,
            association_id=new.association_id,
            received_at=new.received_at,
            revision=revision,
            conflict=conflict,
            facts=dict(new.facts),
        )
    )
    if conflict:
        record(connection, [_conflict_event(new)])
        return "conflict", new.object_key
    connection.execute(
        update(series)
        .where(series.c.series_id == series_id)
        .values(instance_count=series.c.instance_count + 1, last_received_at=new.received_at)
    )
    return "stored", new.object_key


def _reopen(connection: Connection, new: NewInstance, series_id: int, revision: int) -> int:
    """A late instance opens the next revision of its series: it is judged, routed and analysed again."""
    connection.execute(
        update(series)
        .where(series.c.series_id == series_id)
        .values(state="arriving", revision=revision + 1, judged_at=None, evidence=None)
    )
    late = Event(
        "late_instance",
        f"an instance came after the series was judged whole: revision {revision + 1} begins",
        severity="warning",
        at=new.received_at,
        study_instance_uid=new.study_instance_uid,
        series_instance_uid=new.series_instance_uid,
        association_id=new.association_id,
    )
    record(connection, [late])
    return revision + 1


def _conflict_event(new: NewInstance) -> Event:
    return Event(
        "instance_conflict",
        "another content under a SOP Instance UID that is already stored: both are kept, the first one is analysed",
        severity="alarm",
        at=new.received_at,
        study_instance_uid=new.study_instance_uid,
        series_instance_uid=new.series_instance_uid,
        association_id=new.association_id,
        data={"sop_instance_uid": new.sop_instance_uid},
    )


def _count(connection: Connection, association_id: str, series_id: int, *, repeated: bool) -> None:
    part = (
        association_series.c.association_id == association_id,
        association_series.c.series_id == series_id,
    )
    column = association_series.c.repeated if repeated else association_series.c.stored
    if connection.execute(update(association_series).where(*part).values({column: column + 1})).rowcount:
        return
    connection.execute(
        insert(association_series).values(
            association_id=association_id,
            series_id=series_id,
            stored=int(not repeated),
            repeated=int(repeated),
        )
    )
