"""What others say of a series or a study: performed procedure steps, availability notifications, C-FIND answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sqlalchemy import JSON, Connection, Row, bindparam, select, text

from storage.database import Database
from storage.records import Announcement
from storage.schema import announcement

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

    def of_study(self, study_instance_uid: str) -> tuple[Announcement, ...]:
        """All that is said of a study and of its series, oldest first."""
        query = (
            select(announcement)
            .where(announcement.c.study_instance_uid == study_instance_uid)
            .order_by(announcement.c.at, announcement.c.announcement_id)
        )
        with self._database.read() as connection:
            return tuple(_announcement(row) for row in connection.execute(query))


def write_announcements(connection: Connection, said: Iterable[Announcement]) -> None:
    """As `Announcements.announce`, in a transaction of the caller."""
    rows = [asdict(item) for item in said]
    if rows:
        connection.execute(_ANNOUNCE, rows)


def _announcement(row: Row[Any]) -> Announcement:
    values = {name: row._mapping[name] for name in Announcement.__dataclass_fields__}
    if values["sop_instance_uids"] is not None:
        values["sop_instance_uids"] = tuple(values["sop_instance_uids"])
    return Announcement(**values)
