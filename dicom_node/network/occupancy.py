"""How many connections and associations the acceptor processes of a node have open, in all: its limits count for all of them.

A table in memory that the processes share, a row for each. A process writes its own row alone, and only while it holds the
lock of the table, so that what it judges by does not change meanwhile. Both locks are the kernel's, which frees them when
a process ends in whatever way: then its row counts no more, from the first moment on that it would turn somebody away.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b

_HEAD = struct.Struct("<II")  # associations; addresses that follow
_ADDRESS = struct.Struct("<8sI")  # digest of an address; connections from it


@dataclass(frozen=True, slots=True)
class Refusal:
    """Which of the two limits of connections is reached."""

    of_address: bool


class Occupancy:
    """One process's view of the table. Safe for threads; one object for each process.

    descriptor: of `new_table`, made for as many processes and connections as are named here. row: of this process.
    """

    def __init__(self, descriptor: int, *, row: int, processes: int, connections: int) -> None:
        if not 0 <= row < processes:
            raise ValueError(f"row must be one of {processes}, but is {row}")
        self._descriptor = descriptor
        self._row, self._processes = row, processes
        self._most = connections
        self._row_bytes = _row_bytes(connections)
        self._table = mmap.mmap(descriptor, self._row_bytes * processes)
        self._lock = threading.Lock()
        self._associations = 0
        self._connections: Counter[bytes] = Counter()
        self._is_closed = False
        fcntl.lockf(descriptor, fcntl.LOCK_EX, 1, self._of_row(row))  # while this process lives
        with self._alone():
            self._write()

    def take(self, limit: int) -> bool:
        """Count one more association; False where so many are open."""
        with self._alone():
            if self._served() >= limit and not (self._clear_rows_of_the_dead() and self._served() < limit):
                return False
            self._associations += 1
            self._write()
            return True

    def free(self) -> None:
        """An association ended."""
        with self._alone():
            self._associations -= 1
            self._write()

    def connect(self, address: str, *, per_address: int, in_all: int) -> Refusal | None:
        """Count one more connection; which limit forbids it."""
        digest = _digest(address)
        with self._alone():
            refusal = self._judge(digest, per_address, in_all)
            if refusal is not None and self._clear_rows_of_the_dead():
                refusal = self._judge(digest, per_address, in_all)
            if refusal is None:
                self._connections[digest] += 1
                self._write()
            return refusal

    def disconnect(self, address: str) -> None:
        """A connection that was counted is closed."""
        digest = _digest(address)
        with self._alone():
            self._connections[digest] -= 1
            if self._connections[digest] <= 0:
                del self._connections[digest]
            self._write()

    def close(self) -> None:
        """Nothing of this process counts any more; what is told of it later is not heard."""
        with self._alone():
            self._associations = 0
            self._connections.clear()
            self._write()
        with self._lock:
            self._is_closed = True
            os.close(self._descriptor)  # which frees its locks as well

    def _judge(self, digest: bytes, per_address: int, in_all: int) -> Refusal | None:
        of_address = total = 0
        for found, count in self._addresses():
            total += count
            of_address += count if found == digest else 0
        if of_address >= per_address:
            return Refusal(of_address=True)
        return Refusal(of_address=False) if total >= min(in_all, self._most) else None

    def _served(self) -> int:
        return sum(self._head(row)[0] for row in range(self._processes))

    def _addresses(self) -> Iterator[tuple[bytes, int]]:
        for row in range(self._processes):
            start = row * self._row_bytes + _HEAD.size
            end = start + self._head(row)[1] * _ADDRESS.size
            yield from _ADDRESS.iter_unpack(self._table[start:end])

    def _head(self, row: int) -> tuple[int, int]:
        associations, addresses = _HEAD.unpack_from(self._table, row * self._row_bytes)
        return associations, addresses

    def _clear_rows_of_the_dead(self) -> bool:
        """Whether there was one."""
        found = False
        for row in range(self._processes):
            if row == self._row or self._head(row) == (0, 0):
                continue
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._of_row(row))
            except OSError:
                continue  # it lives
            _HEAD.pack_into(self._table, row * self._row_bytes, 0, 0)
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, self._of_row(row))
            found = True
        return found

    def _write(self) -> None:
        if self._is_closed:
            return
        start = self._row * self._row_bytes
        addresses = b"".join(_ADDRESS.pack(digest, count) for digest, count in self._connections.items())
        # A process that is killed in the middle of this leaves a row that counts for nobody.
        _HEAD.pack_into(self._table, start, self._associations, len(self._connections))
        self._table[start + _HEAD.size : start + _HEAD.size + len(addresses)] = addresses

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock:
            if self._is_closed:  # a thread that ends late; the memory is there as long as this object
                yield
                return
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, 0)
            try:
                yield
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, 0)

    def _of_row(self, row: int) -> int:
        """The byte whose lock says that a row's process lives."""
        return 1 + row


def new_table(*, processes: int, connections: int) -> int:
    """A descriptor of an empty table, of memory that ends with the last process that has it. Raises OSError."""
    descriptor = os.memfd_create("dicom-node-occupancy", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, _row_bytes(connections) * processes)
    return descriptor


def _row_bytes(connections: int) -> int:
    return _HEAD.size + connections * _ADDRESS.size


def _digest(address: str) -> bytes:
    return blake2b(address.encode(), digest_size=8).digest()
