"""The outbox of what is still to be sent: a row for each result and destination."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Row, func, select, update

from storage.database import Database
from storage.events import record
from storage.records import Delivery, Event, Result
from storage.results import insert_rejection
from storage.schema import outbox, result

_JOINED = select(outbox, result).join(result, result.c.sop_instance_uid == outbox.c.sop_instance_uid)


class Outbox:
    def __init__(self, database: Database) -> None:
        self._database = database

    def next_study(self, destination: str, *, due_at: float | None) -> tuple[Delivery, ...]:
        """What one destination should get of the study that has waited longest, all of it that is due.

        due_at: the time that deliveries must have become due by; None for due or not.
        """
        where = [outbox.c.destination == destination, outbox.c.state == "waiting"]
        if due_at is not None:
            where.append(outbox.c.next_at <= due_at)
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

        They count as queued now: attempts and age begin anew. Nothing is recorded where there is nothing to send.
        """
        now = time.time()
        of_study = select(result.c.sop_instance_uid).where(
            result.c.study_instance_uid == study_instance_uid, result.c.superseded_at.is_(None)
        )
        where = [outbox.c.sop_instance_uid.in_(of_study), outbox.c.state != "waiting"]
        if destination:
            where.append(outbox.c.destination == destination)
        queued = {"state": "waiting", "attempts": 0, "created_at": now, "next_at": now}
        with self._database.write() as connection:
            changed = connection.execute(
                update(outbox).where(*where).values(**queued, delivered_at=None, last_error=None)
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
            return tuple(_result(row) for row in connection.execute(query))

    def _fetch(self, query: Any) -> tuple[Delivery, ...]:
        with self._database.read() as connection:
            return tuple(_delivery(row) for row in connection.execute(query))


def _result(row: Row[Any]) -> Result:
    return Result(**{name: row._mapping[name] for name in Result.__dataclass_fields__})


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
        )
    }
    return Delivery(**own, job_id=row._mapping[result.c.job_id], result=_result_of_join(row))


def _result_of_join(row: Row[Any]) -> Result:
    return Result(**{name: row._mapping[getattr(result.c, name)] for name in Result.__dataclass_fields__})
