"""Jobs: the database row is the truth.

Every change of state names the attempt that it ends, so a late answer changes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, insert, or_, select, update

from storage.database import Database
from storage.events import record
from storage.records.events import Event
from storage.records.jobs import Attempt, AttemptOutcome, Companion, Job, JobState, NewJob, NewShadow, Priority
from storage.records.json_object import Json
from storage.records.received import Series
from storage.records.results import Predecessor, Result
from storage.results import insert_results, predecessors_of
from storage.revisions import (
    has_moved_on,
    may_be_sent_stale,
    refuse_older,
    replacing,
    stale,
    supersede_if_older,
    supersede_jobs,
    wait_anew,
)
from storage.schema import job, job_attempt, series
from storage.shadows import queue_shadow
from storage.usage import grow, names_provenance

JOINED = select(job, series.c.series_instance_uid, series.c.study_instance_uid).join(
    series, series.c.series_id == job.c.series_id
)


class Jobs:
    def __init__(self, database: Database) -> None:
        self._database = database

    def ready(
        self,
        limit: int,
        *,
        stat_head_start_s: float = math.inf,
        stat_only: bool = False,
        without: Collection[str] = (),
    ) -> tuple[Job, ...]:
        """The next jobs to run, by the time since which they wait; STAT jobs as if they had waited longer.

        stat_head_start_s: how much longer. What is routine and has waited that long is not overtaken any more, so nothing
        waits for ever; infinite, STAT always comes first. Shadows come after all others, and only where there is room for more.
        without: names of models none of whose versions is to be run now; what only reports why nothing is analysed runs none.
        """
        found = self._next("stat", limit, without)
        if not stat_only:
            found = (*found, *self._next("routine", limit, without))
        ordered = sorted(found, key=lambda item: turn(item, stat_head_start_s))[:limit]
        if len(ordered) < limit and not stat_only:
            ordered += self._next("routine", limit - len(ordered), without, shadows=True)
        return tuple(ordered)

    def _next(
        self, priority: Priority, limit: int, without: Collection[str], *, shadows: bool = False
    ) -> tuple[Job, ...]:
        """Of one priority, straight from the index, however many stand before them with the other one."""
        is_meant = [job.c.role == "shadow" if shadows else job.c.role != "shadow"]
        is_meant += [~runs(name) for name in sorted(without)]
        return self._fetch(
            JOINED.where(job.c.state == "ready", job.c.priority == priority, *is_meant)
            .order_by(job.c.queued_at, job.c.job_id)
            .limit(limit)
        )

    def held(self, names: Collection[str]) -> tuple[Job, ...]:
        """Jobs that would run a version of these models, and did not start; no shadows."""
        if not names:
            return ()
        where = or_(*(runs(name) for name in sorted(names)))
        states = job.c.state.in_(("waiting", "ready"))
        return self._fetch(JOINED.where(states, job.c.role != "shadow", where).order_by(job.c.job_id))

    def give_up(self, job_id: int, reason: str, *, events: Iterable[Event]) -> bool:
        """waiting or ready -> ready, only to report why nothing is analysed."""
        where = (job.c.job_id == job_id, job.c.state.in_(("waiting", "ready")), job.c.give_up_reason.is_(None))
        return self._change(where, {"state": "ready", "give_up_reason": reason}, events)

    def waiting(self) -> tuple[Job, ...]:
        """Jobs that wait for other series, oldest first."""
        return self._fetch(JOINED.where(job.c.state == "waiting").order_by(job.c.queued_at, job.c.job_id))

    def running(self) -> tuple[Job, ...]:
        return self._fetch(JOINED.where(job.c.state == "running"))

    def get(self, job_id: int) -> Job | None:
        found = self._fetch(JOINED.where(job.c.job_id == job_id))
        return found[0] if found else None

    def of_study(self, study_instance_uid: str) -> tuple[Job, ...]:
        return self._fetch(JOINED.where(series.c.study_instance_uid == study_instance_uid).order_by(job.c.job_id))

    def attempts(self, job_id: int) -> tuple[Attempt, ...]:
        query = select(job_attempt).where(job_attempt.c.job_id == job_id).order_by(job_attempt.c.number)
        with self._database.read() as connection:
            return tuple(Attempt(**row._mapping) for row in connection.execute(query))

    def predecessors(self, of: Job) -> tuple[Predecessor, ...]:
        """Reports that a report of this job takes the place of, the latest first; its own earlier one among them."""
        with self._database.read() as connection:
            return predecessors_of(connection, of)

    def counts(self) -> dict[str, int]:
        """By state; shadows concern nobody who waits for results, and are not counted."""
        with self._database.read() as connection:
            query = select(job.c.state, func.count()).where(job.c.role != "shadow").group_by(job.c.state)
            rows = connection.execute(query)
            return {row[0]: row[1] for row in rows}

    def start(self, job_id: int) -> int | None:
        """ready -> running, as a new attempt; returns its number, or None where the job is not ready.

        One whose series has moved on is superseded instead, and one that reads another series that has waits for it anew.
        """
        now = time.time()
        with self._database.write() as connection:
            if supersede_if_older(connection, job_id) or wait_anew(connection, job_id):
                return None
            started = connection.execute(
                update(job)
                .where(job.c.job_id == job_id, job.c.state == "ready")
                .values(state="running", attempt=job.c.attempt + 1, started_at=now)
            )
            if not started.rowcount:
                return None
            number = connection.execute(select(job.c.attempt).where(job.c.job_id == job_id)).scalar_one()
            connection.execute(
                insert(job_attempt).values(job_id=job_id, number=number, started_at=now, outcome="running")
            )
            return int(number)

    def finish(
        self,
        finished: Job,
        *,
        state: JobState,
        outcome: AttemptOutcome,
        reason: str | None,
        results: Sequence[Result] = (),
        recipients: Mapping[str, Sequence[str]] = MappingProxyType({}),
        not_analysed: bool = False,
        send_stale: bool = False,
        provenance_key: str | None = None,
        provenance_bytes: int = 0,
        comparison: Json | None = None,
        shadow: NewShadow | None = None,
        events: Iterable[Event] = (),
    ) -> bool:
        """running -> done or failed, with results, their outbox rows and what they supersede, in one transaction.

        recipients: the names of the destinations that get each kind of result. not_analysed: the results say so.
        send_stale: queue them even where the series has moved on meanwhile, if the model is to run on it again and none of
        the images that it read was rejected.
        provenance_key: the object of provenance_bytes that says what the results were made of. comparison: of a shadow,
        how it differs.
        shadow: what is to run on the same images next, unless the series has moved on.
        Returns False, and changes nothing, where this attempt is not the running one.
        """
        with self._database.write() as connection:
            is_stale = has_moved_on(connection, finished)
            values: dict[str, Any] = {"state": state, "finished_at": time.time(), "stale": is_stale}
            values |= {"provenance_key": provenance_key, "comparison": comparison}
            is_new = provenance_key is not None and not names_provenance(connection, finished.job_id, provenance_key)
            if not _end_attempt(connection, finished, outcome, reason, values):
                return False
            if is_new:
                grow(connection, "results", provenance_bytes)
            record(connection, events)
            counts = not is_stale or (send_stale and may_be_sent_stale(connection, finished))
            if is_stale:
                record(connection, [stale(finished, sent=counts)])
            insert_results(
                connection,
                finished,
                results,
                recipients,
                counts=counts,
                not_analysed=not_analysed,
                provenance_key=provenance_key,
            )
            if shadow is not None and not is_stale:
                queue_shadow(connection, finished, shadow)
            return True

    def put_back(
        self,
        taken: Job,
        *,
        outcome: AttemptOutcome,
        reason: str,
        give_up_reason: str | None = None,
        events: Iterable[Event] = (),
    ) -> bool:
        """running -> ready, to be tried again; with give_up_reason, only to report why it was not analysed."""
        values = {"state": "ready", "give_up_reason": give_up_reason}
        with self._database.write() as connection:
            if not _end_attempt(connection, taken, outcome, reason, values):
                return False
            record(connection, events)
            return True

    def requeue(self, job_id: int, *, event: Event, stat: bool = False) -> bool:
        """done, failed or skipped -> ready, on a person's word; or waiting, where the model reads other series too.

        Raises NewerRevision where the series has moved on since.
        """
        values: dict[str, Any] = {
            "reason": None,
            "give_up_reason": None,
            "finished_at": None,
            "forgiven": job.c.attempt,
        }
        values |= {"queued_at": time.time(), **({"priority": "stat"} if stat else {})}
        with self._database.write() as connection:
            refuse_older(connection, job_id)
            known = connection.execute(select(job.c.companions).where(job.c.job_id == job_id)).first()
            state = "waiting" if known is not None and known.companions else "ready"
            changed = connection.execute(
                update(job)
                .where(job.c.job_id == job_id, job.c.state.in_(("done", "failed", "skipped")))
                .values(state=state, **values)
            )
            if not changed.rowcount:
                return False
            record(connection, [event])
            return True

    def hurry(self, job_id: int, *, event: Event) -> bool:
        """Make a routine job that did not start yet STAT, on a person's word."""
        where = (job.c.job_id == job_id, job.c.state.in_(("ready", "waiting")), job.c.priority == "routine")
        return self._change(where, {"priority": "stat"}, [event])

    def accompany(self, job_id: int, companions: Sequence[Companion], *, events: Iterable[Event]) -> bool:
        """waiting -> ready, with the other series that it reads; those that are absent for good among them."""
        values = {"state": "ready", "reason": None, "companions": [asdict(one) for one in companions]}
        return self._change((job.c.job_id == job_id, job.c.state == "waiting"), values, events)

    def wait_on(self, job_id: int, reason: str, *, events: Iterable[Event]) -> bool:
        """Say what a waiting job waits for."""
        return self._change((job.c.job_id == job_id, job.c.state == "waiting"), {"reason": reason}, events)

    def skip(self, job_id: int, reason: str, *, events: Iterable[Event]) -> bool:
        """waiting -> skipped."""
        values = {"state": "skipped", "reason": reason, "finished_at": time.time()}
        return self._change((job.c.job_id == job_id, job.c.state == "waiting"), values, events)

    def _change(self, where: Sequence[Any], values: Mapping[str, Any], events: Iterable[Event]) -> bool:
        """Change one job, with what is to be said of it; nothing where it is not as `where` says any more."""
        with self._database.write() as connection:
            if not connection.execute(update(job).where(*where).values(**values)).rowcount:
                return False
            record(connection, events)
            return True

    def _fetch(self, query: Any) -> tuple[Job, ...]:
        with self._database.read() as connection:
            return tuple(job_from(row) for row in connection.execute(query))


