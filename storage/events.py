"""The history of a study, a line an event: written with the change that it tells of, in the same transaction."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from sqlalchemy import Connection, Row, func, insert, or_, select

from storage.database import Database
from storage.records.events import Event
from storage.schema import association_series, event, series


def record(connection: Connection, events: Iterable[Event]) -> None:
    """Insert events; `at` 0 means now."""
    rows = [
        {
            "at": item.at or time.time(),
            "kind": item.kind,
            "severity": item.severity,
            "text": item.text,
            "study_instance_uid": item.study_instance_uid,
            "series_instance_uid": item.series_instance_uid,
            "association_id": item.association_id,
            "job_id": item.job_id,
            "data": dict(item.data),
        }
        for item in events
    ]
    if rows:
        connection.execute(insert(event), rows)


class Events:
    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, *events: Event) -> None:
        with self._database.write() as connection:
            record(connection, events)

    def record_once(self, item: Event) -> None:
        """Record an event of which it is enough to be told once: not where one of its kind has these words already."""
        same = select(event.c.event_id).where(event.c.kind == item.kind, event.c.text == item.text)
        with self._database.write() as connection:
            if connection.execute(same).first() is None:
                record(connection, [item])

    def of_study(self, study_instance_uid: str) -> tuple[Event, ...]:
        """Everything that happened to a study, in order: its own events and those of associations that brought it."""
        associations = (
            select(association_series.c.association_id)
            .join(series, series.c.series_id == association_series.c.series_id)
            .where(series.c.study_instance_uid == study_instance_uid)
        )
        query = (
            select(event)
            .where(
                or_(
                    event.c.study_instance_uid == study_instance_uid,
                    (event.c.study_instance_uid.is_(None)) & (event.c.association_id.in_(associations)),
                )
            )
            .order_by(event.c.at, event.c.event_id)
        )
        with self._database.read() as connection:
            return tuple(_event(row) for row in connection.execute(query))

    def count(self, kind: str) -> int:
        with self._database.read() as connection:
            return connection.execute(select(func.count()).where(event.c.kind == kind)).scalar_one()

    def latest(self, kinds: Collection[str]) -> Event | None:
        """The newest event of one of these kinds."""
        query = select(event).where(event.c.kind.in_(kinds)).order_by(event.c.event_id.desc()).limit(1)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else _event(row)

    def recent(self, *, severities: tuple[str, ...], limit: int) -> tuple[Event, ...]:
        """The newest events of these severities, newest first."""
        query = select(event).where(event.c.severity.in_(severities)).order_by(event.c.event_id.desc()).limit(limit)
        with self._database.read() as connection:
            return tuple(_event(row) for row in connection.execute(query))


def _event(row: Row[tuple[object, ...]]) -> Event:
    values = dict(row._mapping)
    del values["event_id"]
    return Event(**values)
