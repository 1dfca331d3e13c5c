"""What every object store does. Keys are our own, never a peer's: lower-case letters, digits, '.', '-', '_' and '/'."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from storage.errors import StorageError
from storage.objects.left import LeftPack
from storage.objects.pack import PackWriter

# A part begins with a letter or a digit: '..' and hidden names cannot be written, whatever the backend.
_KEY = re.compile(r"[a-z0-9][a-z0-9._-]*(?:/[a-z0-9][a-z0-9._-]*)*")
MAX_KEY_CHARACTERS = 240
TAIL_BYTES = 1 << 20


class KeptObject(Protocol):
    """An object of which parts are read."""

    @property
    def size_bytes(self) -> int: ...

    def read(self, start: int, length: int) -> bytes:
        """So many bytes from `start` on. Raises UnknownObject where the object is gone, or has fewer; StorageUnavailable."""
        ...

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill the buffer with the bytes from `start` on. Raises as `read`."""
        ...


class ObjectStore(Protocol):
    def put(self, key: str, chunks: Iterable[bytes | memoryview]) -> None:
        """Keep an object whole: durable when this returns.

        The same key again replaces the object at once: readers see the old or the new one, never a part. After
        StorageUnavailable the key shows the old object, none, or the whole new one, and nothing is promised.
        """
        ...

    def get(self, key: str) -> bytes:
        """Raises UnknownObject where no object is kept under the key."""
        ...

    def part(self, key: str) -> KeptObject:
        """The object, to read parts of it; nothing but its size is read now. Raises as `get`."""
        ...

    def tail(self, key: str, size_bytes: int) -> Iterator[bytes]:
        """The last so many bytes of an object, in pieces of TAIL_BYTES; all of it where it has no more. Raises as `get`."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        ...

    def keys(self, prefix: str = "") -> Iterator[str]:
        """The keys of whole objects that begin with the prefix, in no order."""
        ...

    def free_bytes(self) -> int | None:
        """Room that is left, or None where the backend does not say."""
        ...


class PackStore(ObjectStore, Protocol):
    """An object store that also appends objects to packs, for those who bring many."""

    def open_pack(self) -> PackWriter:
        """A new pack; what is committed to it is an object under `pack_key`."""
        ...

    def prepare_pack(self, *, at_most: int, may_go_on: Callable[[], bool]) -> bool:
        """Make one more pack ready for `open_pack`, which then has nothing to wait for, while there are fewer; True where
        one was made.

        may_go_on: asked before each piece of work; where it is false, or there is little room, nothing stays.
        """
        ...

    def close(self) -> None:
        """Give back what was made ready."""
        ...

    def left_packs(self) -> Iterator[LeftPack]:
        """The packs of writers that died. One that cannot be read is handed out as well, as one with a trouble."""
        ...


def check_key(key: str) -> str:
    """The key itself. StorageError where it breaks the rule: a key that a peer could have made is a fault of ours."""
    if len(key) > MAX_KEY_CHARACTERS or not _KEY.fullmatch(key):
        raise StorageError(
            f"object key: at most {MAX_KEY_CHARACTERS} of a-z, 0-9, '.', '-', '_' in parts that begin with a letter or "
            f"digit, joined by '/', but is {key[:MAX_KEY_CHARACTERS]!r}"
        )
    return key
