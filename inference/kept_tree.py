"""Dataclasses as JSON and back, by their annotations: reading makes nothing that these do not name.

A dataclass is an object with its name under `is`, an array its number in a list that is kept beside. A field that was not yet
known when a value was written gets its default.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Hashable
from typing import Any, Literal, Union

import numpy as np

from inference.kept_arrays import Array, KeptError

_ARRAY = "array"
_IS = "is"
_NONE = type(None)


def written(value: object, arrays: dict[int, tuple[int, Array]]) -> object:
    """A dataclass, or what one holds, as JSON has it. arrays: those met so far by their identity, each with its number."""
    if isinstance(value, np.ndarray):
        number, _ = arrays.setdefault(id(value), (len(arrays), value))
        return {_ARRAY: number}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {item.name: written(getattr(value, item.name), arrays) for item in dataclasses.fields(value)}
        return {_IS: type(value).__name__, **fields}
    if isinstance(value, tuple | list):
        return [written(item, arrays) for item in value]
    if isinstance(value, dict):
        return {str(key): written(item, arrays) for key, item in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def read(hint: Any, value: Any, arrays: list[Array], where: str) -> Any:
    """What `written` made, as `hint`, an annotation, has it. Raises KeptError where it is none."""
    origin, within = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return None if value is None and _NONE in within else read(_meant(within, value, arrays), value, arrays, where)
    if origin is np.ndarray:
        return _array(hint, value, arrays, where)
    if dataclasses.is_dataclass(hint):
        return _dataclass(typing.cast("type[Any]", hint), value, arrays, where)
    if origin is tuple:
        return _tuple(within, value, arrays, where)
    if origin is dict:
        _require(isinstance(value, dict), where, "must have keys with values")
        return {key: read(within[1], item, arrays, f"{where}.{key[:64]}") for key, item in value.items()}
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
    known = fields_of(typing.cast(Hashable, kind))
    for name in value.keys() - known.keys() - {_IS}:
        raise KeptError(f"{where}: a {kind.__name__} has no {name[:64]!r}")
    given = {name: read(known[name], value[name], arrays, f"{where}.{name}") for name in known if name in value}
    try:
        return kind(**given)
    except (ValueError, TypeError) as error:
        raise KeptError(f"{where}: {error}") from error


def _tuple(within: tuple[Any, ...], value: Any, arrays: list[Array], where: str) -> tuple[Any, ...]:
    _require(isinstance(value, list), where, "must be a list")
    hints = within[:1] * len(value) if within[1:] == (Ellipsis,) else within
    _require(len(value) == len(hints), where, f"must have {len(hints)} items, but has {len(value)}")
    return tuple(
        read(hint, item, arrays, f"{where}[{index}]")
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
def fields_of(kind: Hashable) -> dict[str, Any]:
    """The annotation of each field of a dataclass."""
    hints = typing.get_type_hints(kind)
    return {item.name: hints[item.name] for item in dataclasses.fields(typing.cast("type[Any]", kind))}
