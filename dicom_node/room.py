"""How much room is left, and what does that mean for the work of the node?

Room is free bytes, at each place that rows and objects are written to. The tightest place decides. Three marks stand
one below the other: at the first people are warned, at the second optional work waits, at the third no instance is
taken in. What is left below the third mark is for results and the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# ok: all work goes on. low: so does it, with a warning. paused: routine jobs wait. full: instances are refused as well.
Level = Literal["ok", "low", "paused", "full"]

# A level is left only when this share of its mark is free above it: what is written and removed all the time at a mark
# would otherwise turn work on and off with it.
_MARGIN = 1 / 8
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True, slots=True)
class Marks:
    """Free bytes below which a level begins; each mark is at least the next one."""

    warn_bytes: int
    pause_bytes: int
    min_bytes: int


def marks_from(min_bytes: int, pause_bytes: int | None = None, warn_bytes: int | None = None) -> Marks:
    """The marks as configured: a mark that is left out is twice the one below it."""
    pause_bytes = 2 * min_bytes if pause_bytes is None else pause_bytes
    return Marks(2 * pause_bytes if warn_bytes is None else warn_bytes, pause_bytes, min_bytes)


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere that room is needed: its name for people, and the bytes that are free there."""

    name: str
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Room:
    """places: the tightest first; none where no backend says what is free."""

    level: Level
    places: tuple[Place, ...]
    marks: Marks

    @property
    def routine_waits(self) -> bool:
        """Whether routine jobs wait; STAT jobs, deliveries and all that runs already go on."""
        return self.level in ("paused", "full")

    def has_for(self, more_bytes: int) -> bool:
        """Whether an instance may take so many bytes more."""
        if self.level == "full":
            return False
        return not self.places or self.places[0].free_bytes - more_bytes >= max(1, self.marks.min_bytes)

    def in_words(self) -> str:
        """Where the least room is, which mark that is below, and what the node does about it."""
        if not self.places:
            return "the stores do not say how much room is left"
        tightest, (mark, consequence) = self.places[0], _SAID[self.level]
        free = f"{size_in_words(tightest.free_bytes)} are free {tightest.name}"
        if not mark:
            return f"{free}: {consequence}"
        bound = {
            "storage.warn_free_bytes": self.marks.warn_bytes,
            "storage.pause_free_bytes": self.marks.pause_bytes,
            "storage.min_free_bytes": self.marks.min_bytes,
        }[mark]
        below = "less than" if tightest.free_bytes < bound else "not enough above"
        return f"{free}, {below} {mark} ({size_in_words(bound)}): {consequence}"


_SAID: dict[Level, tuple[str, str]] = {
    "ok": ("", "all work goes on"),
    "low": ("storage.warn_free_bytes", "make room before work must wait"),
    "paused": ("storage.pause_free_bytes", "routine jobs wait, STAT jobs and deliveries go on"),
    "full": ("storage.min_free_bytes", "instances are refused and routine jobs wait"),
}


def judge(places: Sequence[Place], marks: Marks, before: Level = "ok") -> Room:
    """What so much room means now. before: the level until now, which is left only with a margin above its mark."""
    ordered = tuple(sorted(places, key=lambda place: place.free_bytes))
    level: Level = _level(ordered[0].free_bytes, marks, before) if ordered else "ok"
    return Room(level, ordered, marks)


def _level(free_bytes: int, marks: Marks, before: Level) -> Level:
    levels: tuple[tuple[Level, int], ...] = (
        ("full", marks.min_bytes),
        ("paused", marks.pause_bytes),
        ("low", marks.warn_bytes),
    )
    was_reached = False
    for level, mark in levels:
        was_reached = was_reached or level == before
        if free_bytes < mark + (mark * _MARGIN if was_reached else 0):
            return level
    return "ok"


def size_in_words(size_bytes: int) -> str:
    """1.5 GiB, 700 MiB, 12 bytes."""
    size, unit = float(max(0, size_bytes)), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{f'{size:.2f}'.rstrip('0').rstrip('.')} {_UNITS[unit]}"
