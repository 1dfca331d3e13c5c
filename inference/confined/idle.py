"""What a model process does with its memory while nobody asks it anything."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable

from inference.confined.figures import available_bytes, taken_bytes

IDLE_S = 10.0


class Idle:
    """The memory that networks leave is kept for the next volume, and goes back to the system when none comes."""

    def __init__(self, idle_s: float = IDLE_S) -> None:
        self._idle_s = idle_s
        self._until = float("inf")
        self._trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's

    def begins(self) -> None:
        self._until = time.monotonic() + self._idle_s
        # Another model computes from now on, and may need as much.
        if available_bytes() < taken_bytes(os.getpid()):
            self._give_back()

    def seen(self) -> None:
        """Called again and again while nothing comes."""
        if time.monotonic() >= self._until:
            self._until = float("inf")
            self._give_back()

    def _give_back(self) -> None:
        if self._trim:
            self._trim(0)
