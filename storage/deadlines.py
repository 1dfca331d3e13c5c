"""Deadlines of jobs: which have passed with results still to be delivered, and which were met after all.

A deadline is open from when its job is queued until nothing is left to be delivered; only open ones are ever looked at, by
an index of theirs.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, or_, select, update

from storage.database import Database
from storage.events import record
from storage.jobs import JOINED, job_from
from storage.records.events import Event
from storage.records.jobs import Job
from storage.records.results import OutboxState
from storage.schema import job, outbox, result, series

_OPEN = job.c.deadline_at.is_not(None) & job.c.deadline_closed_at.is_(None)
_NOT_ENDED = ("waiting", "ready", "running")


@dataclass(frozen=True, slots=True)
class Sending:
    """How far a job's results are at one destination. at: when the last of those in this state were delivered."""

    destination: str
    state: OutboxState
    at: float | None


@dataclass(frozen=True, slots=True)
class Due:
    """A job with a deadline, and where its results are; none of those that were superseded, or have others in their place."""

    job: Job
    sendings: tuple[Sending, ...]


def _deliveries(*states: OutboxState) -> ColumnElement[int]:
    """How many deliveries of a job are in these states.

    Counted among those of the job, and not asked for by their state: an index would offer all that wait, for every job.
    """
    return (
        select(func.count(case((outbox.c.state.in_(states), 1))))
        .select_from(result)
        .join(outbox, outbox.c.sop_instance_uid == result.c.sop_instance_uid)
        .where(result.c.job_id == job.c.job_id)
        .correlate(job)
        .scalar_subquery()
    )


class Deadlines:
    def __init__(self, database: Database) -> None:
        self._database = database

    def passed(self, now: float) -> tuple[Due, ...]:
        """Open deadlines that have passed and were not noticed yet, oldest first."""
        return self._due(job.c.deadline_at <= now, job.c.deadline_missed_at.is_(None))

    def late(self) -> tuple[Due, ...]:
        """Jobs whose missed deadline can be closed: they ended, and nothing of them is to be delivered any more.

        Not those that failed without a word, or whose results were refused: a person may mend that, as long as the series
        is what it was. Once it has moved on, another job has its deadline.
        """
        return self._due(
            job.c.deadline_at.is_not(None),
            job.c.deadline_missed_at.is_not(None),
            # Not by what they are: an index would offer every job that ever ended.
            job.c.state.not_in(_NOT_ENDED),
            or_(
                and_(
                    _deliveries("waiting", "refused") == 0,
                    or_(job.c.state != "failed", _deliveries("delivered") > 0),
                ),
                job.c.revision < series.c.revision,
            ),
        )

    def count_missed(self) -> int:
        """Jobs that are past their deadline now, with results that are not everywhere yet."""
        query = select(func.count()).where(_OPEN, job.c.deadline_missed_at.is_not(None))
        with self._database.read() as connection:
            return connection.execute(query).scalar_one()

    def notice(self, job_id: int, *, events: Iterable[Event]) -> None:
        """Write down that a deadline was missed; once."""
        self._write(job_id, {"deadline_missed_at": time.time()}, events, job.c.deadline_missed_at.is_(None))

    def close(self, job_id: int, *, events: Iterable[Event] = ()) -> None:
        """Nothing of the job is left to be delivered: its deadline is not looked at again."""
        self._write(job_id, {"deadline_closed_at": time.time()}, events)

    def _write(self, job_id: int, values: dict[str, Any], events: Iterable[Event], *where: Any) -> None:
        with self._database.write() as connection:
            changed = connection.execute(update(job).where(job.c.job_id == job_id, _OPEN, *where).values(**values))
            if changed.rowcount:
                record(connection, events)

    def _due(self, *where: Any) -> tuple[Due, ...]:
        with self._database.read() as connection:
            jobs = [
                job_from(row) for row in connection.execute(JOINED.where(_OPEN, *where).order_by(job.c.deadline_at))
            ]
            sendings = self._sendings(connection, [item.job_id for item in jobs]) if jobs else {}
        return tuple(Due(item, tuple(sendings.get(item.job_id, ()))) for item in jobs)

    @staticmethod
    def _sendings(connection: Any, job_ids: Sequence[int]) -> dict[int, list[Sending]]:
        query = (
            select(result.c.job_id, outbox.c.destination, outbox.c.state, func.max(outbox.c.delivered_at))
            .join(outbox, outbox.c.sop_instance_uid == result.c.sop_instance_uid)
            .where(result.c.job_id.in_(job_ids), outbox.c.state.not_in(("withdrawn", "substituted")))
            .group_by(result.c.job_id, outbox.c.destination, outbox.c.state)
            .order_by(outbox.c.destination)
        )
        found: dict[int, list[Sending]] = defaultdict(list)
        for job_id, *values in connection.execute(query):
            found[job_id].append(Sending(*values))
        return found
