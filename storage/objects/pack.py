"""Many objects in one file, appended one after the other: each is on the disk after a single sync.

A record is a head, a note of whoever keeps the object (opaque here), and the object itself. The head is written last:
until it stands there whole, with lengths and checksums that hold, there is no record. Each record is synced before the
next one is begun: only the last one can be torn by a crash.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from xxhash import xxh3_128

from storage.errors import UnknownObject
from storage.objects.part import FilePart

_MAGIC = b"DNPACK2"
_ALIVE, _DELETED = _MAGIC + b"+", _MAGIC + b"-"
_SEALED = b"DNPACK2 all indexed."
# The text; where the records end; CRC-32 of both and of the file's name, which is random and which no peer learns.
_SEAL = struct.Struct("<20sQI")
# magic; bytes of note, prefix, payload; CRC-32 of note and prefix; XXH3 of the payload; CRC-32 of the head itself.
# These sums tell what a crash left whole from what it tore; no attacker is between the writer and the disk.
_HEAD = struct.Struct("<8sIIQI16sI")
HEAD_BYTES = _HEAD.size
_FIELDS = struct.Struct("<IIQI16s")
_SUM = struct.Struct("<I")
_SUMMED = slice(8, _HEAD.size - 4)
_READ_BYTES = 1 << 20
_PAGE_BYTES = 4096
_ZEROS = memoryview(bytes(_PAGE_BYTES))
_SUM_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Span:
    """Where a record stands in its pack."""

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Head:
    is_alive: bool
    note_bytes: int
    prefix_bytes: int
    payload_bytes: int
    prefix_crc: int
    payload_sum: bytes

    @property
    def length(self) -> int:
        return _HEAD.size + self.note_bytes + self.prefix_bytes + self.payload_bytes


@dataclass(frozen=True, slots=True)
class Record:
    """A whole record of a pack: the note, and what an object consists of."""

    span: Span
    is_alive: bool
    note: bytes


class PackWriter:
    """One pack, held by one writer, of which one record at a time is being written.

    descriptor: of a file that is the writer's alone, empty or of zeros, open for reading and writing; its entry in the
    folder is synced. Raises OSError from everything.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._descriptor = descriptor
        self.path = path
        self._start = self._at = 0
        self._zeros_until = os.fstat(descriptor).st_size
        self._opening: tuple[bytes, bytes] = (b"", b"")
        self._is_opening_due = False
        self._payload_bytes = 0
        self._sum = xxh3_128()

    @property
    def size_bytes(self) -> int:
        """Bytes of whole records."""
        return self._start

    @property
    def payload_bytes(self) -> int:
        return self._payload_bytes

    def begin(self, note: bytes, prefix: bytes) -> None:
        """Begin a record: the note, and what stands in the object before the payload; written with what comes first of it."""
        self._opening, self._is_opening_due = (note, prefix), True
        self._payload_bytes = 0
        self._sum.reset()

    def write(self, fragments: Sequence[memoryview]) -> None:
        """Append to the payload."""
        for fragment in fragments:
            self._sum.update(fragment)
            self._payload_bytes += len(fragment)
        self._write(fragments)

    def map(self) -> mmap.mmap:
        """The pack as far as it is written; the payload is its last `payload_bytes`. The caller closes it."""
        return mmap.mmap(self._descriptor, self._at, prot=mmap.PROT_READ)

    @property
    def payload_sum(self) -> str:
        """`content_sum` of the payload so far; once a record is whole, of its own, until the next is begun."""
        return self._sum.hexdigest()

    def commit(self) -> Span:
        """Make the record whole: on the disk when this returns."""
        if self._is_opening_due:
            self._write(())
        note, prefix = self._opening
        fields = _FIELDS.pack(
            len(note), len(prefix), self.payload_bytes, zlib.crc32(prefix, zlib.crc32(note)), self._sum.digest()
        )
        head = _ALIVE + fields + _SUM.pack(zlib.crc32(fields))
        if os.pwrite(self._descriptor, head, self._start) != len(head):
            raise OSError("a record's head was written in part")
        os.fdatasync(self._descriptor)
        span = Span(self._start, self._at - self._start)
        self._start = self._at
        return span

    def abandon(self) -> None:
        """Take back what was written since the last whole record.

        What a peer sent must not stay behind it, not even unread: with heads of its own making it would be read as
        records once a shorter one stood before them.
        """
        if self._at != self._start:
            self._at = self._zeros_until = self._start
            os.ftruncate(self._descriptor, self._start)

    def close(self, *, sealed: bool) -> None:
        """sealed: whoever reads packs after a crash need not look into this one. One without a living record is removed."""
        try:
            if self._start == 0:
                self.path.unlink(missing_ok=True)
            elif sealed:
                settle(self.path, self._descriptor, self._start)
        finally:
            os.close(self._descriptor)

    def _write(self, parts: Sequence[bytes | memoryview]) -> None:
        """Append. Of zeros that stand there already a page is made full: else the system may have to read it first."""
        if self._is_opening_due:
            parts, self._is_opening_due = (*self._opening, *parts), False
            self._at = self._start + _HEAD.size
        start, end = self._at, self._at + sum(map(len, parts))
        missing = -end % _PAGE_BYTES
        if end + missing <= self._zeros_until:
            parts = (*parts, _ZEROS[:missing])
        self._at += os.pwritev(self._descriptor, parts, start)
        if self._at < end:  # a signal, or a disk that is nearly full
            rest = memoryview(b"".join(parts))
            while self._at < end:
                self._at += os.pwrite(self._descriptor, rest[self._at - start :], self._at)
        self._at = end


