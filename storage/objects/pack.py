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
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from storage.errors import UnknownObject

_ALIVE, _DELETED = b"DNPACK1+", b"DNPACK1-"
_SEALED = b"DNPACK1 all indexed."
# magic; bytes of note, prefix, payload; CRC-32 of note and prefix; SHA-256 of the payload; CRC-32 of the head itself.
_HEAD = struct.Struct("<8sIIQI32sI")
_HASHED = slice(8, _HEAD.size - 4)
_READ_BYTES = 1 << 20


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
    sha256: bytes

    @property
    def length(self) -> int:
        return _HEAD.size + self.note_bytes + self.prefix_bytes + self.payload_bytes


@dataclass(frozen=True, slots=True)
class Record:
    """A whole record of a pack: the note, and what an object consists of."""

    span: Span
    is_alive: bool
    note: bytes
    sha256: str


class PackWriter:
    """One pack, held by one writer, of which one record at a time is being written.

    path: a new file; its folder is there already, and is synced by the caller after this. Raises OSError from everything.
    """

    def __init__(self, path: Path, mode: int) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)  # tells a living writer's pack from a dead one's
        self.path = path
        self._start = self._at = 0
        self._opening: tuple[bytes, bytes] = (b"", b"")
        self._hash = hashlib.sha256()

    @property
    def size_bytes(self) -> int:
        """Bytes of whole records."""
        return self._start

    @property
    def sha256(self) -> str:
        """Of the payload so far."""
        return self._hash.hexdigest()

    @property
    def payload_bytes(self) -> int:
        return self._at - self._start - _HEAD.size - sum(map(len, self._opening))

    def begin(self, note: bytes, prefix: bytes) -> None:
        """Begin a record: the note, and what stands in the object before the payload."""
        self._opening = note, prefix
        self._hash = hashlib.sha256()
        self._at = self._start + _HEAD.size
        self._write(note + prefix)

    def write(self, fragment: memoryview) -> None:
        """Append to the payload."""
        self._hash.update(fragment)
        self._write(fragment)

    def map(self) -> mmap.mmap:
        """The pack as far as it is written; the payload is its last `payload_bytes`. The caller closes it."""
        return mmap.mmap(self._descriptor, self._at, prot=mmap.PROT_READ)

    def commit(self) -> Span:
        """Make the record whole: on the disk when this returns."""
        note, prefix = self._opening
        fields = struct.pack(
            "<IIQI32s",
            len(note),
            len(prefix),
            self.payload_bytes,
            zlib.crc32(note + prefix),
            self._hash.digest(),
        )
        head = _ALIVE + fields + struct.pack("<I", zlib.crc32(fields))
        if os.pwrite(self._descriptor, head, self._start) != len(head):
            raise OSError("a record's head was written in part")
        os.fdatasync(self._descriptor)
        span = Span(self._start, self._at - self._start)
        self._start = self._at
        return span

    def abandon(self) -> None:
        """Take back what was written since the last whole record."""
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

    def _write(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            count = os.pwrite(self._descriptor, rest, self._at)
            self._at += count
            rest = rest[count:]


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


def records(path: Path, *, proven: bool = False) -> Iterator[Record]:
    """The whole records of a pack, in order, deleted ones as well. proven: check what the payload's hash says."""
    with path.open("rb", buffering=0) as file:
        descriptor, start = file.fileno(), 0
        while (head := _read_head(descriptor, start)) is not None:
            opening = _read(descriptor, head.note_bytes + head.prefix_bytes, start + _HEAD.size)
            if zlib.crc32(opening) != head.prefix_crc or (proven and not _is_proven(descriptor, start, head)):
                return
            if os.fstat(descriptor).st_size < start + head.length:
                return
            yield Record(Span(start, head.length), head.is_alive, opening[: head.note_bytes], head.sha256.hex())
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
    _, note, prefix, payload, prefix_crc, sha256, crc = _HEAD.unpack(raw)
    if zlib.crc32(raw[_HASHED]) != crc:
        return None
    return Head(raw[:8] == _ALIVE, note, prefix, payload, prefix_crc, sha256)


def _is_proven(descriptor: int, start: int, head: Head) -> bool:
    hashed, at = hashlib.sha256(), start + head.length - head.payload_bytes
    end = start + head.length
    while at < end:
        chunk = _read(descriptor, min(_READ_BYTES, end - at), at)
        if not chunk:
            return False
        hashed.update(chunk)
        at += len(chunk)
    return hashed.digest() == head.sha256


def _read(descriptor: int, length: int, start: int) -> bytes:
    parts, at = [], start
    while at < start + length:
        part = os.pread(descriptor, start + length - at, at)
        if not part:
            break
        parts.append(part)
        at += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
