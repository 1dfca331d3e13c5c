"""Associations, studies and series: who brought what, and which series still wait to be judged whole."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, or_, select, update

from storage.database import Database
from storage.events import record
from storage.jobs import insert_jobs
from storage.records import Association, Event, NewJob, Series, SeriesPart, Study
from storage.schema import association, association_series, series, study

# Statements of each batch, made once.
_KNOWN = select(association.c.association_id).where(association.c.association_id.in_(bindparam("ids", expanding=True)))
_OPEN = insert(association)
_CLOSE = (
    update(association)
    .where(association.c.association_id == bindparam("id"), association.c.closed_at.is_(None))
    .values(closed_at=bindparam("at"), ending=bindparam("how"))
)


class Studies:
    def __init__(self, database: Database) -> None:
        self._database = database

    def open_association(self, opened: Association) -> None:
        """Make an association known; no change where it is."""
        with self._database.write() as connection:
            write_associations(connection, [opened])

    def lose_associations(self, acceptor: str | None = None) -> int:
        """Close what an acceptor process left open when it ended; returns how many. Called before it accepts again.

        acceptor: its name; None for all there ever were, called before the first of them is started.
        """
        whose = () if acceptor is None else (association.c.acceptor == acceptor,)
        with self._database.write() as connection:
            closed = connection.execute(
                update(association)
                .where(association.c.closed_at.is_(None), *whose)
                .values(closed_at=time.time(), ending="lost")
            )
            return closed.rowcount

    def find_lost(self, found: Association, closed_at: float) -> None:
        """Make an association known of which only what it brought is left; no change where it is known."""
        with self._database.write() as connection:
            known = select(association.c.association_id).where(association.c.association_id == found.association_id)
            if connection.execute(known).first() is None:
                write_associations(connection, [replace(found, closed_at=closed_at, ending="lost")])

    def find(self, key: str) -> tuple[Study, ...]:
        """Studies by Accession Number, Study Instance UID or Patient ID, newest first."""
        query = (
            select(study)
            .where(
                or_(
                    study.c.accession_number == key,
                    study.c.study_instance_uid == key,
                    study.c.patient_id == key,
                )
            )
            .order_by(study.c.first_received_at.desc())
        )
        with self._database.read() as connection:
            return tuple(Study(**row._mapping) for row in connection.execute(query))

    def of_patient(self, patient_id: str) -> tuple[Study, ...]:
        """Studies under this Patient ID, whoever issued it; none for an empty one."""
        if not patient_id:
            return ()
        query = select(study).where(study.c.patient_id == patient_id).order_by(study.c.study_instance_uid)
        with self._database.read() as connection:
            return tuple(Study(**row._mapping) for row in connection.execute(query))

    def study(self, study_instance_uid: str) -> Study:
        with self._database.read() as connection:
            query = select(study).where(study.c.study_instance_uid == study_instance_uid)
            return Study(**connection.execute(query).one()._mapping)

    def series_of(self, study_instance_uid: str) -> tuple[Series, ...]:
        query = select(series).where(series.c.study_instance_uid == study_instance_uid).order_by(series.c.series_id)
        with self._database.read() as connection:
            return tuple(_series(row) for row in connection.execute(query))

    def arriving(self) -> tuple[Series, ...]:
        """Series that were not judged whole yet, oldest first; not those that hold nothing but conflicting contents."""
        query = (
            select(series)
            .where(series.c.state == "arriving", series.c.instance_count > 0)
            .order_by(series.c.first_received_at)
        )
        with self._database.read() as connection:
            return tuple(_series(row) for row in connection.execute(query))

    def parts(self, series_id: int) -> tuple[SeriesPart, ...]:
        """Which associations brought a series, in the order in which they were opened."""
        query = (
            select(association, association_series.c.stored, association_series.c.repeated)
            .join(association_series, association_series.c.association_id == association.c.association_id)
            .where(association_series.c.series_id == series_id)
            .order_by(association.c.opened_at)
        )
        names = Association.__dataclass_fields__
        with self._database.read() as connection:
            return tuple(
                SeriesPart(Association(**{name: row._mapping[name] for name in names}), row.stored, row.repeated)
                for row in connection.execute(query)
            )

    def settle(self, judged: Series, *, evidence: str, jobs: Iterable[NewJob], events: Iterable[Event]) -> bool:
        """Mark a series whole and queue its jobs, in one transaction.

        Returns False, and changes nothing, where another instance came since `judged` was read: judge again.
        """
        with self._database.write() as connection:
            marked = connection.execute(
                update(series)
                .where(
                    series.c.series_id == judged.series_id,
                    series.c.state == "arriving",
                    series.c.revision == judged.revision,
                    series.c.instance_count == judged.instance_count,
                )
                .values(state="whole", judged_at=time.time(), evidence=evidence)
            )
            if not marked.rowcount:
                return False
            insert_jobs(connection, judged, jobs)
            record(connection, events)
            return True


def write_associations(connection: Connection, associations: Collection[Association]) -> None:
    """Make associations known that are not; close those that are known as open and have ended meanwhile."""
    if not associations:
        return
    ids = [one.association_id for one in associations]
    known = set(connection.execute(_KNOWN, {"ids": ids}).scalars())
    new = [asdict(one) for one in associations if one.association_id not in known]
    ended = [
        {"id": one.association_id, "at": one.closed_at, "how": one.ending}
        for one in associations
        if one.association_id in known and one.closed_at is not None
    ]
    if new:
        connection.execute(_OPEN, new)
    if ended:
        connection.execute(_CLOSE, ended)


def _series(row: Row[Any]) -> Series:
    return Series(**{name: row._mapping[name] for name in Series.__dataclass_fields__})
