"""Memory for large arrays, taken page by page where it is written to.

numpy asks the kernel for huge pages. On a machine that has run for long the kernel must first move other pages to make them,
which can take longer than all of the reading; and a mask of which a little is set would take room as if all of it were.

To be given new pages takes most of the time in which a volume is read, so what one volume leaves is kept a while for the next.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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
_MOST_TOO_LARGE = 1.5
_F_SEAL_FUTURE_WRITE = 0x10


@dataclass(slots=True, eq=False)
class _Room:
    """borrower: the only one that it is ever lent to, if any; then descriptor is of the same memory. address: where it begins."""

    mapping: mmap.mmap
    address: int
    borrower: str | None = None
    descriptor: int | None = None

    @property
    def is_free(self) -> bool:
        return _is_free(self.mapping)

    def __del__(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)


class Rooms:
    """The memory of large arrays, kept for those that follow when nothing refers to it any more.

    Whether anything does is known for certain: a mapping counts the buffers that were taken of it, and cannot be resized
    while there is one. A free room that the next array does not need, or that none needs for `idle_s`, goes back to the system.
    """

    def __init__(self, *, least_bytes: int = _LEAST_KEPT_BYTES, idle_s: float = _IDLE_S) -> None:
        self._least_bytes = least_bytes
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._kept: list[_Room] = []
        self._idle: list[_Room] = []
        self._watch: threading.Thread | None = None
        self._of = threading.local()

    @contextmanager
    def for_borrower(self, name: str | None) -> Iterator[None]:
        """What this thread asks for meanwhile is memory that a process can be lent as it is: `lendable`.

        Such a room is never used again for another one, which might still look at what it was lent before.
        """
        before = self._borrower
        self._of.borrower = name
        try:
            yield
        finally:
            self._of.borrower = before

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
            room = self._left(size_bytes) or _room(size_bytes, self._borrower)
            if room not in self._kept and len(self._kept) < _MOST_KEPT:
                self._kept.append(room)
            self._watched()
            return np.frombuffer(room.mapping, scalar, count).reshape(shape)

    def lendable(self, array: NDArray[Any], borrower: str) -> int | None:
        """A descriptor of memory that begins with the array's elements, which the borrower may read and never write.

        It is the room's own: who lends it leaves it open. None where the array is no such memory.
        """
        begins = array.__array_interface__["data"][0]
        with self._lock:
            for room in self._kept:
                if room.borrower == borrower and room.address == begins and array.flags.c_contiguous:
                    return room.descriptor
        return None

    @property
    def kept_bytes(self) -> int:
        """Of the rooms that are in use, or kept for what comes next."""
        return sum(len(room.mapping) for room in self._kept)

    @property
    def _borrower(self) -> str | None:
        found: str | None = getattr(self._of, "borrower", None)
        return found

    def _left(self, size_bytes: int) -> _Room | None:
        """The free room that fits best, made to fit. The other free ones are given up: nothing needed them."""
        free = [room for room in self._kept if room.is_free]
        self._kept = [room for room in self._kept if room not in free]
        fit = [room for room in free if room.borrower == self._borrower]
        for room in sorted(fit, key=lambda room: abs(len(room.mapping) - size_bytes))[:1]:
            if not _made_to_fit(room, size_bytes):
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
                self._kept = [room for room in self._kept if not (room in self._idle and room.is_free)]
                self._idle = [room for room in self._kept if room.is_free]
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


def _room(size_bytes: int, borrower: str | None) -> _Room:
    if borrower is not None:
        # Where the system has no such memory, what is lent is copied.
        with suppress(OSError, OverflowError, ValueError):
            return _lendable(size_bytes, borrower)
    mapping = _mapping(size_bytes)
    return _Room(mapping, _address(mapping))


def _lendable(size_bytes: int, borrower: str) -> _Room:
    _mapping(size_bytes).close()  # asks whether there is room for it: a memfd only learns that page by page
    descriptor = os.memfd_create("dicom-node", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.truncate(descriptor, size_bytes)
        mapping = mmap.mmap(descriptor, size_bytes)
        # This process has the only mapping that is ever written to, and nobody takes its pages away.
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL | _F_SEAL_FUTURE_WRITE
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        os.close(descriptor)
        raise
    return _Room(mapping, _address(mapping), borrower, descriptor)


def _made_to_fit(room: _Room, size_bytes: int) -> bool:
    """What is lent keeps its size, and may be larger than what it is used for."""
    if room.descriptor is not None:
        fits = size_bytes <= len(room.mapping) <= _MOST_TOO_LARGE * size_bytes
        if fits:  # who is lent it sees all of it, and nothing may be left there of what it is not given
            np.frombuffer(room.mapping, np.uint8)[size_bytes:] = 0
        return fits
    try:
        room.mapping.resize(size_bytes)
    except (OSError, SystemError):
        return False
    room.address = _address(room.mapping)
    return True


def _address(mapping: mmap.mmap) -> int:
    begins: int = np.frombuffer(mapping, np.uint8, 1).__array_interface__["data"][0]
    return begins


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
