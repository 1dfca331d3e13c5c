"""A result as a DICOM file (PS3.10 section 7), in pieces: frames that are in memory as they are need not be there again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

Piece = bytes | memoryview


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """So many frames of `size_bytes` each, which end a file. each: the bytes of one by its index, made when it is asked for."""

    count: int
    size_bytes: int
    each: Callable[[int], memoryview]


@dataclass(frozen=True, slots=True)
class DicomFile:
    """Its pieces, one after the other; it may be walked several times.

    head: the whole file; or all that comes before the values of its frames, where there are any.
    """

    head: bytes
    frames: Frames | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.head) + (self.frames.count * self.frames.size_bytes if self.frames else 0)

    def __iter__(self) -> Iterator[Piece]:
        yield self.head
        if self.frames:
            yield from map(self.frames.each, range(self.frames.count))

    def whole(self) -> bytes:
        """In one piece; a copy where there are several."""
        return b"".join(self) if self.frames else self.head

    def blocks(self, at: int, size_bytes: int) -> Iterator[memoryview]:
        """What is from `at` on in blocks of one size, whatever the pieces; less than a block at the end is left out."""
        rest = memoryview(b"")
        for piece in self:
            view = memoryview(piece)[at:]
            at = max(0, at - len(piece))
            view = memoryview(b"".join([rest, view])) if rest else view
            end = len(view) // size_bytes * size_bytes
            for begin in range(0, end, size_bytes):
                yield view[begin : begin + size_bytes]
            rest = view[end:]
