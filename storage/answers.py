"""What peers were answered that was no success: counted here for good, whatever becomes of events and logs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from sqlalchemy import select, text

from storage.database import Database
from storage.records.events import Answer
from storage.schema import answer

# Several processes add to one row, each what it counted since it last did. One that is late with the counts of
# yesterday does not begin that day anew.
_ADD = text(
    """
    insert into answer (kind, status, calling_ae_title, count, day, day_count, last_at)
    values (:kind, :status, :calling_ae_title, :count, :day, :day_count, :last_at)
    on conflict (kind, status, calling_ae_title) do update set
        count = answer.count + excluded.count,
        day_count = case
            when excluded.day > answer.day then excluded.day_count
            when excluded.day = answer.day then answer.day_count + excluded.day_count
            else answer.day_count end,
        day = case when excluded.day > answer.day then excluded.day else answer.day end,
        last_at = case when excluded.last_at > answer.last_at then excluded.last_at else answer.last_at end
    """
)


class Answers:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, counted: Iterable[Answer]) -> None:
        """Add to what is counted already; all of it, or nothing where this raises."""
        rows = [asdict(item) for item in counted]
        if rows:
            with self._database.write() as connection:
                connection.execute(_ADD, rows)

    def all(self) -> tuple[Answer, ...]:
        """The latest first."""
        query = select(answer).order_by(answer.c.last_at.desc(), answer.c.kind, answer.c.status)
        with self._database.read() as connection:
            return tuple(Answer(**row._mapping) for row in connection.execute(query))