def content_sum(content: bytes | memoryview) -> str:
    """XXH3, 128 bits in hex: tells contents apart that nobody made to have the same one. Where one matches, compare."""
    return xxh3_128(content).hexdigest()


def is_sum_of(said: str, content: bytes | memoryview) -> bool:
    """Whether a content has the sum that a row says; rows of an older version have one by SHA-256."""
    return said == (content_sum(content) if len(said) == _SUM_DIGITS else sha256(content).hexdigest())


def locked(path: Path, mode: int) -> int:
    """A descriptor of a new file, locked: so a living writer's pack is told from a dead one's. Raises OSError.

    Until it is locked, another process may take it for a dead one's and remove it: then it is made anew.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)


def read_object(path: Path, span: Span) -> bytes:
    """Raises UnknownObject where no whole record that lives stands there; OSError."""
    with path.open("rb", buffering=0) as file:
        part = _part(path, file.fileno(), span)
        found = _read(file.fileno(), part.size_bytes, part.start)
    if len(found) != part.size_bytes:
        raise UnknownObject(f"pack {path}: the object at byte {span.start} is cut short")
    return found


def part_of_pack(path: Path, span: Span) -> FilePart:
    """Where the object lies. Raises as `read_object`."""
    with path.open("rb", buffering=0) as file:
        return _part(path, file.fileno(), span)


def _part(path: Path, descriptor: int, span: Span) -> FilePart:
    head = head_at(descriptor, span.start)
    if head is None or not head.is_alive or head.length != span.length:
        raise UnknownObject(f"pack {path}: no object at byte {span.start}")
    return FilePart(path, span.start + _HEAD.size + head.note_bytes, head.prefix_bytes + head.payload_bytes)


def tail_of_object(path: Path, span: Span, size_bytes: int, piece_bytes: int) -> Iterator[bytes]:
    """The last bytes of an object, piece by piece. Raises as `read_object`."""
    with path.open("rb", buffering=0) as file:
        part = _part(path, file.fileno(), span)
        end = part.start + part.size_bytes
        yield from pieces(file.fileno(), end - min(size_bytes, part.size_bytes), end, piece_bytes)


def pieces(descriptor: int, start: int, end: int, piece_bytes: int) -> Iterator[bytes]:
    """Bytes of a file; fewer where it ends sooner."""
    for at in range(start, end, piece_bytes):
        yield _read(descriptor, min(piece_bytes, end - at), at)


def head_at(descriptor: int, start: int) -> Head | None:
    """The head that stands there, where its own sum holds."""
    raw = os.pread(descriptor, _HEAD.size, start)
    if len(raw) != _HEAD.size or raw[:8] not in {_ALIVE, _DELETED}:
        return None
    _, note, prefix, payload, prefix_crc, payload_sum, crc = _HEAD.unpack(raw)
    if zlib.crc32(raw[_SUMMED]) != crc:
        return None
    return Head(raw[:8] == _ALIVE, note, prefix, payload, prefix_crc, payload_sum)


def heads(descriptor: int) -> Iterator[tuple[Span, Head]]:
    """Of the records as one stands behind the other, whether their content is whole or not."""
    start = 0
    while (head := head_at(descriptor, start)) is not None:
        yield Span(start, head.length), head
        start += head.length


def is_head_damaged(descriptor: int, start: int) -> bool:
    """Whether a record stands there, or anywhere behind, though no head that holds leads to it."""
    if len(raw := os.pread(descriptor, _HEAD.size, start)) == _HEAD.size and raw[:8] in {_ALIVE, _DELETED}:
        return True
    for at in range(start, os.fstat(descriptor).st_size, _READ_BYTES):
        chunk, found = _read(descriptor, _READ_BYTES + len(_MAGIC) - 1, at), -1
        while (found := chunk.find(_MAGIC, found + 1)) >= 0:
            if head_at(descriptor, at + found) is not None:
                return True
    return False


def record_at(descriptor: int, span: Span, head: Head, *, proven: bool) -> Record | None:
    """None where the content is not what its sums say. proven: sum up the payload as well."""
    opening = _read(descriptor, head.note_bytes + head.prefix_bytes, span.start + _HEAD.size)
    if os.fstat(descriptor).st_size < span.start + span.length:
        return None
    if zlib.crc32(opening) != head.prefix_crc or (proven and not _is_proven(descriptor, span.start, head)):
        return None
    return Record(span, head.is_alive, opening[: head.note_bytes])


def records(path: Path, *, proven: bool = False) -> Iterator[Record]:
    """The whole records of a pack, in order, deleted ones as well. proven: sum up the payloads as well."""
    with path.open("rb", buffering=0) as file:
        for span, head in heads(file.fileno()):
            if (record := record_at(file.fileno(), span, head, proven=proven)) is not None:
                yield record


def delete(path: Path, span: Span) -> None:
    """Mark a record as deleted; the file goes once none of its records lives and no writer holds it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        head = head_at(descriptor, span.start)
        if head is None or head.length != span.length:
            return
        os.pwrite(descriptor, _DELETED, span.start)
        end = sealed_at(path, descriptor)
        if end is not None and _is_spent(descriptor, end) and has_no_writer(descriptor):
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def sealed_at(path: Path, descriptor: int) -> int | None:
    """Where the records of a sealed pack end; None of one that is not sealed."""
    end = os.fstat(descriptor).st_size - _SEAL.size
    return end if end >= 0 and os.pread(descriptor, _SEAL.size, end) == _seal(path, end) else None


