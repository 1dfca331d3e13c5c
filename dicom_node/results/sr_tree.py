"""The content of a structured report as a tree of light items (PS3.3 C.17.3); `sr_bytes` writes it.

A data set of pydicom's for each item costs ten times as much as all else in a report of a thousand findings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dicom_node.results.sources import Reference
from inference.findings import Code

Relationship = Literal[
    "CONTAINS",
    "HAS CONCEPT MOD",
    "HAS OBS CONTEXT",
    "HAS ACQ CONTEXT",
    "HAS PROPERTIES",
    "SELECTED FROM",
    "INFERRED FROM",
]
GraphicType = Literal["POINT", "POLYLINE"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and its unit (UCUM)."""

    value: float
    unit: Code


@dataclass(frozen=True, slots=True, eq=False)
class Coordinates:
    """Points of an image, float (points, 2) of column and row: 0, 0 is the corner of the first pixel (PS3.3 C.18.6.1.2)."""

    graphic_type: GraphicType
    points: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SegmentReference:
    """A segment of a Segmentation."""

    reference: Reference
    segment_number: int


Value = Code | str | Quantity | Coordinates | Reference | SegmentReference | None


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A content item: value type, concept name, value, how it belongs to its parent, and what belongs to it.

    value: Code of CODE, text of TEXT and UIDREF, Quantity of NUM, Coordinates of SCOORD, a reference of IMAGE, None of
    CONTAINER. template: identifier of the DCMR template that a container follows.
    """

    value_type: str
    name: Code
    value: Value
    relationship: Relationship | None
    children: tuple[Item, ...] = ()
    template: str | None = None


def root(name: Code, children: Iterable[Item], template: str) -> Item:
    return Item("CONTAINER", name, None, None, tuple(children), template)


def container(name: Code, children: Iterable[Item], template: str | None = None) -> Item:
    return Item("CONTAINER", name, None, "CONTAINS", tuple(children), template)


def code(name: Code, value: Code, relationship: Relationship = "CONTAINS", children: Iterable[Item] = ()) -> Item:
    return Item("CODE", name, value, relationship, tuple(children))


def text(name: Code, value: str, relationship: Relationship = "CONTAINS", children: Iterable[Item] = ()) -> Item:
    return Item("TEXT", name, value, relationship, tuple(children))


def uid(name: Code, value: str, relationship: Relationship) -> Item:
    return Item("UIDREF", name, value, relationship)


def number(
    name: Code, value: float, unit: Code, relationship: Relationship = "CONTAINS", children: Iterable[Item] = ()
) -> Item:
    return Item("NUM", name, Quantity(value, unit), relationship, tuple(children))


def image(name: Code, reference: Reference | SegmentReference, relationship: Relationship = "CONTAINS") -> Item:
    return Item("IMAGE", name, reference, relationship)


def walk(item: Item) -> Iterator[Item]:
    """The item and all below it."""
    yield item
    for child in item.children:
        yield from walk(child)


def codes_of(tree: Item) -> set[Code]:
    """Every code that the tree uses: names, values and units."""
    found = set()
    for item in walk(tree):
        found.add(item.name)
        if isinstance(item.value, Code):
            found.add(item.value)
        elif isinstance(item.value, Quantity):
            found.add(item.value.unit)
    return found


def texts_of(tree: Item) -> Iterator[str]:
    """Every sentence of the tree."""
    for item in walk(tree):
        if item.value_type == "TEXT":
            yield str(item.value)
