"""What every object store does. Keys are our own, never a peer's: lower-case letters, digits, '.', '-', '_' and '/'."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol


class ObjectStore(Protocol):
    def put(self, key: str, chunks: Iterable[bytes | memoryview]) -> None:
        """Keep an object whole: durable when this returns, invisible when it raises StorageUnavailable.

        The same key again replaces the object at once (readers see the old or the new one, never a part).
        """
        ...

    def get(self, key: str) -> bytes:
        """Raises UnknownObject where no object is kept under the key."""
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
