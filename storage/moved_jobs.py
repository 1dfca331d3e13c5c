"""Jobs that wait for their turn when another version of their model takes over: they go to it, and say so."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row, select, update

from storage.events import record
from storage.records.events import Event
from storage.records.jobs import Companion
from storage.schema import job, result, series


@dataclass(frozen=True, slots=True)
class Move:
    """From which versions (name@version) to which.

    read_alike: of each former version, whether it reads the same other series as the new one, so that those which were chosen
    stay chosen. companions: the names of the other series that the new one reads. why: in words.
    """

    read_alike: Mapping[str, bool]
    to: str
    timeout_s: float
    companions: tuple[str, ...]
    why: str


def move_jobs(connection: Connection, move: Move) -> int:
    """Give what did not start yet to another version; what runs goes on, and ends as what it was started as. Returns how many.

    Not what only reports why nothing is analysed: that says whose failure it was. Nor what has results and is run again,
    which is to be the same again. Where the new version has a job of its own
    on the same images, that one stands and the other is superseded.
    """
    former = [name for name in move.read_alike if name != move.to]
    query = (
        select(job, series.c.series_instance_uid, series.c.study_instance_uid)
        .join(series, series.c.series_id == job.c.series_id)
        .where(
            job.c.state.in_(("waiting", "ready")),
            job.c.model.in_(former),
            job.c.role != "shadow",
            job.c.give_up_reason.is_(None),
            ~select(result.c.sop_instance_uid).where(result.c.job_id == job.c.job_id).exists(),
        )
        .order_by(job.c.job_id)
    )
    found = connection.execute(query).all()
    for row in found:
        own = select(job.c.job_id).where(
            job.c.series_id == row.series_id, job.c.revision == row.revision, job.c.model == move.to
        )
        has_own = connection.execute(own).first() is not None
        values = _superseded(move) if has_own else _moved(move, row)
        connection.execute(update(job).where(job.c.job_id == row.job_id).values(**values))
        record(connection, [_event(row, move, has_own=has_own)])
    return len(found)


def _superseded(move: Move) -> dict[str, Any]:
    reason = f"{move.why}, and {move.to} has a job of its own on these images"
    return {"state": "superseded", "reason": reason, "finished_at": time.time()}


def _moved(move: Move, row: Row[Any]) -> dict[str, Any]:
    values: dict[str, Any] = {"model": move.to, "timeout_s": move.timeout_s, "role": "active"}
    if move.read_alike[row.model]:
        return values
    chosen_anew = [asdict(Companion(name)) for name in move.companions]
    return values | {"state": "waiting" if chosen_anew else "ready", "companions": chosen_anew, "reason": None}


def _event(row: Row[Any], move: Move, *, has_own: bool) -> Event:
    what = f"{row.model} on revision {row.revision}"
    if has_own:
        return _about(row, "job_superseded", f"{what} is not run: {move.why}, and {move.to} has a job of its own")
    return _about(row, "job_moved", f"{what} goes to {move.to}: {move.why}")


def _about(row: Row[Any], kind: str, text: str) -> Event:
    return Event(
        kind,
        text,
        study_instance_uid=row.study_instance_uid,
        series_instance_uid=row.series_instance_uid,
        job_id=row.job_id,
        data={"revision": row.revision},
    )
