"""What others say of a series or a study: performed procedure steps, availability notifications, C-FIND answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sqlalchemy import JSON, ColumnElement, Connection, Row, bindparam, select, text

from storage.database import Database
from storage.events import record
from storage.records.announced import Announcement
from storage.records.events import Event
from storage.rejections import rejected_codes
from storage.schema import announcement, instance, series

_AT_ONCE = 500

_ANNOUNCE = text(
    """
    insert into announcement (
        kind, key, source, study_instance_uid, series_instance_uid, state, instance_count, sop_instance_uids, at
    )
    values (
        :kind, :key, :source, :study_instance_uid, :series_instance_uid, :state, :instance_count, :sop_instance_uids, :at
    )
    on conflict (kind, key) do update set
        source = excluded.source,
        study_instance_uid = excluded.study_instance_uid,
        series_instance_uid = excluded.series_instance_uid,
        state = excluded.state,
        instance_count = excluded.instance_count,
        sop_instance_uids = excluded.sop_instance_uids,
        at = excluded.at
    """
).bindparams(bindparam("sop_instance_uids", type_=JSON(none_as_null=True)))


class Announcements:
    def __init__(self, database: Database) -> None:
        self._database = database

    def announce(self, *said: Announcement) -> None:
        """Make known what is said, in place of what was said before under the same kind and key.

        Committed when this returns; all of it, or nothing where this raises.
        """
        with self._database.write() as connection:
            write_announcements(connection, said)
            record(connection, lacking(connection, said))

    def of_study(self, study_instance_uid: str) -> tuple[Announcement, ...]:
        """All that is said of a study and of its series, oldest first."""
        with self._database.read() as connection:
            return announced_by(connection, announcement.c.study_instance_uid == study_instance_uid)


def write_announcements(connection: Connection, said: Iterable[Announcement]) -> None:
    """As `Announcements.announce`, in a transaction of the caller."""
    rows = [asdict(item) for item in said]
    if rows:
        connection.execute(_ANNOUNCE, rows)


def announced_by(connection: Connection, *where: ColumnElement[bool]) -> tuple[Announcement, ...]:
    """What is announced now, oldest first."""
    query = select(announcement).where(*where).order_by(announcement.c.at, announcement.c.announcement_id)
    return tuple(_announcement(row) for row in connection.execute(query))


def lacking(connection: Connection, said: Iterable[Announcement]) -> list[Event]:
    """Alarms for series that were judged whole before it was said that they have more images than came."""
    lists = [one for one in said if one.kind != "c-find" and one.state == "completed" and one.sop_instance_uids]
    return [event for one in lists for event in _lacking(connection, one)]


def _lacking(connection: Connection, told: Announcement) -> list[Event]:
    judged = connection.execute(
        select(series.c.series_id, series.c.revision).where(
            series.c.study_instance_uid == told.study_instance_uid,
            series.c.series_instance_uid == told.series_instance_uid,
            series.c.state == "whole",
        )
    ).first()
    if judged is None:
        return []
    came = select(instance.c.sop_instance_uid).where(instance.c.series_id == judged.series_id)
    listed = set(told.sop_instance_uids or ())
    missing = sorted(listed - set(connection.execute(came).scalars()))
    count = len(missing)
    for start in range(0, len(missing), _AT_ONCE):
        count -= len(rejected_codes(connection, missing[start : start + _AT_ONCE]))
    if not count:
        return []
    text = f"{told.source} lists {len(listed)} images of a series that was judged whole before: {count} did not come"
    return [
        Event(
            "series_lacking",
            text,
            severity="alarm",
            study_instance_uid=told.study_instance_uid,
            series_instance_uid=told.series_instance_uid,
            data={"revision": judged.revision, "missing": count},
        )
    ]


def _announcement(row: Row[Any]) -> Announcement:
    values = {name: row._mapping[name] for name in Announcement.__dataclass_fields__}
    if values["sop_instance_uids"] is not None:
        values["sop_instance_uids"] = tuple(values["sop_instance_uids"])
    return Announcement(**values)
