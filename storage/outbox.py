"""The outbox of what is still to be sent: a row for each result and destination."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, select, update

from storage.database import Database
from storage.events import record
from storage.jobs import runs
from storage.models import read_disabled
from storage.records.events import Event
from storage.records.results import Delivery, Placed, Result, Substitution
from storage.results import REJECTION, insert_rejection, queue, result_from
from storage.schema import job, outbox, result

_RESULT = dict(result.c.items())
_JOINED = select(outbox, result).join(result, result.c.sop_instance_uid == outbox.c.sop_instance_uid)


class Outbox:
    def __init__(self, database: Database) -> None:
        self._database = database

    def next_study(self, destination: str, *, due_at: float | None) -> tuple[Delivery, ...]:
        """What one destination should get of the study that has waited longest, all of it that is due.

        due_at: the time that deliveries must have become due by; None for due or not. What models found that are switched off
        is held back.
        """
        where = [outbox.c.destination == destination, outbox.c.state == "waiting"]
        if due_at is not None:
            where.append(outbox.c.next_at <= due_at)
        with self._database.read() as connection:
            where += [~_found_by(name) for name in sorted(read_disabled(connection))]
        longest = (
            select(result.c.study_instance_uid)
            .join(outbox, outbox.c.sop_instance_uid == result.c.sop_instance_uid)
            .where(*where)
            .order_by(outbox.c.next_at, outbox.c.delivery_id)
            .limit(1)
            .scalar_subquery()
        )
        return self._fetch(_JOINED.where(*where, result.c.study_instance_uid == longest).order_by(outbox.c.delivery_id))

    def of_study(self, study_instance_uid: str) -> tuple[Delivery, ...]:
        return self._fetch(
            _JOINED.where(result.c.study_instance_uid == study_instance_uid).order_by(outbox.c.delivery_id)
        )

    def counts(self) -> dict[tuple[str, str], int]:
        """How many results stand in each (destination, state)."""
        query = select(outbox.c.destination, outbox.c.state, func.count()).group_by(
            outbox.c.destination, outbox.c.state
        )
        with self._database.read() as connection:
            return {(row[0], row[1]): row[2] for row in connection.execute(query)}

    def delivered(self, delivery_ids: Sequence[int], *, events: Iterable[Event] = ()) -> None:
        now = time.time()
        with self._database.write() as connection:
            connection.execute(
                update(outbox)
                .where(outbox.c.delivery_id.in_(delivery_ids))
                .values(state="delivered", delivered_at=now, attempts=outbox.c.attempts + 1, last_error=None)
            )
            record(connection, events)

    def postpone(self, delivery_ids: Sequence[int], *, until: float, error: str, events: Iterable[Event] = ()) -> None:
        """Try again not before `until`; not what was withdrawn meanwhile."""
        with self._database.write() as connection:
            connection.execute(
                update(outbox)
                .where(outbox.c.delivery_id.in_(delivery_ids), outbox.c.state == "waiting")
                .values(next_at=until, attempts=outbox.c.attempts + 1, last_error=error)
            )
            record(connection, events)

    def refused(self, delivery_ids: Sequence[int], *, error: str, events: Iterable[Event] = ()) -> None:
        """Refused for good, or given up: shown as such, never sent again unless a person says so.

        What was withdrawn meanwhile stays withdrawn.
        """
        with self._database.write() as connection:
            connection.execute(
                update(outbox)
                .where(outbox.c.delivery_id.in_(delivery_ids), outbox.c.state == "waiting")
                .values(state="refused", attempts=outbox.c.attempts + 1, last_error=error)
            )
            record(connection, events)

    def of_job(self, job_id: int, destination: str) -> tuple[Placed, ...]:
        """The sound results of a job that count, each with its delivery to one destination."""
        query = (
            select(result, outbox.c.delivery_id, outbox.c.state)
            .outerjoin(
                outbox,
                (outbox.c.sop_instance_uid == result.c.sop_instance_uid) & (outbox.c.destination == destination),
            )
            .where(
                result.c.job_id == job_id,
                result.c.superseded_at.is_(None),
                result.c.faults.is_(None),
                result.c.kind != REJECTION,
            )
            .order_by(result.c.created_at, result.c.kind)
        )
        with self._database.read() as connection:
            return tuple(
                Placed(result_from(row, _RESULT), row.delivery_id, row.state) for row in connection.execute(query)
            )

    def substitute(
        self, destination: str, substitutions: Iterable[Substitution], *, events: Iterable[Event] = ()
    ) -> int:
        """Queue results in place of those that a destination does not take; returns how many were replaced.

        Not of what was withdrawn meanwhile. What goes there by itself stays as it is and stands for both.
        """
        count = 0
        with self._database.write() as connection:
            for one in substitutions:
                where = (outbox.c.delivery_id == one.delivery_id, outbox.c.state == "waiting")
                uid = connection.execute(select(outbox.c.sop_instance_uid).where(*where)).scalar()
                if uid is None:
                    continue
                connection.execute(
                    update(outbox)
                    .where(*where)
                    .values(state="substituted", attempts=outbox.c.attempts + 1, last_error=one.error)
                )
                for other in one.sop_instance_uids:
                    _queue_instead(connection, other, destination, in_place_of=uid)
                count += 1
            if count:
                record(connection, events)
        return count

    def retry_now(self, destination: str, *, events: Iterable[Event] = ()) -> int:
        """End the wait of everything that was postponed for one destination; returns how many results that is."""
        now = time.time()
        with self._database.write() as connection:
            changed = connection.execute(
                update(outbox)
                .where(outbox.c.destination == destination, outbox.c.state == "waiting", outbox.c.next_at > now)
                .values(next_at=now)
            )
            record(connection, events)
            return changed.rowcount

    def send_again(self, study_instance_uid: str, *, destination: str | None, events: Iterable[Event] = ()) -> int:
        """Put a study's refused and delivered results back into the outbox; returns how many. Not superseded ones.

        They count as queued now: attempts and age begin anew. Nothing is recorded where there is nothing to send. What went
        in place of others is withdrawn, since these are tried again themselves.
        """
        now = time.time()
        of_study = select(result.c.sop_instance_uid).where(
            result.c.study_instance_uid == study_instance_uid, result.c.superseded_at.is_(None)
        )
        where: list[ColumnElement[bool]] = [outbox.c.sop_instance_uid.in_(of_study)]
        if destination:
            where.append(outbox.c.destination == destination)
        queued = {"state": "waiting", "attempts": 0, "created_at": now, "next_at": now}
        with self._database.write() as connection:
            changed = connection.execute(
                update(outbox)
                .where(*where, outbox.c.state != "waiting", outbox.c.in_place_of.is_(None))
                .values(**queued, delivered_at=None, last_error=None)
            )
            if changed.rowcount:
                connection.execute(
                    update(outbox)
                    .where(*where, outbox.c.in_place_of.is_not(None))
                    .values(state="withdrawn", last_error="what it stood for is sent again")
                )
            if changed.rowcount:
                record(connection, events)
            return changed.rowcount

    def held_superseded(self, destination: str) -> tuple[Delivery, ...]:
        """What a destination holds that does not count any more and was not told so, study by study."""
        where = [
            outbox.c.destination == destination,
            outbox.c.state == "delivered",
            result.c.superseded_at.is_not(None),
        ]
        return self._fetch(_JOINED.where(*where).order_by(result.c.study_instance_uid, outbox.c.delivery_id))

    def withdraw_delivered(self, held: Sequence[Delivery], told: Result, *, events: Iterable[Event] = ()) -> None:
        """Queue `told`, which says of delivered results of one destination that they are withdrawn, and mark them so."""
        ids = [delivery.delivery_id for delivery in held]
        with self._database.write() as connection:
            connection.execute(update(outbox).where(outbox.c.delivery_id.in_(ids)).values(state="withdrawn"))
            insert_rejection(connection, told, job_id=held[0].job_id, destination=held[0].destination)
            record(connection, events)

    def results_of_study(self, study_instance_uid: str) -> tuple[Result, ...]:
        query = select(result).where(result.c.study_instance_uid == study_instance_uid).order_by(result.c.created_at)
        with self._database.read() as connection:
            return tuple(result_from(row) for row in connection.execute(query))

    def _fetch(self, query: Any) -> tuple[Delivery, ...]:
        with self._database.read() as connection:
            return tuple(_delivery(row) for row in connection.execute(query))


def _found_by(name: str) -> ColumnElement[bool]:
    """Whether a result is what a model of that name found: neither a report that nothing was analysed, nor a rejection."""
    of_model = select(job.c.job_id).where(job.c.job_id == result.c.job_id, runs(name)).correlate(result).exists()
    return of_model & (result.c.kind != REJECTION)


def _queue_instead(connection: Connection, sop_instance_uid: str, destination: str, *, in_place_of: str) -> None:
    """One that stood for another before is queued anew."""
    known = and_(outbox.c.sop_instance_uid == sop_instance_uid, outbox.c.destination == destination)
    if connection.execute(select(outbox.c.state).where(known)).first() is None:
        queue(connection, sop_instance_uid, destination, in_place_of=in_place_of)
        return
    now = time.time()
    connection.execute(
        update(outbox)
        .where(known, outbox.c.state == "withdrawn")
        .values(state="waiting", attempts=0, created_at=now, next_at=now, delivered_at=None, last_error=None)
    )


def _delivery(row: Row[Any]) -> Delivery:
    own = {
        name: row._mapping[getattr(outbox.c, name)]
        for name in (
            "delivery_id",
            "destination",
            "state",
            "attempts",
            "next_at",
            "created_at",
            "delivered_at",
            "last_error",
            "in_place_of",
        )
    }
    return Delivery(**own, job_id=row._mapping[result.c.job_id], result=result_from(row, _RESULT))
