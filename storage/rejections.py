"""Key objects that reject instances (IHE RAD IOCM): what came is left out from a later revision on, what comes at once.

A key object is queued with its row, and read once. What it rejects is remembered whether it is here or not.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, func, insert, select, update

from storage.database import Database
from storage.events import record
from storage.records.events import Event
from storage.records.received import Instance, Series
from storage.records.rejected import Emptied, KeyObject, LeftOut, Rejected
from storage.schema import association, instance, job, key_object, rejection, series, study

KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"
_AT_ONCE = 500

_CODES = select(rejection.c.sop_instance_uid, rejection.c.code).where(
    rejection.c.sop_instance_uid.in_(bindparam("uids", expanding=True))
)
_UNREAD = (
    select(instance, series.c.study_instance_uid, series.c.series_instance_uid, association.c.calling_ae_title)
    .join(key_object, key_object.c.sop_instance_uid == instance.c.sop_instance_uid)
    .join(series, series.c.series_id == instance.c.series_id)
    .join(association, association.c.association_id == instance.c.association_id)
    .where(key_object.c.read_at.is_(None), ~instance.c.conflict)
    .order_by(instance.c.instance_id)
)
_EMPTIED = (
    select(
        series,
        func.count().label("rejected_count"),
        func.max(instance.c.received_at).label("latest_at"),
    )
    .join(instance, instance.c.series_id == series.c.series_id)
    .where(
        series.c.state == "arriving",
        series.c.instance_count == 0,
        instance.c.rejected_revision.is_not(None),
        ~instance.c.conflict,
    )
    .group_by(*series.c)
)


class RejectionNotes:
    def __init__(self, database: Database) -> None:
        self._database = database

    def unread(self, limit: int) -> tuple[KeyObject, ...]:
        """Key objects that nobody looked into yet, in order of arrival."""
        with self._database.read() as connection:
            return tuple(_key_object(row) for row in connection.execute(_UNREAD.limit(limit)))

    def set_aside(self, note: KeyObject, events: Iterable[Event] = ()) -> None:
        """A key object was read, and rejects nothing."""
        with self._database.write() as connection:
            if _mark_read(connection, note):
                record(connection, events)

    def reject(
        self,
        note: KeyObject,
        code: str,
        sop_instance_uids: Iterable[str],
        told: Callable[[Sequence[Rejected]], Iterable[Event]],
    ) -> tuple[Rejected, ...]:
        """Leave these instances out, those that are here from a new revision of their series on; in one transaction.

        Those that were rejected before stay as they were. Series whose jobs read what is rejected beside their own images
        begin a new revision, too. told: what is to be recorded of the series that change, which are returned as well. Does
        nothing where the key object was read already.
        """
        found: defaultdict[int, list[Row[Any]]] = defaultdict(list)
        with self._database.write() as connection:
            if not _mark_read(connection, note):
                return ()
            for uids in _batches(dict.fromkeys(sop_instance_uids)):
                known = {row.sop_instance_uid for row in connection.execute(_CODES, {"uids": uids})}
                rows = [
                    {"sop_instance_uid": uid, "code": code, "key_object_uid": note.instance.sop_instance_uid}
                    for uid in uids
                    if uid not in known
                ]
                if rows:
                    connection.execute(insert(rejection), rows)
                for row in connection.execute(_analysed(uids)):
                    found[row.series_id].append(row)
            changed = tuple(_leave_out(connection, series_id, rows, code) for series_id, rows in found.items())
            record(connection, told(changed))
            for item in changed:
                record(connection, _reopen_readers(connection, item.series))
        return changed

    def emptied(self) -> tuple[Emptied, ...]:
        """Series that arrive and of which everything that came was rejected."""
        with self._database.read() as connection:
            return tuple(
                Emptied(
                    _series(row),
                    row.rejected_count,
                    tuple(connection.execute(_codes_of(row.series_id)).scalars()),
                    row.latest_at,
                )
                for row in connection.execute(_EMPTIED)
            )

    def left_out(self, series_id: int, *, up_to_revision: int) -> LeftOut:
        """The instances of a series that came up to a revision and are not analysed in it, as they were rejected."""
        query = (
            select(instance)
            .where(
                instance.c.series_id == series_id,
                instance.c.revision <= up_to_revision,
                instance.c.rejected_revision <= up_to_revision,
                ~instance.c.conflict,
            )
            .order_by(instance.c.instance_id)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return LeftOut(tuple(map(_instance, rows)), tuple(sorted({row.rejected_code for row in rows})))


def rejected_codes(connection: Connection, sop_instance_uids: Collection[str]) -> dict[str, str]:
    """Those of these instances that are rejected whenever they come, each with its code."""
    found = connection.execute(_CODES, {"uids": list(sop_instance_uids)})
    return {row.sop_instance_uid: row.code for row in found}


def queue_key_objects(connection: Connection, sop_instance_uids: Collection[str]) -> None:
    """Key objects came, and are to be read."""
    if sop_instance_uids:
        connection.execute(insert(key_object), [{"sop_instance_uid": uid} for uid in sop_instance_uids])


def reopen(connection: Connection, series_id: int) -> None:
    """Begin the next revision of a series: it is judged, routed and analysed again."""
    connection.execute(
        update(series)
        .where(series.c.series_id == series_id)
        .values(
            state="arriving",
            revision=series.c.revision + 1,
            judged_at=None,
            evidence=None,
            expected_count=None,
            held_at=None,
        )
    )


def _leave_out(connection: Connection, series_id: int, rows: Sequence[Row[Any]], code: str) -> Rejected:
    of_series = select(series).where(series.c.series_id == series_id)
    reopened = connection.execute(of_series).one().state != "arriving"
    if reopened:
        reopen(connection, series_id)
    count = sum(not row.conflict for row in rows)
    connection.execute(
        update(series).where(series.c.series_id == series_id).values(instance_count=series.c.instance_count - count)
    )
    now = _series(connection.execute(of_series).one())
    connection.execute(
        update(instance)
        .where(instance.c.instance_id == bindparam("which"))
        .values(rejected_revision=now.revision, rejected_code=code),
        [{"which": row.instance_id} for row in rows],
    )
    return Rejected(now, count, reopened)


def _reopen_readers(connection: Connection, rejected: Series) -> list[Event]:
    """Series of the patient with a job that runs or ended, and that read this one as a companion, are analysed anew."""
    patient = select(study.c.patient_id).where(study.c.study_instance_uid == rejected.study_instance_uid)
    readers = connection.execute(
        select(job.c.model, job.c.companions, job.c.job_id, series)
        .join(series, series.c.series_id == job.c.series_id)
        .join(study, study.c.study_instance_uid == series.c.study_instance_uid)
        .where(
            study.c.patient_id == patient.scalar_subquery(),
            series.c.state != "arriving",
            job.c.revision == series.c.revision,
            job.c.state.in_(("running", "done")),
            job.c.role != "shadow",
        )
    ).all()
    found = {
        row.series_id: (row, one["name"])
        for row in readers
        for one in row.companions
        if one["series_id"] == rejected.series_id
    }
    for series_id in found:
        reopen(connection, series_id)
    return [
        Event(
            "companion_rejected",
            f"images of the {name} that {row.model} read were rejected: revision {row.revision + 1} begins without them",
            severity="warning",
            study_instance_uid=row.study_instance_uid,
            series_instance_uid=row.series_instance_uid,
            job_id=row.job_id,
            data={"revision": row.revision + 1, "rejected_series": rejected.series_instance_uid},
        )
        for row, name in found.values()
    ]


def _mark_read(connection: Connection, note: KeyObject) -> bool:
    marked = connection.execute(
        update(key_object)
        .where(key_object.c.sop_instance_uid == note.instance.sop_instance_uid, key_object.c.read_at.is_(None))
        .values(read_at=time.time())
    )
    return bool(marked.rowcount)


def _analysed(uids: Sequence[str]) -> Select[Any]:
    return select(instance.c.instance_id, instance.c.series_id, instance.c.conflict).where(
        instance.c.sop_instance_uid.in_(uids), instance.c.rejected_revision.is_(None)
    )


def _codes_of(series_id: int) -> Select[Any]:
    return (
        select(instance.c.rejected_code)
        .where(instance.c.series_id == series_id, instance.c.rejected_code.is_not(None))
        .distinct()
        .order_by(instance.c.rejected_code)
    )


def _key_object(row: Row[Any]) -> KeyObject:
    return KeyObject(_instance(row), row.study_instance_uid, row.series_instance_uid, row.calling_ae_title)


def _instance(row: Row[Any]) -> Instance:
    return Instance(**{name: row._mapping[name] for name in Instance.__dataclass_fields__})


def _series(row: Row[Any]) -> Series:
    return Series(**{name: row._mapping[name] for name in Series.__dataclass_fields__})


def _batches(uids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(uids)
    while batch := list(islice(rest, _AT_ONCE)):
        yield batch
