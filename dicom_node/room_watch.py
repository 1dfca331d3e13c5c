"""Watches how much room is left, tells people when a mark is passed in either direction, and says what must wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from dicom_node import logs
from dicom_node.room import Level, Room
from dicom_node.room_gauge import Gauge
from storage.errors import StorageUnavailable
from storage.events import Events
from storage.records.events import Event

_LOOK_S = 1.0
_SAID: Mapping[Level, Event] = MappingProxyType(
    {
        "ok": Event("disk_ok", "there is room again"),
        "low": Event("disk_low", "the disk fills up", "warning"),
        "paused": Event("disk_paused", "there is little room", "warning"),
        "full": Event("disk_full", "there is no room", "alarm"),
    }
)
_LEVELS: Mapping[str, Level] = MappingProxyType({event.kind: level for level, event in _SAID.items()})

log = logs.get("room")


def last_level(events: Events) -> Level:
    """The level that people were last told of: it holds on over a restart, and for those who look from outside."""
    last = events.latest(tuple(_LEVELS))
    return "ok" if last is None else _LEVELS[last.kind]


class RoomWatch:
    """gauge: begun at the level that was told last, `told`."""

    def __init__(self, gauge: Gauge, events: Events, told: Level, clock: Callable[[], float] = time.monotonic) -> None:
        self._gauge = gauge
        self._events = events
        self._told = told
        self._clock = clock
        self._next_at = 0.0
        self.routine_waits = False

    def step(self) -> None:
        """Look, about once a second however often this is called. Never raises: a look that fails is repeated."""
        now = self._clock()
        if now < self._next_at:
            return
        self._next_at = now + _LOOK_S
        try:
            room = self._gauge.read()
            self.routine_waits = room.routine_waits
            if room.level != self._told:
                self._tell(room)
        except StorageUnavailable as error:
            log.error("room cannot be watched", error=error)

    def _tell(self, room: Room) -> None:
        event = _SAID[room.level]
        text = f"{event.text}: {room.in_words()}"
        self._events.record(replace(event, text=text))
        self._told = room.level
        log.warning("room for data", state=room.level, reason=room.in_words().lower())
