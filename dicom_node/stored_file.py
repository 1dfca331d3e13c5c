"""A Part 10 file that stays in its store while it is sent: what is large is never in memory as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from xxhash import xxh3_128_digest

from storage.errors import StorageUnavailable
from storage.objects.protocol import KeptObject

PIECE_BYTES = 1024**2


class StoredFile:
    """The bytes of an object from `begin` on, by slices; read when they are asked for, a piece at a time.

    Only one thread at a time may use it. To slice it raises UnknownObject where the object is gone or cut short, and
    StorageUnavailable, also where a piece is not what `sha256` was taken of.
    """

    def __init__(self, kept: KeptObject, begin: int = 0, sums: tuple[bytes, ...] = ()) -> None:
        """sums: of each piece of the object, where `sha256` found them."""
        self._kept, self._begin, self._sums = kept, begin, sums
        self._piece, self._number = memoryview(b""), -1

    def __len__(self) -> int:
        return self._kept.size_bytes - self._begin

    def __getitem__(self, where: slice) -> memoryview:
        """where: without a step."""
        first, last, _ = where.indices(len(self))
        parts = list(self._parts(self._begin + first, self._begin + max(first, last)))
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    def sha256(self) -> str:
        """Of the whole object, in hexadecimal digits. From now on no other bytes are handed out. Raises as a slice does."""
        summed, sums = hashlib.sha256(), []
        for piece in self._parts(0, self._kept.size_bytes):
            summed.update(piece)
            sums.append(xxh3_128_digest(piece))
        self._sums = tuple(sums)
        return summed.hexdigest()

    def behind(self, begin: int) -> StoredFile:
        """The same without its first bytes."""
        return StoredFile(self._kept, self._begin + begin, self._sums)

    def pieces(self) -> Iterator[memoryview]:
        return self._parts(self._begin, self._kept.size_bytes)

    def _parts(self, at: int, end: int) -> Iterator[memoryview]:
        """Bytes of the object, in parts that end where its pieces do."""
        while at < end:
            number, skipped = divmod(at, PIECE_BYTES)
            part = self._read(number)[skipped : skipped + end - at]
            yield part
            at += len(part)

    def _read(self, number: int) -> memoryview:
        if number != self._number:
            start = number * PIECE_BYTES
            piece = self._kept.read(start, min(PIECE_BYTES, self._kept.size_bytes - start))
            if self._sums and xxh3_128_digest(piece) != self._sums[number]:
                raise StorageUnavailable(
                    f"a stored object was changed at byte {start} or behind since its SHA-256 was taken"
                )
            self._piece, self._number = memoryview(piece), number
        return self._piece


def sha256_of(part10: bytes | StoredFile) -> str:
    """In hexadecimal digits. Raises as `StoredFile.sha256`."""
    return part10.sha256() if isinstance(part10, StoredFile) else hashlib.sha256(part10).hexdigest()


def pieces_of(part10: bytes | StoredFile) -> Iterator[bytes | memoryview]:
    return part10.pieces() if isinstance(part10, StoredFile) else iter((part10,))


def whole(part10: bytes | StoredFile) -> bytes:
    """For what can be done only with all of it."""
    return b"".join(part10.pieces()) if isinstance(part10, StoredFile) else part10
