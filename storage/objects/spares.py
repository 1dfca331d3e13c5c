"""Packs made ready before they are needed: files of zeros on the disk, whose blocks are then only written over.

A file that grows has its new size and its new blocks committed by the file system at each sync; one that has them
already is synced in less than half the time. The price is that what is received is written twice, the first time while
nobody waits for it.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path

from storage.disk import free_bytes
from storage.objects.pack import locked

PACK_BYTES = 64 * 1024 * 1024
_PIECE = bytes(1024 * 1024)
# A disk that could not hold so many packs has better uses for its room.
_ROOM_IN_PACKS = 64


class Spares:
    """folder: where they are written, as files that their lock marks as this process's own. place: puts such a file where
    it is a pack, durably, and returns its path there: who takes it has nothing to wait for. Raises OSError from everything.
    """

    def __init__(self, folder: Path, mode: int, place: Callable[[Path], Path]) -> None:
        self._folder = folder
        self._mode = mode
        self._place = place
        self._ready: list[tuple[Path, int]] = []
        self._lock = threading.Lock()

    def take(self) -> tuple[Path, int] | None:
        """A pack of zeros and its descriptor, both the caller's from now on; None where none is ready."""
        with self._lock:
            return self._ready.pop() if self._ready else None

    def make(self, *, at_most: int, may_go_on: Callable[[], bool]) -> bool:
        """Make one more, unless there are enough or the disk is small. may_go_on: asked, and may wait, before each piece.

        True where one was made.
        """
        if len(self._ready) >= at_most or free_bytes(self._folder) <= _ROOM_IN_PACKS * PACK_BYTES:
            return False
        path = self._folder / secrets.token_hex(16)
        descriptor = locked(path, self._mode)
        try:
            for at in range(0, PACK_BYTES, len(_PIECE)):
                if not may_go_on() or os.pwrite(descriptor, _PIECE, at) != len(_PIECE):
                    raise InterruptedError("a pack was not made ready")
                os.fdatasync(descriptor)  # piece by piece: one sync of it all would keep those of others waiting
            os.fsync(descriptor)
            placed = self._place(path)
        except OSError as error:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            if isinstance(error, InterruptedError):
                return False
            raise
        with self._lock:
            self._ready.append((placed, descriptor))
        return True

    def close(self) -> None:
        """Give their room back."""
        while (spare := self.take()) is not None:
            path, descriptor = spare
            os.close(descriptor)
            path.unlink(missing_ok=True)
