"""Memory for large arrays, taken page by page where it is written to.

numpy asks the kernel for huge pages. On a machine that has run for long the kernel must first move other pages to make them,
which can take longer than all of the reading; and a mask of which a little is set would take room as if all of it were.

To be given new pages takes most of the time in which a volume is read, so what one volume leaves is kept a while for the next.
"""

from __future__ import annotations

import math
import mmap
import threading
import time
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)

_LEAST_KEPT_BYTES = 32 << 20
"""New pages for less are no loss, and a small array must not take the place that a large one left."""
_MOST_KEPT = 2
"""One that is analysed, and one that is read meanwhile."""
_IDLE_S = 10.0


class Rooms:
    """The memory of large arrays, kept for those that follow when nothing refers to it any more.

    Whether anything does is known for certain: a mapping counts the buffers that were taken of it, and cannot be resized
    while there is one. A free room that the next array does not need, or that none needs for `idle_s`, goes back to the system.
    """

    def __init__(self, *, least_bytes: int = _LEAST_KEPT_BYTES, idle_s: float = _IDLE_S) -> None:
        self._least_bytes = least_bytes
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._kept: list[mmap.mmap] = []
        self._idle: list[mmap.mmap] = []
        self._watch: threading.Thread | None = None

    def array(self, shape: tuple[int, ...], scalar: type[Scalar]) -> NDArray[Scalar]:
        """An array that holds anything, another patient's voxels included: every element of it must be written.

        Raises MemoryError where there is no room for it.
        """
        count = math.prod(shape)
        size_bytes = count * np.dtype(scalar).itemsize
        if size_bytes < self._least_bytes:
            return zeros(shape, scalar)
        with self._lock:
            self._idle = []
            room = self._left(size_bytes) or _mapping(size_bytes)
            if room not in self._kept and len(self._kept) < _MOST_KEPT:
                self._kept.append(room)
            self._watched()
            return np.frombuffer(room, scalar, count).reshape(shape)

    @property
    def kept_bytes(self) -> int:
        """Of the rooms that are in use, or kept for what comes next."""
        return sum(map(len, self._kept))

    def _left(self, size_bytes: int) -> mmap.mmap | None:
        """The free room that fits best, made to fit. The other free ones are given up: nothing needed them."""
        free = sorted(filter(_is_free, self._kept), key=lambda room: abs(len(room) - size_bytes))
        self._kept = [room for room in self._kept if room not in free]
        for room in free[:1]:
            try:
                room.resize(size_bytes)
            except (OSError, SystemError):
                return None
            self._kept.append(room)
            return room
        return None

    def _watched(self) -> None:
        if self._watch is None or not self._watch.is_alive():
            self._watch = threading.Thread(target=self._give_up_idle, name="idle rooms", daemon=True)
            self._watch.start()

    def _give_up_idle(self) -> None:
        while True:
            time.sleep(self._idle_s)
            with self._lock:
                self._kept = [room for room in self._kept if not (room in self._idle and _is_free(room))]
                self._idle = list(filter(_is_free, self._kept))
                if not self._kept:
                    self._watch = None
                    return


class Scratch(threading.local):
    """Small arrays of each thread, one for each use: what is asked for again is the same memory, and holds anything.

    An array of half a megabyte that is made anew for each image costs more, in new pages, than to fill it.
    """

    def __init__(self) -> None:
        self._kept: dict[str, NDArray[np.uint8]] = {}

    def array(self, use: str, count: int, scalar: npt.DTypeLike) -> NDArray[Any]:
        """So many elements, one axis."""
        size_bytes = count * np.dtype(scalar).itemsize
        kept = self._kept.get(use)
        if kept is None or kept.size < size_bytes:
            kept = self._kept[use] = np.empty(size_bytes, np.uint8)
        return kept[:size_bytes].view(scalar)


def zeros(shape: tuple[int, ...], scalar: type[Scalar]) -> NDArray[Scalar]:
    """An array of zeros. Raises MemoryError where there is no room for it."""
    count = math.prod(shape)
    return np.frombuffer(_mapping(count * np.dtype(scalar).itemsize), scalar, count).reshape(shape)


def _mapping(size_bytes: int) -> mmap.mmap:
    try:
        return mmap.mmap(-1, max(1, size_bytes), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError, ValueError) as error:
        raise MemoryError(str(error)) from error


def _is_free(room: mmap.mmap) -> bool:
    try:
        room.resize(len(room))
    except (BufferError, SystemError):
        return False
    return True


VOXELS = Rooms()
"""Of this process."""
