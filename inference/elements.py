"""Attribute values as plain Python, read from raw elements where pydicom has not parsed them yet.

Parsing one element into a DataElement costs pydicom some 10 us; a series of 400 images needs a dozen of each.
These readers take the bytes as they stand (PS3.5 section 6.2) and never change the data set.
"""

from __future__ import annotations

import math
import struct

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

UNREADABLE = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, RecursionError),
    *(OSError, EOFError, struct.error),
)
"""What pydicom raises, late, when a value or a nested sequence turns out to be broken."""


def text(dataset: Dataset, tag: BaseTag) -> str:
    """The value of a text attribute as text, several joined with a backslash; empty when absent."""
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


def values(dataset: Dataset, tag: BaseTag) -> tuple[str, ...]:
    """The values of a text attribute, without padding; none when absent."""
    joined = text(dataset, tag)
    return tuple(item.strip(" \0") for item in joined.split("\\")) if joined else ()


def numbers(dataset: Dataset, tag: BaseTag) -> tuple[float, ...] | None:
    """The values of a DS or IS attribute; None when absent, empty or not all finite numbers."""
    try:
        found = tuple(float(item) for item in values(dataset, tag))
    except ValueError:
        return None
    return found if found and all(map(math.isfinite, found)) else None


def number(dataset: Dataset, tag: BaseTag) -> float | None:
    """The first value of a DS or IS attribute."""
    found = numbers(dataset, tag)
    return found[0] if found else None


def unsigned(dataset: Dataset, tag: BaseTag) -> int | None:
    """The value of a US attribute."""
    element = dataset.get_item(tag)
    value = None if element is None else element.value
    if isinstance(element, RawDataElement) and isinstance(value, bytes):
        return int.from_bytes(value[:2], "little" if element.is_little_endian else "big") if value else None
    return value if isinstance(value, int) else None
