"""Results, and which of them count: a later one of the same model on the same series supersedes what was before.

A result counts from the moment that it is recorded, until it is superseded. One of a job whose series had changed by the
time it ended never counts, unless it is sent all the same. What does not count is kept, and is queued for nobody any more.

One that is not sound, by its own faults, is in quarantine: kept, and never counted or queued.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, func, insert, or_, select, update

from storage.event_about import event_about
from storage.events import record
from storage.records.events import Event, Severity
from storage.records.jobs import Job
from storage.records.received import Series
from storage.records.results import Predecessor, Result
from storage.schema import job, outbox, result
from storage.stand_ins import queued_before, withdraw_stand_ins
from storage.usage import grow

# What tells a destination to reject earlier results is no finding, and is superseded by nothing.
REJECTION = "ko"
_JOINED = select(result, job.c.revision, job.c.model).join(job, job.c.job_id == result.c.job_id)


def insert_results(
    connection: Connection,
    finished: Job,
    results: Sequence[Result],
    recipients: Mapping[str, Sequence[str]],
    *,
    counts: bool,
    not_analysed: bool,
    provenance_key: str | None = None,
) -> None:
    """Record a job's results; where they count, queue them for their recipients and supersede those before them.

    recipients: names of destinations, by SOP Instance UID; what has none is kept in reserve. What an earlier attempt recorded
    stays as it is, unless nobody was ever sent it. not_analysed: the results say that nothing was analysed. provenance_key:
    the object that says what they were made of.
    """
    sound = [item for item in results if not item.faults]
    standing = _standing(connection, finished.series_id)
    named = [row for row in standing if _name(row.model) == _name(finished.model)]
    counts = counts and not any(row.revision > finished.revision for row in named)
    before = queued_before(connection, finished)
    new, repaired = _unknown(connection, finished, results)
    flipped = _said_otherwise(named, finished, sound)
    if flipped and not_analysed:
        record(connection, [_failed_again(finished)])
        counts = False
    for item in new:
        to = recipients.get(item.sop_instance_uid, ()) if counts and not item.faults else ()
        _insert(connection, finished, item, to, counts=counts, provenance_key=provenance_key)
    if counts:
        _queue_kept(connection, [item for item in sound if item not in new], recipients)
        withdraw_stand_ins(connection, finished, before, _going(sound, recipients), repaired)
        versions = _versions(connection, finished)
        earlier = [row for row in named if row.revision < finished.revision and row.model not in versions]
        _supersede(connection, finished, [*earlier, *flipped], replaced=bool(sound))
        _supersede_quarantined(connection, finished)


def result_from(row: Row[Any], columns: Mapping[str, Any] | None = None) -> Result:
    """columns: by the names of their fields, where the row is of a join in which their names are not unique."""
    values = {name: row._mapping[columns[name] if columns else name] for name in Result.__dataclass_fields__}
    return Result(**{**values, "faults": tuple(values["faults"] or ())})


def predecessors_of(connection: Connection, of: Job) -> tuple[Predecessor, ...]:
    """Reports that a report of this job takes the place of, the latest first: its own earlier one may be among them.

    The same for every attempt of a job, whether it has superseded them yet or not. None that only stood in reserve, or that
    every receiver turned down.
    """
    versions = _versions(connection, of)
    query = _JOINED.where(
        job.c.series_id == of.series_id,
        func.substr(result.c.kind, 1, 2) == "sr",
        result.c.faults.is_(None),
        or_(result.c.superseded_at.is_(None), result.c.superseded_by == of.job_id),
        select(outbox.c.delivery_id)
        .where(outbox.c.sop_instance_uid == result.c.sop_instance_uid, outbox.c.state != "substituted")
        .exists(),
        or_(job.c.revision < of.revision, job.c.job_id == of.job_id),
    ).order_by(job.c.revision.desc(), result.c.created_at.desc())
    return tuple(
        Predecessor(
            row.study_instance_uid,
            row.series_instance_uid,
            row.sop_class_uid,
            row.sop_instance_uid,
            row.revision,
            row.kind,
        )
        for row in connection.execute(query)
        if row.job_id == of.job_id or (_name(row.model) == _name(of.model) and row.model not in versions)
    )


def models_that_count(connection: Connection, series_id: int) -> frozenset[str]:
    """Models (name@version) of which a result on this series counts."""
    return frozenset(row.model for row in _standing(connection, series_id))


def outdate(connection: Connection, judged: Series, models: Collection[str]) -> None:
    """Supersede the results of models that no job on the new revision of their series will replace."""
    for model in sorted(models):
        rows = [row for row in _standing(connection, judged.series_id) if row.model == model]
        withdrawn = _mark(connection, rows, judged.revision, by=None)
        record(connection, [_outdated(judged, rows, f"no route has {model} run on revision {judged.revision}")])
        if withdrawn:
            record(connection, [_withdrawn(judged, withdrawn)])


def _standing(connection: Connection, series_id: int) -> list[Row[Any]]:
    """The results on a series that count, with revision and model of their jobs."""
    query = _JOINED.where(
        job.c.series_id == series_id,
        result.c.superseded_at.is_(None),
        result.c.kind != REJECTION,
        result.c.faults.is_(None),
    ).order_by(result.c.created_at)
    return list(connection.execute(query))


def _versions(connection: Connection, of: Job) -> frozenset[str]:
    """Other versions of the model that have a job of their own on this revision: each supersedes what is its own."""
    query = select(job.c.model).where(
        job.c.series_id == of.series_id,
        job.c.revision == of.revision,
        job.c.model != of.model,
        job.c.role != "shadow",
    )
    return frozenset(connection.execute(query).scalars())


def _name(model: str) -> str:
    return model.partition("@")[0]


def _said_otherwise(standing: Iterable[Row[Any]], finished: Job, results: Sequence[Result]) -> list[Row[Any]]:
    """What an earlier run of this job recorded, where that said "not analysed" and this one does not, or the reverse.

    Then objects of one kind have UIDs that differ. Where they are the same, what is not made any more still holds.
    """
    made, kinds = {item.sop_instance_uid for item in results}, {item.kind for item in results}
    own = [row for row in standing if row.job_id == finished.job_id and row.sop_instance_uid not in made]
    return own if any(row.kind in kinds for row in own) else []


def _going(sound: Iterable[Result], recipients: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """By destination, the kinds of what it is to have, by SOP Instance UID."""
    found: dict[str, dict[str, str]] = {}
    for item in sound:
        for name in recipients.get(item.sop_instance_uid, ()):
            found.setdefault(name, {})[item.sop_instance_uid] = item.kind
    return found


def _unknown(connection: Connection, finished: Job, results: Iterable[Result]) -> tuple[list[Result], frozenset[str]]:
    """Those that are not recorded yet, and the UIDs of those that were in quarantine and are sound. Where one is recorded,
    and was another content, that is told.

    What nobody can hold, since it is in quarantine or only stood in reserve, is replaced by a sound one.
    """
    found, repaired = [], set()
    for item in results:
        known = connection.execute(
            select(result.c.content_sha256, result.c.faults, result.c.size_bytes).where(
                result.c.sop_instance_uid == item.sop_instance_uid
            )
        ).first()
        if known is None:
            found.append(item)
        elif known.content_sha256 == item.content_sha256 and tuple(known.faults or ()) == item.faults:
            continue
        elif known.faults is not None or (not item.faults and not _was_queued(connection, item)):
            connection.execute(delete(result).where(result.c.sop_instance_uid == item.sop_instance_uid))
            grow(connection, "results", -known.size_bytes)
            found.append(item)
            if known.faults is not None and not item.faults:
                repaired.add(item.sop_instance_uid)
        elif not item.faults:
            record(connection, [_differs(finished, item)])
    return found, frozenset(repaired)


def _queue_kept(connection: Connection, known: Iterable[Result], recipients: Mapping[str, Sequence[str]]) -> None:
    """What an earlier run left in reserve, for destinations that take it by now."""
    for item in known:
        query = select(outbox.c.destination).where(outbox.c.sop_instance_uid == item.sop_instance_uid)
        has = set(connection.execute(query).scalars())
        missing = [name for name in recipients.get(item.sop_instance_uid, ()) if name not in has]
        row = connection.execute(
            select(result.c.content_sha256, result.c.superseded_at).where(
                result.c.sop_instance_uid == item.sop_instance_uid
            )
        ).one()
        if row.superseded_at is None and row.content_sha256 == item.content_sha256:
            for name in missing:
                queue(connection, item.sop_instance_uid, name)


def _was_queued(connection: Connection, item: Result) -> bool:
    query = select(outbox.c.delivery_id).where(outbox.c.sop_instance_uid == item.sop_instance_uid)
    return connection.execute(query).first() is not None


def insert_rejection(connection: Connection, told: Result, *, job_id: int, destination: str) -> None:
    """Record what tells a destination to reject results of a job, and queue it."""
    _record(connection, told, job_id, superseded_at=None)
    queue(connection, told.sop_instance_uid, destination)


def _insert(
    connection: Connection,
    finished: Job,
    item: Result,
    destinations: Sequence[str],
    *,
    counts: bool,
    provenance_key: str | None,
) -> None:
    superseded_at = None if counts else time.time()
    _record(connection, item, finished.job_id, superseded_at=superseded_at, provenance_key=provenance_key)
    for destination in destinations:
        queue(connection, item.sop_instance_uid, destination)


def _record(
    connection: Connection,
    item: Result,
    job_id: int,
    *,
    superseded_at: float | None,
    provenance_key: str | None = None,
) -> None:
    values = {name: getattr(item, name) for name in Result.__dataclass_fields__}
    values["faults"] = list(item.faults) or None
    values |= {"job_id": job_id, "superseded_at": superseded_at, "provenance_key": provenance_key}
    connection.execute(insert(result).values(**values, created_at=time.time()))
    grow(connection, "results", item.size_bytes)


def queue(connection: Connection, sop_instance_uid: str, destination: str, *, in_place_of: str | None = None) -> None:
    """Into the outbox, to be sent as soon as may be. in_place_of: what the destination does not take."""
    now = time.time()
    connection.execute(
        insert(outbox).values(
            sop_instance_uid=sop_instance_uid,
            destination=destination,
            state="waiting",
            attempts=0,
            next_at=now,
            created_at=now,
            in_place_of=in_place_of,
        )
    )


def _supersede(connection: Connection, finished: Job, rows: Sequence[Row[Any]], *, replaced: bool) -> None:
    if not rows:
        return
    withdrawn = _mark(connection, rows, finished.revision, by=finished.job_id)
    if replaced:
        record(connection, [_superseded(finished, rows)])
    else:
        why = f"{finished.model} gave no result on revision {finished.revision}"
        record(connection, [_outdated(finished, rows, why)])
    if withdrawn:
        record(connection, [_withdrawn(finished, withdrawn)])


def _supersede_quarantined(connection: Connection, finished: Job) -> None:
    """What the same model left in quarantine on older revisions is of no concern any more."""
    older = select(job.c.job_id).where(
        job.c.series_id == finished.series_id,
        job.c.revision < finished.revision,
        job.c.model.startswith(f"{_name(finished.model)}@", autoescape=True),
    )
    connection.execute(
        update(result)
        .where(result.c.faults.is_not(None), result.c.superseded_at.is_(None), result.c.job_id.in_(older))
        .values(superseded_at=time.time(), superseded_by=finished.job_id)
    )


def _mark(connection: Connection, rows: Sequence[Row[Any]], revision: int, *, by: int | None) -> dict[str, int]:
    """Supersede results and withdraw what was not sent of them: by destination, how many."""
    uids = [row.sop_instance_uid for row in rows]
    connection.execute(
        update(result).where(result.c.sop_instance_uid.in_(uids)).values(superseded_at=time.time(), superseded_by=by)
    )
    where = and_(outbox.c.sop_instance_uid.in_(uids), outbox.c.state == "waiting")
    counts: dict[str, int] = {}
    for name in connection.execute(select(outbox.c.destination).where(where)).scalars():
        counts[name] = counts.get(name, 0) + 1
    connection.execute(
        update(outbox).where(where).values(state="withdrawn", last_error=f"superseded by revision {revision}")
    )
    return counts


def _superseded(finished: Job, rows: Sequence[Row[Any]]) -> Event:
    text = f"{_of(rows)} superseded by that of {finished.model} on revision {finished.revision}"
    return _about(finished, "result_superseded", text)


def _outdated(of: Job | Series, rows: Sequence[Row[Any]], why: str) -> Event:
    text = f"{_of(rows)} does not hold any more and nothing takes its place: {why}"
    return _about(of, "result_outdated", text, "alarm")


def _withdrawn(of: Job | Series, counts: Mapping[str, int]) -> Event:
    names = ", ".join(f"{count} for {name}" for name, count in sorted(counts.items()))
    noun = "result" if sum(counts.values()) == 1 else "results"
    text = f"{noun} withdrawn before being sent, superseded by revision {of.revision}: {names}"
    return _about(of, "delivery_withdrawn", text)


def _failed_again(finished: Job) -> Event:
    text = f"{finished.model} was run again on the same images and gave no findings: its first result stays"
    return _about(finished, "result_differs", text, "alarm")


def _of(rows: Sequence[Row[Any]]) -> str:
    return f"the result of {rows[0].model} on revision {rows[0].revision}"


def _differs(finished: Job, item: Result) -> Event:
    """A receiver may hold the first one already, and would refuse, or mix up, another content under its UID."""
    text = f"{finished.model} was run again and its {item.kind.upper()} is not what it was: the first one stays"
    return Event(
        "result_differs",
        text,
        severity="alarm",
        study_instance_uid=item.study_instance_uid,
        job_id=finished.job_id,
        data={"sop_instance_uid": item.sop_instance_uid},
    )


def _about(of: Job | Series, kind: str, text: str, severity: Severity = "info") -> Event:
    return event_about(of, kind, text, severity, {"revision": of.revision})
