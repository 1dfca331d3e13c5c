"""The containers of a report as they were written, read from its bytes: what checks ask of a thousand groups.

Nothing is decoded that is not asked for; to parse such a report into data sets takes longer than to write it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from dicom_node.results.explicit_vr import elements, items

CONTENT, EVIDENCE, CHARACTER_SET = 0x0040A730, (0x0040A375, 0x0040A385), 0x00080005
_VALUE_TYPE, _NAME, _UID, _TEMPLATE = 0x0040A040, 0x0040A043, 0x0040A124, 0x0040A504
_CODE_VALUE, _SCHEME, _TEMPLATE_IDENTIFIER = 0x00080100, 0x00080102, 0x0040DB00
_PREAMBLE_AND_PREFIX = 132

Name = tuple[str, str]
"""Code value and coding scheme designator."""


class Child(NamedTuple):
    """A content item. children: the items below it, still as bytes. uid: of a UIDREF."""

    value_type: str
    name: Name
    uid: str
    children: bytes


class Container(NamedTuple):
    """A CONTAINER. encoded: its attributes as bytes. template: identifier of the template that it says it follows."""

    name: Name
    template: str
    encoded: bytes
    children: tuple[Child, ...]


def top(payload: bytes) -> dict[int, bytes]:
    """The values of all elements of a file, those of File Meta Information included, by tag.

    Raises ValueError where lengths do not add up.
    """
    return elements(payload[_PREAMBLE_AND_PREFIX:])


def containers(content: bytes) -> Iterator[Container]:
    """Every container below the root, outer ones first. content: the value of the root's Content Sequence."""
    for encoded in items(content):
        found = elements(encoded)
        if _text(found.get(_VALUE_TYPE, b"")) == "CONTAINER":
            below = found.get(CONTENT, b"")
            template = _template(found[_TEMPLATE]) if _TEMPLATE in found else ""
            children = tuple(_child(child) for child in items(below))
            yield Container(_name(found.get(_NAME, b"")), template, encoded, children)
            if any(child.value_type == "CONTAINER" for child in children):
                yield from containers(below)


def _child(encoded: bytes) -> Child:
    found = elements(encoded)
    return Child(
        _text(found.get(_VALUE_TYPE, b"")),
        _name(found.get(_NAME, b"")),
        _text(found.get(_UID, b"")),
        found.get(CONTENT, b""),
    )


@lru_cache(maxsize=4096)
def _name(sequence: bytes) -> Name:
    for item in items(sequence):
        found = elements(item)
        return _text(found.get(_CODE_VALUE, b"")), _text(found.get(_SCHEME, b""))
    return "", ""


@lru_cache(maxsize=4096)
def _template(sequence: bytes) -> str:
    return next((_text(elements(item).get(_TEMPLATE_IDENTIFIER, b"")) for item in items(sequence)), "")


def _text(value: bytes) -> str:
    return value.decode("latin-1").rstrip(" \0")
