"""Findings as bytes and back: for another process, and to be kept. JSON and plain arrays, so that reading runs nothing.

    magic and version (8 bytes) · length of the header (8 bytes, little-endian) · header (JSON) · one block an array

Reading is strict, since what is read may come from a process that ran foreign weights: every type, size and place is held
against the definitions in `inference.findings`, whose own rules then hold too. Arrays that findings share are kept once, and
are shared again when read.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from typing import Any

from inference.findings import Findings
from inference.kept_arrays import Array, Buffer, KeptError, Layout, kept_array, layouts, read_array, starts
from inference.kept_tree import read, written

MAGIC = b"FINDING"
VERSION = 1
MAX_HEADER_BYTES = 16 * 1024**2
MAX_BYTES = 16 * 1024**3
"""What the arrays of findings may take together when they are read."""

_PREFIX = len(MAGIC) + 1 + 8


def to_bytes(findings: Findings, *, packed: bool = True) -> bytes:
    """packed: whether arrays are compressed, which takes time and saves room."""
    return b"".join(parts(findings, packed=packed))


def parts(findings: Findings, *, packed: bool) -> Iterator[Buffer]:
    """What `to_bytes` joins, one after the other, so that a writer needs no room for all of it.

    Raises KeptError where findings hold what cannot be read again.
    """
    arrays: dict[int, tuple[int, Array]] = {}
    tree = written(findings, arrays)
    kept = [kept_array(array, packed=packed) for _, array in arrays.values()]
    header = json.dumps(
        {"arrays": [layout.written() for layout, _ in kept], "findings": tree}, separators=(",", ":")
    ).encode()
    if len(header) > MAX_HEADER_BYTES:
        raise KeptError(
            f"findings without their arrays must be at most {MAX_HEADER_BYTES} bytes, but are {len(header)}"
        )
    yield MAGIC + bytes([VERSION]) + len(header).to_bytes(8, "little") + header
    end = _PREFIX + len(header)
    for (layout, content), begin in zip(kept, starts([layout for layout, _ in kept], end), strict=False):
        yield bytes(begin - end)
        yield content
        end = begin + layout.bytes_kept


def from_bytes(content: Buffer, *, most_bytes: int = MAX_BYTES) -> Findings:
    """The findings. Their arrays may be views of `content`, which must not change while they are used.

    Raises KeptError where the content is not what `to_bytes` makes, or its arrays would take more than `most_bytes`.
    """
    view = memoryview(content).cast("B")
    header, end = _header(view)
    found = layouts(header["arrays"], most_bytes=most_bytes)
    places = starts(found, end)
    if places[-1] != len(view):
        raise KeptError(f"kept findings must be {places[-1]} bytes long, but are {len(view)}")
    arrays = [_at(layout, view, begin) for layout, begin in zip(found, places, strict=False)]
    return typing.cast(Findings, read(Findings, header["findings"], arrays, "findings"))


def _header(view: memoryview) -> tuple[dict[str, Any], int]:
    if len(view) < _PREFIX or view[: len(MAGIC)] != MAGIC:
        raise KeptError("these bytes are no findings")
    if view[len(MAGIC)] != VERSION:
        raise KeptError(f"findings were kept in version {view[len(MAGIC)]}, and only {VERSION} can be read")
    length = int.from_bytes(view[len(MAGIC) + 1 : _PREFIX], "little")
    if length > min(MAX_HEADER_BYTES, len(view) - _PREFIX):
        raise KeptError(f"the header of findings claims {length} bytes, more than there are or may be")
    try:
        header = json.loads(bytes(view[_PREFIX : _PREFIX + length]))
    except (ValueError, RecursionError) as error:
        raise KeptError(f"the header of findings cannot be read ({error})") from error
    if not isinstance(header, dict) or set(header) != {"arrays", "findings"}:
        raise KeptError("the header of findings must have the keys arrays and findings")
    return header, _PREFIX + length


def _at(layout: Layout, view: memoryview, begin: int) -> Array:
    try:
        return read_array(layout, view[begin : begin + layout.bytes_kept])
    except MemoryError as error:
        raise KeptError(f"there is no memory for an array of {layout.bytes_whole} bytes") from error
