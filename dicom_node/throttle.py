"""Tells of what happens again and again only now and then, so that a peer cannot fill the database with events."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

_REMEMBERED = 1024


class Throttle:
    """interval_s: how long one telling of a thing lasts."""

    def __init__(self, interval_s: float, clock: Callable[[], float]) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._told: dict[Hashable, float] = {}
        self._lock = threading.Lock()

    def lets(self, thing: Hashable) -> bool:
        """Whether it is time to tell of this."""
        now = self._clock()
        with self._lock:
            last = self._told.get(thing)
            if last is not None and now - last < self._interval_s:
                return False
            if len(self._told) >= _REMEMBERED:
                self._told.clear()
            self._told[thing] = now
            return True
