"""Findings as bytes and back: for another process, and to be kept. JSON and plain arrays, so that reading runs nothing.

    magic and version (8 bytes) · length of the header (8 bytes, little-endian) · header (JSON) · one block an array

Reading is strict, since what is read may come from a process that ran foreign weights: every type, size and place is held
against the definitions in `inference.findings`, whose own rules then hold too. Arrays that findings share are kept once, and
are shared again when read. A field that was not yet known when findings were kept gets its default.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Hashable, Iterator
from typing import Any, Literal, Union

import numpy as np

from inference.findings import Findings
from inference.kept_arrays import Array, Buffer, KeptError, Layout, kept_array, layouts, read_array, starts

MAGIC = b"FINDING"
VERSION = 1
MAX_HEADER_BYTES = 16 * 1024**2
MAX_BYTES = 16 * 1024**3
"""What the arrays of findings may take together when they are read."""

_PREFIX = len(MAGIC) + 1 + 8
_ARRAY = "array"
_IS = "is"
_NONE = type(None)


def to_bytes(findings: Findings, *, packed: bool = True) -> bytes:
    """packed: whether arrays are compressed, which takes time and saves room."""
    return b"".join(parts(findings, packed=packed))


def parts(findings: Findings, *, packed: bool) -> Iterator[Buffer]:
    """What `to_bytes` joins, one after the other, so that a writer needs no room for all of it.

    Raises KeptError where findings hold what cannot be read again.
    """
    arrays: dict[int, tuple[int, Array]] = {}
    tree = _written(findings, arrays)
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
    return typing.cast(Findings, _read(Findings, header["findings"], arrays, "findings"))


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


def _written(value: object, arrays: dict[int, tuple[int, Array]]) -> object:
    """As JSON has it. arrays: those met so far by their identity, each with its number."""
    if isinstance(value, np.ndarray):
        number, _ = arrays.setdefault(id(value), (len(arrays), value))
        return {_ARRAY: number}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {item.name: _written(getattr(value, item.name), arrays) for item in dataclasses.fields(value)}
        return {_IS: type(value).__name__, **fields}
    if isinstance(value, tuple | list):
        return [_written(item, arrays) for item in value]
    if isinstance(value, dict):
        return {str(key): _written(item, arrays) for key, item in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def _read(hint: Any, value: Any, arrays: list[Array], where: str) -> Any:
    """The value as `hint`, an annotation of `inference.findings`, has it. Raises KeptError where it is none."""
    origin, within = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return None if value is None and _NONE in within else _read(_meant(within, value, arrays), value, arrays, where)
    if origin is np.ndarray:
        return _array(hint, value, arrays, where)
    if dataclasses.is_dataclass(hint):
        return _dataclass(typing.cast("type[Any]", hint), value, arrays, where)
    if origin is tuple:
        return _tuple(within, value, arrays, where)
    if origin is dict:
        _require(isinstance(value, dict), where, "must have keys with values")
        return {key: _read(within[1], item, arrays, f"{where}.{key[:64]}") for key, item in value.items()}
    return _plain(hint, value, where)


def _plain(hint: Any, value: Any, where: str) -> Any:
    if typing.get_origin(hint) is Literal:
        within = typing.get_args(hint)
        _require(value in within, where, f"must be one of {', '.join(map(str, within))}")
        return value
    if hint is float:
        _require(type(value) is float or (type(value) is int and abs(value) < 2**53), where, "must be a number")
        return float(value)
    _require(hint in (int, str, bool) and type(value) is hint, where, f"must be of type {hint.__name__}")
    return value


def _meant(hints: tuple[Any, ...], value: Any, arrays: list[Array]) -> Any:
    """Which of several definitions a value claims to be; the last one where it claims none, which then says what it must be."""
    told = value.get(_IS) if isinstance(value, dict) else None
    others = [hint for hint in hints if hint is not _NONE]
    for hint in others:
        if dataclasses.is_dataclass(hint) and getattr(hint, "__name__", None) == told:
            return hint
        if typing.get_origin(hint) is np.ndarray and _is_array(hint, value, arrays):
            return hint
    return others[-1]


def _dataclass(kind: type[Any], value: Any, arrays: list[Array], where: str) -> Any:
    _require(isinstance(value, dict) and value.get(_IS) == kind.__name__, where, f"must be a {kind.__name__}")
    hints = _hints(typing.cast(Hashable, kind))
    for name in value.keys() - hints.keys() - {_IS}:
        raise KeptError(f"{where}: a {kind.__name__} has no {name[:64]!r}")
    given = {name: _read(hints[name], value[name], arrays, f"{where}.{name}") for name in hints if name in value}
    try:
        return kind(**given)
    except (ValueError, TypeError) as error:
        raise KeptError(f"{where}: {error}") from error


def _tuple(within: tuple[Any, ...], value: Any, arrays: list[Array], where: str) -> tuple[Any, ...]:
    _require(isinstance(value, list), where, "must be a list")
    hints = within[:1] * len(value) if within[1:] == (Ellipsis,) else within
    _require(len(value) == len(hints), where, f"must have {len(hints)} items, but has {len(value)}")
    return tuple(
        _read(hint, item, arrays, f"{where}[{index}]")
        for index, (hint, item) in enumerate(zip(hints, value, strict=True))
    )


def _array(hint: Any, value: Any, arrays: list[Array], where: str) -> Array:
    _require(_is_array(hint, value, arrays), where, "must be an array of the kind that belongs there")
    number: int = value[_ARRAY]
    return arrays[number]


def _is_array(hint: Any, value: Any, arrays: list[Array]) -> bool:
    """Whether the value names an array of the dtype that the annotation has."""
    if not isinstance(value, dict) or set(value) != {_ARRAY} or type(value[_ARRAY]) is not int:
        return False
    if not 0 <= value[_ARRAY] < len(arrays):
        return False
    (scalar,) = typing.get_args(typing.get_args(hint)[1])
    return bool(np.issubdtype(arrays[value[_ARRAY]].dtype, scalar))


def _require(holds: bool, where: str, rule: str) -> None:
    if not holds:
        raise KeptError(f"{where}: {rule}")


@functools.cache
def _hints(kind: Hashable) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {item.name: hints[item.name] for item in dataclasses.fields(typing.cast("type[Any]", kind))}
