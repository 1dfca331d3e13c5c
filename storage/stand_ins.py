"""What an earlier run of a job sent in place of a result that was not sound, once a later run has that result.

A destination that was given a report without its Segmentation, since that was in quarantine, gets both when the job was run
again; what stood in for them must not stand beside them.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, select, update

from storage.event_about import event_about
from storage.events import record
from storage.records.events import Event
from storage.records.jobs import Job
from storage.schema import outbox, result


def queued_before(connection: Connection, finished: Job) -> Sequence[Row[Any]]:
    """What of a job its earlier runs queued, for whom: all that counts, on its way or there."""
    query = (
        select(outbox.c.delivery_id, outbox.c.destination, outbox.c.state, result.c.sop_instance_uid, result.c.kind)
        .join(result, result.c.sop_instance_uid == outbox.c.sop_instance_uid)
        .where(
            result.c.job_id == finished.job_id,
            result.c.superseded_at.is_(None),
            outbox.c.state.in_(("waiting", "delivered")),
            outbox.c.in_place_of.is_(None),
        )
    )
    return list(connection.execute(query))


def withdraw_stand_ins(
    connection: Connection,
    finished: Job,
    before: Sequence[Row[Any]],
    going: Mapping[str, Mapping[str, str]],
    repaired: Collection[str],
) -> None:
    """before: as `queued_before` gave it. going: by destination, the kinds of what it is to have by now, by SOP Instance UID.

    repaired: SOP Instance UIDs of what was in quarantine and is sound now. What waits is withdrawn, and stays in reserve; what
    was delivered is superseded, unless another destination is to have it.
    """
    had = {(row.destination, row.sop_instance_uid) for row in before}
    gone = [row for row in before if _is_stand_in(row, going.get(row.destination, {}), had, repaired)]
    kept = {row.sop_instance_uid for row in before if row not in gone}
    for row in gone:
        if row.state == "waiting":
            why = "superseded: what it stood in for goes there"
            changed = update(outbox).where(outbox.c.delivery_id == row.delivery_id)
            connection.execute(changed.values(state="withdrawn", last_error=why))
        elif row.sop_instance_uid not in kept:
            changed = update(result).where(result.c.sop_instance_uid == row.sop_instance_uid)
            connection.execute(changed.values(superseded_at=time.time(), superseded_by=finished.job_id))
    record(connection, [_told(finished, row) for row in gone])


def _is_stand_in(
    row: Row[Any], going: Mapping[str, str], had: Collection[tuple[str, str]], repaired: Collection[str]
) -> bool:
    """Whether a destination that had this gets, for the first time, what it stood in for."""
    if row.sop_instance_uid in going:
        return False
    new = {uid: kind for uid, kind in going.items() if (row.destination, uid) not in had}
    return any(uid in repaired or _base(kind) == _base(row.kind) for uid, kind in new.items())


def _base(kind: str) -> str:
    return kind.partition("-")[0]


def _told(finished: Job, row: Row[Any]) -> Event:
    text = (
        f"{row.kind.upper()} of {finished.model} for {row.destination} superseded: the job was run again, and what it stood"
        " in for goes there"
    )
    return event_about(finished, "result_superseded", text, data={"revision": finished.revision})