def settle(path: Path, descriptor: int, end: int) -> None:
    """All records before a byte are indexed or deleted: the pack is sealed there, or removed where none of them lives.

    What stands behind is cut off. Raises OSError.
    """
    if _is_spent(descriptor, end):
        path.unlink(missing_ok=True)
        return
    os.ftruncate(descriptor, end)
    os.fdatasync(descriptor)  # what was deleted: after a power cut nobody would look for it in a pack that is sealed
    os.pwrite(descriptor, _seal(path, end), end)


def _seal(path: Path, end: int) -> bytes:
    return _SEAL.pack(_SEALED, end, zlib.crc32(f"{path.name} {end}".encode(), zlib.crc32(_SEALED)))


def _is_spent(descriptor: int, end: int) -> bool:
    """Whether all that stands before a byte are records that were deleted."""
    at = 0
    for span, head in heads(descriptor):
        if span.start >= end:
            break
        if head.is_alive:
            return False
        at = span.start + span.length
    return at == end


def has_no_writer(descriptor: int) -> bool:
    """Whether the writer of a file is dead: a living one holds the lock, in whatever process; this one does then."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_proven(descriptor: int, start: int, head: Head) -> bool:
    summed, at = xxh3_128(), start + head.length - head.payload_bytes
    end = start + head.length
    while at < end:
        chunk = _read(descriptor, min(_READ_BYTES, end - at), at)
        if not chunk:
            return False
        summed.update(chunk)
        at += len(chunk)
    return summed.digest() == head.payload_sum


def _read(descriptor: int, length: int, start: int) -> bytes:
    parts, at = [], start
    while at < start + length:
        part = os.pread(descriptor, start + length - at, at)
        if not part:
            break
        parts.append(part)
        at += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