def runs(name: str) -> ColumnElement[bool]:
    """Whether a job runs a version of the model of that name; not where it only reports why nothing is analysed."""
    return job.c.model.startswith(f"{name}@", autoescape=True) & job.c.give_up_reason.is_(None)


def insert_jobs(connection: Connection, judged: Series, jobs: Iterable[NewJob]) -> None:
    """Queue jobs on the revision of a series that was just judged whole; those on older ones are not run any more."""
    now = time.time()
    supersede_jobs(connection, judged, f"the series changed, and revision {judged.revision} is queued in its place")
    rows: list[dict[str, Any]] = [
        {
            "series_id": judged.series_id,
            "revision": judged.revision,
            "model": new.model,
            "route": new.route,
            "state": new.state,
            "priority": new.priority,
            "destinations": list(new.destinations),
            "report_not_analysed": new.report_not_analysed,
            "timeout_s": new.timeout_s,
            "attempt": 0,
            "forgiven": 0,
            "created_at": now,
            "queued_at": now,
            "finished_at": now if new.state == "skipped" else None,
            "reason": new.reason,
            "give_up_reason": new.give_up_reason,
            "remark": new.remark,
            "companions": [asdict(companion) for companion in new.companions],
            "deadline_at": new.deadline_at,
            "stale": False,
            "role": new.role,
        }
        for new in replacing(connection, judged, jobs)
    ]
    if rows:
        connection.execute(insert(job), rows)


