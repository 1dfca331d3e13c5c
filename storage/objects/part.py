"""An object that is read piece by piece: it is part of a file, or all of it."""

from __future__ import annotations

import os
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
        found = bytearray(length)
        self.read_into(start, memoryview(found))
        return bytes(found)

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill the buffer with the bytes from `start` on. Raises UnknownObject where the object is gone or was cut short;
        StorageUnavailable."""
        at, rest = self.start + start, buffer[: self.size_bytes - start]
        whole = len(rest) == len(buffer)
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                while rest:
                    count = os.preadv(descriptor, [rest], at)
                    if not count:
                        break
                    at, rest = at + count, rest[count:]
            finally:
                os.close(descriptor)
        except FileNotFoundError as error:
            raise UnknownObject(f"{self.path}: the object is no longer there") from error
        except OSError as error:
            raise StorageUnavailable(f"object store {self.path}: {error.strerror or error}") from error
        if rest or not whole:
            raise UnknownObject(f"{self.path}: the object at byte {self.start} is cut short")
