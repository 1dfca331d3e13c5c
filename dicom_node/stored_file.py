"""A Part 10 file that stays in its store while it is sent: what is large is never in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator

from storage.objects.protocol import KeptObject

PIECE_BYTES = 1024**2


class StoredFile:
    """The bytes of an object from `begin` on, by slices; read when they are asked for, a piece ahead.

    Only one thread at a time may use it. To slice it raises UnknownObject where the object is gone, and StorageUnavailable.
    """

    def __init__(self, kept: KeptObject, begin: int = 0) -> None:
        self._kept, self._begin = kept, begin
        self._piece, self._piece_at = memoryview(b""), 0

    def __len__(self) -> int:
        return self._kept.size_bytes - self._begin

    def __getitem__(self, where: slice) -> memoryview:
        """where: without a step."""
        first, last, _ = where.indices(len(self))
        last = max(first, last)
        if first < self._piece_at or last > self._piece_at + len(self._piece):
            length = max(last - first, min(PIECE_BYTES, len(self) - first))
            self._piece, self._piece_at = memoryview(self._kept.read(self._begin + first, length)), first
        return self._piece[first - self._piece_at : last - self._piece_at]

    def behind(self, begin: int) -> StoredFile:
        """The same without its first bytes."""
        return StoredFile(self._kept, self._begin + begin)

    def pieces(self) -> Iterator[memoryview]:
        return (self[at : at + PIECE_BYTES] for at in range(0, len(self), PIECE_BYTES))


def pieces_of(part10: bytes | StoredFile) -> Iterator[bytes | memoryview]:
    return part10.pieces() if isinstance(part10, StoredFile) else iter((part10,))


def whole(part10: bytes | StoredFile) -> bytes:
    """For what can be done only with all of it."""
    return b"".join(part10.pieces()) if isinstance(part10, StoredFile) else part10
