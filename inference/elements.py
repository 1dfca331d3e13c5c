"""Attribute values as plain Python, read from raw elements where pydicom has not parsed them yet.

Parsing one element into a DataElement costs pydicom some 10 us; a series of 400 images needs a dozen of each.
These readers take the bytes as they stand (PS3.5 section 6.2) and never change the data set.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

UNREADABLE = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, RecursionError),
    *(OSError, EOFError, struct.error),
)
"""What pydicom raises, late, when a value or a nested sequence turns out to be broken."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """Attributes as they stand in a little endian file, by tag: far cheaper to make, and to ask, than a data set."""

    values: Mapping[BaseTag, bytes]
    transfer_syntax_uid: str

    def __contains__(self, tag: BaseTag) -> bool:
        return tag in self.values


Attributes = Dataset | Encoded


@cache
def tag_of(keyword: str) -> BaseTag:
    """The same object each time, so that a dictionary finds it without comparing it, which pydicom does slowly."""
    return Tag(keyword)


def text(dataset: Attributes, tag: BaseTag) -> str:
    """The value of a text attribute as text, several joined with a backslash; empty when absent."""
    if isinstance(dataset, Encoded):
        return dataset.values.get(tag, b"").decode("latin-1").strip(" \0")
    element = dataset.get_item(tag)
    value = None if element is None else element.value
    if value is None:
        return ""
    if isinstance(element, RawDataElement) and isinstance(value, bytes):
        return value.decode("latin-1").strip(" \0")
    if isinstance(value, MultiValue | list | tuple):
        return "\\".join(str(item) for item in value)
    return str(value).strip(" \0")


def shown(dataset: Dataset, tag: BaseTag) -> str:
    """The value of an attribute of any VR as text, several joined with a backslash; empty when absent. Slower than `text`."""
    value = dataset[tag].value if tag in dataset else None
    if isinstance(value, MultiValue | list | tuple):
        return "\\".join(str(item) for item in value)
    return "" if value is None else str(value)


def values(dataset: Attributes, tag: BaseTag) -> tuple[str, ...]:
    """The values of a text attribute, without padding; none when absent."""
    return _parts(text(dataset, tag))


def numbers(dataset: Attributes, tag: BaseTag) -> tuple[float, ...] | None:
    """The values of a DS or IS attribute; None when absent, empty or not all finite numbers."""
    return _numbers(text(dataset, tag))


def number(dataset: Attributes, tag: BaseTag) -> float | None:
    """The first value of a DS or IS attribute."""
    found = numbers(dataset, tag)
    return found[0] if found else None


def unsigned(dataset: Attributes, tag: BaseTag) -> int | None:
    """The value of a US attribute."""
    if isinstance(dataset, Encoded):
        encoded = dataset.values.get(tag)
        return int.from_bytes(encoded[:2], "little") if encoded else None
    element = dataset.get_item(tag)
    value = None if element is None else element.value
    if isinstance(element, RawDataElement) and isinstance(value, bytes):
        return int.from_bytes(value[:2], "little" if element.is_little_endian else "big") if value else None
    return value if isinstance(value, int) else None


# Most values are the same in all images of a series.
@lru_cache(maxsize=1024)
def _parts(joined: str) -> tuple[str, ...]:
    return tuple([item.strip(" \0") for item in joined.split("\\")]) if joined else ()


@lru_cache(maxsize=1024)
def _numbers(joined: str) -> tuple[float, ...] | None:
    try:
        found = tuple(map(float, _parts(joined)))
    except ValueError:
        return None
    return found if found and all(map(math.isfinite, found)) else None
