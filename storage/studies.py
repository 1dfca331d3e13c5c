"""Associations, studies and series: who brought what, and which series still wait to be judged whole."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import asdict, replace
from typing import Literal

from sqlalchemy import Connection, bindparam, insert, or_, select, update

from storage.arriving import read_arriving, read_parts, read_refused, series_of_row
from storage.database import Database
from storage.ended import read_ended
from storage.events import record
from storage.habits import write_silence
from storage.jobs import insert_jobs
from storage.records.arriving import Arriving, Ended, Silence
from storage.records.events import Event
from storage.records.jobs import NewJob
from storage.records.received import Association, Series, SeriesPart, Study
from storage.schema import association, association_series, series, study

# Statements of each batch, made once.
_KNOWN = select(association.c.association_id, association.c.closed_at).where(
    association.c.association_id.in_(bindparam("ids", expanding=True))
)
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
            return tuple(series_of_row(row) for row in connection.execute(query))

    def arriving(self) -> tuple[Series, ...]:
        """Series that were not judged yet, oldest first; not those that hold nothing but conflicting contents."""
        with self._database.read() as connection:
            return tuple(item.series for item in read_arriving(connection))

    def known_of_arriving(self) -> tuple[Arriving, ...]:
        """The same series, each with all that may make it whole but its instances."""
        with self._database.read() as connection:
            return read_arriving(connection)

    def ended(self, calling_ae_titles: Collection[str]) -> tuple[Ended, ...]:
        """Series that arrive, none of whose associations is open, and the last of which was one of these requestors'.

        The one that ended last comes first.
        """
        with self._database.read() as connection:
            return read_ended(connection, calling_ae_titles)

    def parts(self, series_id: int) -> tuple[SeriesPart, ...]:
        """Which associations brought a series, in the order in which they were opened."""
        with self._database.read() as connection:
            return read_parts(connection, association_series.c.series_id == series_id).get(series_id, ())

    def refused(self, association_ids: Collection[str]) -> dict[str, int]:
        """How many instances these associations were refused that did not come by any other either."""
        with self._database.read() as connection:
            return read_refused(connection, association_ids)

    def settle(
        self,
        judged: Series,
        *,
        evidence: str,
        jobs: Iterable[NewJob],
        events: Iterable[Event],
        state: Literal["whole", "incomplete"] = "whole",
        expected_count: int | None = None,
        silence: Silence | None = None,
    ) -> bool:
        """Mark a series whole, or incomplete for good, and queue its jobs, in one transaction.

        silence: what is learned of its source. Returns False, and changes nothing, where another instance came since
        `judged` was read: judge again.
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
                .values(
                    state=state,
                    judged_at=time.time(),
                    evidence=evidence,
                    expected_count=expected_count,
                    held_at=series.c.held_at if state == "incomplete" else None,
                )
            )
            if not marked.rowcount:
                return False
            if silence is not None:
                write_silence(connection, judged.series_id, silence)
            insert_jobs(connection, judged, jobs)
            record(connection, events)
            return True

    def hold(self, held: Series, *, expected_count: int | None, at: float, event: Event) -> bool:
        """Note that what was announced of a series and what came contradict each other; False where that is noted."""
        with self._database.write() as connection:
            marked = connection.execute(
                update(series)
                .where(
                    series.c.series_id == held.series_id,
                    series.c.state == "arriving",
                    series.c.revision == held.revision,
                    series.c.held_at.is_(None),
                )
                .values(held_at=at, expected_count=expected_count)
            )
            if marked.rowcount:
                record(connection, [event])
            return bool(marked.rowcount)


def write_associations(connection: Connection, associations: Collection[Association]) -> frozenset[str]:
    """Make associations known that are not; close those that are known as open and have ended meanwhile.

    Returns which of them are ended by this.
    """
    if not associations:
        return frozenset()
    ids = [one.association_id for one in associations]
    is_open = {row.association_id: row.closed_at is None for row in connection.execute(_KNOWN, {"ids": ids})}
    new = [asdict(one) for one in associations if one.association_id not in is_open]
    ended = [
        {"id": one.association_id, "at": one.closed_at, "how": one.ending}
        for one in associations
        if one.association_id in is_open and one.closed_at is not None
    ]
    if new:
        connection.execute(_OPEN, new)
    if ended:
        connection.execute(_CLOSE, ended)
    return frozenset(
        one.association_id
        for one in associations
        if one.closed_at is not None and is_open.get(one.association_id, True)
    )
