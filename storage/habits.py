"""How sources pause inside a series: of each that was judged, its longest silence. What is learned from it is no matter here."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import Connection, select, text

from storage.database import Database
from storage.records.arriving import Silence
from storage.schema import habit

# A late image makes the silence of a series longer than it was thought to be, never shorter.
_RECORD = text(
    """
    insert into habit (series_id, calling_ae_title, longest_gap_s, longest_pause_s, longest_end_s, at)
    values (:series_id, :calling_ae_title, :longest_gap_s, :longest_pause_s, :longest_end_s, :at)
    on conflict (series_id) do update set
        longest_gap_s = case when excluded.longest_gap_s > habit.longest_gap_s
            then excluded.longest_gap_s else habit.longest_gap_s end,
        longest_pause_s = case when excluded.longest_pause_s > habit.longest_pause_s
            then excluded.longest_pause_s else habit.longest_pause_s end,
        longest_end_s = case when excluded.longest_end_s > habit.longest_end_s
            then excluded.longest_end_s else habit.longest_end_s end,
        at = excluded.at
    """
)


class Habits:
    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, calling_ae_title: str, *, limit: int, before: float | None = None) -> tuple[Silence, ...]:
        """The longest silences of the series that this source sent last, the latest first; before a moment, if given."""
        query = select(habit).where(habit.c.calling_ae_title == calling_ae_title)
        if before is not None:
            query = query.where(habit.c.at < before)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(habit.c.at.desc()).limit(limit))
            return tuple(Silence(**{name: row._mapping[name] for name in Silence.__dataclass_fields__}) for row in rows)


def write_silence(connection: Connection, series_id: int, silence: Silence) -> None:
    """Record the longest silences of a series that is judged, or judged again."""
    connection.execute(_RECORD, {"series_id": series_id, **asdict(silence)})
