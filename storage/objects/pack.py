"""Many objects in one file, appended one after the other: each is on the disk after a single sync.

A record is a head, a note of whoever keeps the object (opaque here), and the object itself. The head is written last:
until it stands there whole, with lengths and checksums that hold, there is no record. What a crash leaves behind the
last whole record is never looked at.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xxhash import xxh3_128

from storage.errors import UnknownObject

_ALIVE, _DELETED = b"DNPACK2+", b"DNPACK2-"
_SEALED = b"DNPACK2 all indexed."
# magic; bytes of note, prefix, payload; CRC-32 of note and prefix; XXH3 of the payload; CRC-32 of the head itself.
# These sums tell what a crash left whole from what it tore; no attacker is between the writer and the disk.
_HEAD = struct.Struct("<8sIIQI16sI")
_FIELDS = struct.Struct("<IIQI16s")
_SUM = struct.Struct("<I")
_SUMMED = slice(8, _HEAD.size - 4)
_READ_BYTES = 1 << 20
_DIGEST_BYTES = 256 * 1024
_BUFFER = threading.local()


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
        self._opening: tuple[bytes, bytes] = (b"", b"")
        self._sum = xxh3_128()

    @property
    def is_lost(self) -> bool:
        """Whether somebody took the new file for a dead writer's and removed it before it was locked."""
        return os.fstat(self._descriptor).st_nlink == 0

    @property
    def size_bytes(self) -> int:
        """Bytes of whole records."""
        return self._start

    @property
    def payload_bytes(self) -> int:
        return self._at - self._start - _HEAD.size - sum(map(len, self._opening))

    def begin(self, note: bytes, prefix: bytes) -> None:
        """Begin a record: the note, and what stands in the object before the payload."""
        self._opening = note, prefix
        self._sum.reset()
        self._at = self._start + _HEAD.size
        self._write((note, prefix))

    def write(self, fragments: Sequence[memoryview]) -> None:
        """Append to the payload."""
        for fragment in fragments:
            self._sum.update(fragment)
        self._write(fragments)

    def map(self) -> mmap.mmap:
        """The pack as far as it is written; the payload is its last `payload_bytes`. The caller closes it."""
        return mmap.mmap(self._descriptor, self._at, prot=mmap.PROT_READ)

    def read(self, length: int, start: int) -> bytes:
        """Bytes of the file."""
        return _read(self._descriptor, length, start)

    def commit(self) -> Span:
        """Make the record whole: on the disk when this returns."""
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
            self._at = self._start
            os.ftruncate(self._descriptor, self._start)

    def close(self, *, sealed: bool) -> None:
        """sealed: whoever reads packs after a crash need not look into this one. A pack without a record is removed."""
        try:
            if self._start == 0:
                self.path.unlink(missing_ok=True)
            elif sealed:
                seal(self._descriptor, self._start)
        finally:
            os.close(self._descriptor)

    def _write(self, parts: Sequence[bytes | memoryview]) -> None:
        length = sum(map(len, parts))
        count = os.pwritev(self._descriptor, parts, self._at)
        self._at += count
        if count != length:  # a signal, or a disk that is nearly full
            rest = memoryview(b"".join(parts))[count:]
            while rest:
                count = os.pwrite(self._descriptor, rest, self._at)
                self._at += count
                rest = rest[count:]


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
        head = _read_head(file.fileno(), span.start)
        if head is None or not head.is_alive or head.length != span.length:
            raise UnknownObject(f"pack {path}: no object at byte {span.start}")
        length = head.prefix_bytes + head.payload_bytes
        found = _read(file.fileno(), length, span.start + _HEAD.size + head.note_bytes)
    if len(found) != length:
        raise UnknownObject(f"pack {path}: the object at byte {span.start} is cut short")
    return found


def digest(path: Path, span: Span, payload_bytes: int) -> str:
    """SHA-256 of the payload of a record, in hex. Raises OSError, also where it is not there whole."""
    end = span.start + span.length
    digested, at = hashlib.sha256(), end - payload_bytes
    # One for each thread: pages that are new to a process cost more than what is read into them.
    view: memoryview = getattr(_BUFFER, "view", None) or memoryview(mmap.mmap(-1, _DIGEST_BYTES))
    _BUFFER.view = view
    with path.open("rb", buffering=0) as file:
        while at < end:
            count = os.preadv(file.fileno(), [view[: end - at]], at)
            if not count:
                raise OSError(f"the pack {path.name} ends within a record")
            digested.update(view[:count])
            at += count
    return digested.hexdigest()


def records(path: Path, *, proven: bool = False) -> Iterator[Record]:
    """The whole records of a pack, in order, deleted ones as well. proven: sum up the payloads as well."""
    with path.open("rb", buffering=0) as file:
        descriptor, start = file.fileno(), 0
        while (head := _read_head(descriptor, start)) is not None:
            opening = _read(descriptor, head.note_bytes + head.prefix_bytes, start + _HEAD.size)
            if zlib.crc32(opening) != head.prefix_crc or (proven and not _is_proven(descriptor, start, head)):
                return
            if os.fstat(descriptor).st_size < start + head.length:
                return
            yield Record(Span(start, head.length), head.is_alive, opening[: head.note_bytes])
            start += head.length


def delete(path: Path, span: Span) -> None:
    """Mark a record as deleted; the file goes once none of its records lives and no writer holds it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        head = _read_head(descriptor, span.start)
        if head is None or head.length != span.length:
            return
        os.pwrite(descriptor, _DELETED, span.start)
        if not any(record.is_alive for record in records(path)) and _has_no_writer(descriptor):
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def is_sealed(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size >= len(_SEALED) and os.pread(descriptor, len(_SEALED), size - len(_SEALED)) == _SEALED


def seal(descriptor: int, end: int) -> None:
    """Say of a pack that all its records are indexed; what stands behind the last one is cut off."""
    os.ftruncate(descriptor, end)
    os.fdatasync(descriptor)  # what was deleted: after a power cut nobody would look for it in a pack that is sealed
    os.pwrite(descriptor, _SEALED, end)


def _has_no_writer(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_head(descriptor: int, start: int) -> Head | None:
    raw = os.pread(descriptor, _HEAD.size, start)
    if len(raw) != _HEAD.size or raw[:8] not in {_ALIVE, _DELETED}:
        return None
    _, note, prefix, payload, prefix_crc, payload_sum, crc = _HEAD.unpack(raw)
    if zlib.crc32(raw[_SUMMED]) != crc:
        return None
    return Head(raw[:8] == _ALIVE, note, prefix, payload, prefix_crc, payload_sum)


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
