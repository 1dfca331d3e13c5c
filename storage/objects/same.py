"""Whether two objects have the same content: asked where sums do not tell, so that nobody can make them tell a lie."""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest

from storage.errors import StorageError
from storage.objects.protocol import ObjectStore


def same_content(objects: ObjectStore) -> Callable[[str, str, int], bool]:
    """Compares two data sets byte for byte, by the keys of their objects and the length of both.

    Only the end of an object that is the data set: what stands before it is of the version that received it. Where one
    of the two cannot be read they count as different, so that both are kept.
    """

    def are_same(key: str, other: str, size_bytes: int) -> bool:
        try:
            pairs = zip_longest(objects.tail(key, size_bytes), objects.tail(other, size_bytes))
            return key == other or all(piece == piece_of_other for piece, piece_of_other in pairs)
        except StorageError:
            return False

    return are_same
