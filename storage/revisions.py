"""Revisions of a series and the jobs on them: a job on an older one is superseded, or its result is stale."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy import Connection, select, update

from storage.errors import NewerRevision
from storage.events import record
from storage.records.events import Event
from storage.records.jobs import Job, NewJob
from storage.records.received import Series
from storage.results import models_that_count, outdate
from storage.schema import instance, job, series


def has_moved_on(connection: Connection, of: Job) -> bool:
    """Whether the images of the job's series have changed since the revision that it analyses."""
    current = connection.execute(select(series.c.revision).where(series.c.series_id == of.series_id)).scalar_one()
    return bool(current > of.revision)


def may_be_sent_stale(connection: Connection, of: Job) -> bool:
    """Whether its results may stand until those of the next revision are there: not where it read rejected images."""
    rejected = select(instance.c.instance_id).where(
        instance.c.series_id == of.series_id,
        instance.c.revision <= of.revision,
        instance.c.rejected_revision > of.revision,
    )
    return connection.execute(rejected.limit(1)).first() is None and is_queued_anew(connection, of)


def is_queued_anew(connection: Connection, of: Job) -> bool:
    """Whether the model is run on a newer revision of the job's series, or whether it is was not decided yet."""
    state = select(series.c.state).where(series.c.series_id == of.series_id)
    if connection.execute(state).scalar_one() == "arriving":
        return True
    newer = select(job.c.model).where(
        job.c.series_id == of.series_id, job.c.revision > of.revision, job.c.role != "shadow"
    )
    return any(_name(model) == _name(of.model) for model in connection.execute(newer).scalars())


def supersede_if_older(connection: Connection, job_id: int) -> bool:
    """Whether a job that was about to start is not to be run, because its series has moved on; it is superseded then."""
    found = connection.execute(
        select(series, job.c.revision.label("of_job"))
        .join(job, job.c.series_id == series.c.series_id)
        .where(job.c.job_id == job_id)
    ).first()
    if found is None or found.of_job >= found.revision:
        return False
    now = Series(**{name: found._mapping[name] for name in Series.__dataclass_fields__})
    supersede_jobs(connection, now, f"the series changed before it started: revision {now.revision} takes its place")
    return True


def wait_anew(connection: Connection, job_id: int) -> bool:
    """Whether a job that was about to start waits again, because another series that it reads has moved on.

    A shadow ends then: what it would be compared with read other images.
    """
    companions = connection.execute(select(job.c.companions).where(job.c.job_id == job_id)).scalar_one_or_none() or ()
    chosen = {one["series_id"]: one["revision"] for one in companions if one["series_id"] is not None}
    if not chosen:
        return False
    now = connection.execute(select(series.c.series_id, series.c.revision).where(series.c.series_id.in_(chosen)))
    if all(row.revision == chosen[row.series_id] for row in now):
        return False
    waits = update(job).where(job.c.job_id == job_id, job.c.state == "ready", job.c.give_up_reason.is_(None))
    reason = "another series that it reads has changed since the job that it is compared with"
    ends = waits.where(job.c.role == "shadow").values(state="superseded", reason=reason, finished_at=time.time())
    if connection.execute(ends).rowcount:
        return True
    return bool(connection.execute(waits.values(state="waiting", reason=None, queued_at=time.time())).rowcount)


def supersede_jobs(connection: Connection, now: Series, reason: str) -> None:
    """End the jobs on older revisions of a series that did not start yet."""
    older = [job.c.series_id == now.series_id, job.c.revision < now.revision, job.c.state.in_(("waiting", "ready"))]
    found = connection.execute(select(job.c.job_id, job.c.model, job.c.revision).where(*older)).all()
    if not found:
        return
    connection.execute(update(job).where(*older).values(state="superseded", reason=reason, finished_at=time.time()))
    record(
        connection, [_superseded(now, row.job_id, f"{row.model} on revision {row.revision}", reason) for row in found]
    )


def refuse_older(connection: Connection, job_id: int) -> None:
    """Raise NewerRevision where a job is not on the newest revision of its series."""
    found = connection.execute(
        select(job.c.revision, job.c.model, series.c.revision.label("current"))
        .join(series, series.c.series_id == job.c.series_id)
        .where(job.c.job_id == job_id)
    ).first()
    if found and found.revision < found.current:
        raise NewerRevision(
            f"job {job_id} ({found.model}) is on revision {found.revision} of its series, which is at revision "
            f"{found.current} now: that one is analysed by itself once it is whole"
        )


def replacing(connection: Connection, judged: Series, jobs: Iterable[NewJob]) -> list[NewJob]:
    """The jobs on a new revision, such that no result of an older one is left standing as if it still held.

    A model that has a result and does not apply any more reports just that. One that no route asks for any more leaves a
    result that nothing replaces: it is superseded here, with an alarm.
    """
    found = list(jobs)
    if judged.revision == 1:
        return found  # there is nothing before it
    standing = models_that_count(connection, judged.series_id)
    names = {_name(model) for model in standing}
    outdate(
        connection, judged, [model for model in standing if _name(model) not in {_name(new.model) for new in found}]
    )
    return [
        _telling(connection, judged, new) if new.state == "skipped" and _name(new.model) in names else new
        for new in found
    ]


def stale(of: Job, *, sent: bool) -> Event:
    text = f"the series changed while {of.model} ran on revision {of.revision}: its result is stale, and "
    text += "sent, as completeness.send_stale says" if sent else "kept but not sent"
    return Event(
        "job_stale",
        text,
        study_instance_uid=of.study_instance_uid,
        series_instance_uid=of.series_instance_uid,
        job_id=of.job_id,
    )


def _telling(connection: Connection, judged: Series, new: NewJob) -> NewJob:
    reason = f"the model does not apply to the images as they are now: {new.reason}"
    text = f"{new.model} queued to report that its earlier result does not hold any more: {reason}"
    event = Event(
        "job_queued",
        text,
        study_instance_uid=judged.study_instance_uid,
        series_instance_uid=judged.series_instance_uid,
    )
    record(connection, [event])
    return replace(new, state="ready", reason=None, give_up_reason=reason, report_not_analysed=True)


def _superseded(now: Series, job_id: int, what: str, reason: str) -> Event:
    return Event(
        "job_superseded",
        f"{what} is not run: {reason}",
        study_instance_uid=now.study_instance_uid,
        series_instance_uid=now.series_instance_uid,
        job_id=job_id,
        data={"revision": now.revision},
    )


def _name(model: str) -> str:
    return model.partition("@")[0]
