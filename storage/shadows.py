"""Jobs of a version that runs beside the active one: they come after all others, send nothing, and are compared."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from storage.database import Database
from storage.event_about import event_about
from storage.events import record
from storage.records.events import Event
from storage.records.jobs import ComparedJob, Job, NewShadow
from storage.schema import job, series, study

MOST_WAITING = 1000
"""Of shadows: a node that has never time for them must not gather them without end."""
_ENDED = ("done", "failed", "skipped", "superseded")


class Shadows:
    def __init__(self, database: Database) -> None:
        self._database = database

    def compared(self, name: str) -> tuple[ComparedJob, ...]:
        """Every comparison of versions of a model, oldest first."""
        beside = job.alias("beside")
        query = (
            select(
                job.c.job_id,
                job.c.model,
                beside.c.model.label("beside_model"),
                job.c.compared_with,
                job.c.comparison,
                job.c.finished_at,
                job.c.revision,
                series.c.series_instance_uid,
                study.c.study_instance_uid,
                study.c.accession_number,
            )
            .join(beside, beside.c.job_id == job.c.compared_with)
            .join(series, series.c.series_id == job.c.series_id)
            .join(study, study.c.study_instance_uid == series.c.study_instance_uid)
            .where(_of(name), job.c.state == "done", job.c.comparison.is_not(None))
            .order_by(job.c.finished_at, job.c.job_id)
        )
        with self._database.read() as connection:
            return tuple(ComparedJob(**row._mapping) for row in connection.execute(query))

    def counts(self, name: str) -> dict[tuple[str, str], int]:
        """How many shadows of a model there are, by version (name@version) and state."""
        query = select(job.c.model, job.c.state, func.count()).where(_of(name)).group_by(job.c.model, job.c.state)
        with self._database.read() as connection:
            return {(row[0], row[1]): row[2] for row in connection.execute(query)}

    def waits_for(self) -> frozenset[int]:
        """The jobs that shadows which did not end yet are compared with."""
        query = select(job.c.compared_with).where(job.c.role == "shadow", job.c.state.not_in(_ENDED))
        with self._database.read() as connection:
            return frozenset(connection.execute(query).scalars())

    def drop(self, name: str, reason: str) -> int:
        """End the shadows of a model that did not start yet; returns how many."""
        values = {"state": "superseded", "reason": reason, "finished_at": time.time()}
        with self._database.write() as connection:
            where = (_of(name), job.c.state.in_(("waiting", "ready")))
            return connection.execute(update(job).where(*where).values(**values)).rowcount


def queue_shadow(connection: Connection, beside: Job, new: NewShadow) -> None:
    """Queue another version on what a job analysed; nothing where that version has a job of its own there."""
    waiting = select(func.count()).where(job.c.role == "shadow", job.c.state == "ready")
    if connection.execute(waiting).scalar_one() >= MOST_WAITING:
        text = f"{new.model} does not run beside {beside.model}: {MOST_WAITING} of its like wait already"
        record(connection, [_event(beside, text)])
        return
    known = connection.execute(
        select(job.c.job_id, job.c.role, job.c.state, job.c.attempt).where(
            job.c.series_id == beside.series_id, job.c.revision == beside.revision, job.c.model == new.model
        )
    ).first()
    if known is None:
        connection.execute(insert(job).values(**_values(beside, new)))
    elif known.role != "shadow" or known.state not in _ENDED or not _again(connection, known, beside):
        return
    record(connection, [_event(beside, f"{new.model} queued to run beside {beside.model}; nothing of it is sent")])


def _again(connection: Connection, known: Any, beside: Job) -> bool:
    """A job that is run again has its shadow run again."""
    values = {
        "state": "ready",
        "queued_at": time.time(),
        "finished_at": None,
        "reason": None,
        "comparison": None,
        "forgiven": known.attempt,
        "compared_with": beside.job_id,
    }
    return bool(connection.execute(update(job).where(job.c.job_id == known.job_id).values(**values)).rowcount)


def _values(beside: Job, new: NewShadow) -> dict[str, Any]:
    now = time.time()
    of_beside = select(job.c.companions).where(job.c.job_id == beside.job_id).scalar_subquery()
    return {
        "series_id": beside.series_id,
        "revision": beside.revision,
        "model": new.model,
        "route": beside.route,
        "state": "ready",
        "priority": "routine",
        "destinations": [],
        "report_not_analysed": False,
        "timeout_s": new.timeout_s,
        "attempt": 0,
        "forgiven": 0,
        "created_at": now,
        "queued_at": now,
        "companions": of_beside,
        "stale": False,
        "role": "shadow",
        "compared_with": beside.job_id,
    }


def _of(name: str) -> Any:
    return (job.c.role == "shadow") & job.c.model.startswith(f"{name}@", autoescape=True)


def _event(beside: Job, text: str) -> Event:
    return event_about(beside, "shadow_queued", text)
