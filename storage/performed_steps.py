"""Performed procedure steps: each is created once, changed while it is in progress, and announced as it now is.

A step and what it announces are committed together: whoever reads the one never misses the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, delete, insert, select, update

from storage.announcements import announced_by, lacking, write_announcements
from storage.database import Database
from storage.events import record
from storage.records.announced import Announcement, PerformedStep
from storage.records.events import Event
from storage.schema import announcement, performed_step


class PerformedSteps:
    """in_progress: the status of a step that may still change."""

    def __init__(self, database: Database, *, in_progress: str = "IN PROGRESS") -> None:
        self._database = database
        self._in_progress = in_progress

    def create(self, step: PerformedStep, announced: Iterable[Announcement], events: Iterable[Event] = ()) -> bool:
        """Committed when this returns. False, and nothing is changed, where a step of this UID exists already."""
        with self._database.write() as connection:
            if connection.execute(_of(step.sop_instance_uid)).first():
                return False
            values = asdict(step) | {"study_instance_uids": list(step.study_instance_uids)}
            connection.execute(insert(performed_step).values(values))
            write_announcements(connection, announced)
            record(connection, events)
            return True

    def get(self, sop_instance_uid: str) -> PerformedStep | None:
        with self._database.read() as connection:
            row = connection.execute(_of(sop_instance_uid)).first()
        if row is None:
            return None
        values = dict(row._mapping)
        return PerformedStep(**values | {"study_instance_uids": tuple(values["study_instance_uids"])})

    def change(
        self,
        step: PerformedStep,
        announced: Iterable[Announcement],
        events: Iterable[Event] = (),
        *,
        keep_series: bool,
    ) -> bool:
        """Write the status of a step, and what it announces now in place of all that it announced before.

        keep_series: what it announced of series stands, in the state of the step; `announced` is then of none.
        Committed when this returns. False, and nothing is changed, where the step is unknown or no longer in progress.
        """
        said = tuple(announced)
        with self._database.write() as connection:
            changed = connection.execute(
                update(performed_step)
                .where(
                    performed_step.c.sop_instance_uid == step.sop_instance_uid,
                    performed_step.c.status == self._in_progress,
                )
                .values(status=step.status, changed_at=step.changed_at)
            )
            if not changed.rowcount:
                return False
            if keep_series:
                _restate(connection, step, said)
            else:
                connection.execute(delete(announcement).where(*_by(step)))
            write_announcements(connection, said)
            record(connection, [*events, *lacking(connection, announced_by(connection, *_by(step)))])
            return True


def _restate(connection: Connection, step: PerformedStep, said: tuple[Announcement, ...]) -> None:
    for one in said[:1]:  # all of one step are in one state
        connection.execute(update(announcement).where(*_by(step)).values(state=one.state, at=one.at))


def _of(sop_instance_uid: str) -> Select[Any]:
    return select(performed_step).where(performed_step.c.sop_instance_uid == sop_instance_uid)


def _by(step: PerformedStep) -> tuple[ColumnElement[bool], ...]:
    """What the step announced: its studies are those that it was created with, its keys begin with its UID."""
    return (
        announcement.c.study_instance_uid.in_(step.study_instance_uids),
        announcement.c.kind == "mpps",
        announcement.c.key.startswith(f"{step.sop_instance_uid} "),
    )
