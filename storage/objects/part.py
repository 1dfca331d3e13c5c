"""An object that is read piece by piece: it is part of a file, or all of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from storage.errors import StorageUnavailable, UnknownObject


@dataclass(frozen=True, slots=True)
class FilePart:
    """start: where the object begins in the file. No descriptor is held between two readings."""

    path: Path
    start: int
    size_bytes: int

    def read(self, start: int, length: int) -> bytes:
        """Bytes of the object from `start` on. Raises as `read_into`, where there are fewer too."""
        if start + length <= self.size_bytes:
            with self._open() as descriptor:
                found = os.pread(descriptor, length, self.start + start)
            if len(found) == length:
                return found
        # A signal, or a read of more than the system does at once, leaves a rest.
        place = bytearray(length)
        self.read_into(start, memoryview(place))
        return bytes(place)

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill the buffer with the bytes from `start` on. Raises UnknownObject where the object is gone or was cut short;
        StorageUnavailable."""
        at, rest = self.start + start, buffer[: self.size_bytes - start]
        whole = len(rest) == len(buffer)
        with self._open() as descriptor:
            while rest:
                count = os.preadv(descriptor, [rest], at)
                if not count:
                    break
                at, rest = at + count, rest[count:]
        if rest or not whole:
            raise UnknownObject(f"{self.path}: the object at byte {self.start} is cut short")

    @contextmanager
    def _open(self) -> Iterator[int]:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                yield descriptor
            finally:
                os.close(descriptor)
        except FileNotFoundError as error:
            raise UnknownObject(f"{self.path}: the object is no longer there") from error
        except OSError as error:
            raise StorageUnavailable(f"object store {self.path}: {error.strerror or error}") from error