def _end_attempt(
    connection: Connection, ended: Job, outcome: AttemptOutcome, reason: str | None, values: Mapping[str, Any]
) -> bool:
    changed = connection.execute(
        update(job)
        .where(job.c.job_id == ended.job_id, job.c.state == "running", job.c.attempt == ended.attempt)
        .values(reason=reason, **values)
    )
    if not changed.rowcount:
        return False
    connection.execute(
        update(job_attempt)
        .where(job_attempt.c.job_id == ended.job_id, job_attempt.c.number == ended.attempt)
        .values(ended_at=time.time(), outcome=outcome, reason=reason)
    )
    return True


def turn(waiting: Job, stat_head_start_s: float) -> tuple[float, bool, float, int]:
    """What ready jobs are sorted by: the time since which they wait, less the head start; of equals STAT comes first."""
    is_routine = waiting.priority == "routine"
    counts_from = waiting.queued_at if is_routine else waiting.queued_at - stat_head_start_s
    return counts_from, is_routine, waiting.queued_at, waiting.job_id


def job_from(row: Row[Any]) -> Job:
    values = {name: row._mapping[name] for name in Job.__dataclass_fields__}
    values["destinations"] = tuple(values["destinations"])
    values["companions"] = tuple(Companion(**companion) for companion in values["companions"])
    return Job(**values)
