"""Does a data set hold together: do its lengths close, is it all there? Reads tags and lengths, never pixels (PS3.5 7).

The scan is tolerant where files of the real world are odd and nothing is lost by it: tags out of order, odd lengths,
items that switch to implicit VR, sequence delimiters in sequences of known length. It is strict where bytes are missing.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from pydicom.datadict import dictionary_VR, keyword_dict

from dicom_node.refusals import Unparsable

# Readers recurse once a level, and Python ends at about 150 levels. Real objects use fewer than ten. This bound holds
# whatever node.limits.sequence_depth says, which may only be less.
MAX_NESTING = 64
MAX_ELEMENTS = 4_000_000

PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA = 0x7FE00010, 0x7FE00008, 0x7FE00009
_UNDEFINED = 0xFFFFFFFF
_FAR = 1 << 62
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LEAST_GROUP = 0x0008  # below are command elements, file meta and directory elements: never part of a data set

_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_VRS = _LONG_VRS | frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS")
).union((b"ST", b"TM", b"UI", b"UL", b"US"))
_SHORT_HEADER_BYTES = 8
_SHORT_VRS = MappingProxyType({code: code.decode("ascii") for code in _VRS - _LONG_VRS})
_SEQUENCES = frozenset(tag for tag in keyword_dict.values() if dictionary_VR(tag) == "SQ")

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"


@dataclass(frozen=True, slots=True)
class Element:
    """Where the value of an element stands in the data set. vr is None where it is not written (implicit VR)."""

    vr: str | None
    start: int
    end: int
    items: tuple[Mapping[int, Element], ...] = ()
    # Fragments of encapsulated pixel data, the Basic Offset Table not counted; None where it is not encapsulated.
    fragments: int | None = None


@dataclass(frozen=True, slots=True)
class Structure:
    """The elements that were asked for, by tag, and the byte order of their numbers ('<' or '>')."""

    elements: Mapping[int, Element]
    order: str


def scan(
    payload: bytes | memoryview,
    transfer_syntax_uid: str,
    wanted: frozenset[int],
    max_depth: int = MAX_NESTING,
) -> Structure:
    """Walk a whole encoded data set and keep where the wanted tags stand, also those inside sequences that are wanted.

    max_depth: how deep sequences may nest, MAX_NESTING at most.

    Raises Unparsable where a length does not close, bytes are missing, or a bound is passed.
    """
    order = ">" if transfer_syntax_uid == EXPLICIT_BIG else "<"
    implicit = transfer_syntax_uid == IMPLICIT_LITTLE
    walk = _Walk(payload, order, wanted, min(max_depth, MAX_NESTING))
    if len(payload) < 8:
        raise Unparsable(f"a data set of {len(payload)} bytes holds no element")
    if not implicit and bytes(payload[4:6]) not in _VRS:
        raise Unparsable("the first element has no VR, though the transfer syntax is one with explicit VR")
    if walk.first_group() < _LEAST_GROUP:
        raise Unparsable("the data set begins with an element of a group below 0008, which no data set may hold")
    elements, _ = walk.data_set(0, len(payload), implicit=implicit, delimited=False, depth=0)
    return Structure(elements, order)


class Outline(NamedTuple):
    """An element of the data set itself, not of an item in it: where it begins, its value, and its end."""

    tag: int
    vr: str | None
    at: int
    start: int
    end: int
    fragments: int | None = None


def outline(payload: bytes | memoryview, transfer_syntax_uid: str) -> list[Outline]:
    """The elements before the pixel data of a data set that `scan` found no fault with; little endian."""
    implicit = transfer_syntax_uid == IMPLICIT_LITTLE
    found: list[Outline] = []
    at = 0
    while at < len(payload):
        one = element_at(payload, at, implicit=implicit)
        if one.tag == PIXEL_DATA:
            break
        found.append(one)
        at = one.end
    return found


def holds_items(one: Outline) -> bool:
    """Whether the element is a sequence, or encapsulated: what stands in it has lengths of its own."""
    return one.vr == "SQ" or one.tag in _SEQUENCES or one.fragments is not None or one.vr == "UN"


_SHORT_ELEMENT = struct.Struct("<HH2sH").unpack_from


def element_at(payload: bytes | memoryview, at: int, *, implicit: bool, max_depth: int = MAX_NESTING) -> Outline:
    """The element that begins there, little endian; its end may lie beyond what is there.

    Raises Unparsable; struct.error where what must be read is not there.
    """
    if not implicit:
        group, number, code, length = _SHORT_ELEMENT(payload, at)
        if code in _SHORT_VRS and group != 0xFFFE:
            start = at + _SHORT_HEADER_BYTES
            return Outline(group << 16 | number, _SHORT_VRS[code], at, start, start + length)
    walk = _Walk(payload, "<", frozenset(), max_depth)
    tag, vr, start, length = walk._header(at, _FAR, implicit)
    element, end = walk._element(tag, vr, start, length, _FAR, implicit=implicit, depth=0)
    return Outline(tag, element.vr, at, element.start, end, element.fragments)


class _Walk:
    def __init__(self, payload: bytes | memoryview, order: str, wanted: frozenset[int], max_depth: int) -> None:
        self._payload = payload
        self._max_depth = max_depth
        self._wanted = wanted
        self._count = 0
        self._explicit = struct.Struct(order + "HH2sH").unpack_from
        self._implicit = struct.Struct(order + "HHI").unpack_from
        self._long = struct.Struct(order + "I").unpack_from

    def first_group(self) -> int:
        return int(self._implicit(self._payload, 0)[0])

    def data_set(
        self, at: int, end: int, *, implicit: bool, delimited: bool, depth: int
    ) -> tuple[dict[int, Element], int]:
        """Elements from `at` to `end`, or to the item delimiter; returns the wanted ones and where the next byte is."""
        elements: dict[int, Element] = {}
        payload, wanted, read = self._payload, self._wanted, self._explicit
        while at < end:
            if not implicit and end - at >= _SHORT_HEADER_BYTES:
                group, number, code, length = read(payload, at)
                # Nearly every element is such a one: short, and of no interest.
                if code in _SHORT_VRS and group != 0xFFFE and at + _SHORT_HEADER_BYTES + length <= end:
                    start = at + _SHORT_HEADER_BYTES
                    at = start + length
                    self._count += 1
                    if (found := group << 16 | number) in wanted:
                        elements[found] = Element(_SHORT_VRS[code], start, at)
                    continue
            tag, vr, start, length = self._header(at, end, implicit)
            if tag == _ITEM_END and delimited:
                return elements, start
            if tag >> 16 == 0xFFFE:
                raise Unparsable(f"an item or delimiter stands at byte {at}, where an element is due")
            element, at = self._element(tag, vr, start, length, end, implicit=implicit, depth=depth)
            if tag in self._wanted:
                elements[tag] = element
        if delimited:
            raise Unparsable("a sequence item has no end: the data set is cut short")
        return elements, at

    def _header(self, at: int, end: int, implicit: bool) -> tuple[int, bytes | None, int, int]:
        self._count += 1
        if self._count > MAX_ELEMENTS:
            raise Unparsable(f"the data set has more than {MAX_ELEMENTS} elements")
        if end - at < 8:
            raise Unparsable(f"{end - at} bytes at byte {at} are too few for an element: the data set is cut short")
        if not implicit:
            group, number, vr, length = self._explicit(self._payload, at)
            # Some writers switch to implicit VR in the middle; there the VR's place holds a length.
            if group != 0xFFFE and vr.isalpha() and vr.isupper():
                if vr not in _LONG_VRS:
                    return group << 16 | number, vr, at + 8, length
                if end - at < 12:
                    raise Unparsable(f"the element at byte {at} has no length: the data set is cut short")
                return group << 16 | number, vr, at + 12, self._long(self._payload, at + 8)[0]
        group, number, length = self._implicit(self._payload, at)
        return group << 16 | number, None, at + 8, length

    def _element(
        self, tag: int, vr: bytes | None, start: int, length: int, end: int, *, implicit: bool, depth: int
    ) -> tuple[Element, int]:
        name = vr.decode("ascii") if vr else None
        if length == _UNDEFINED:
            if tag == PIXEL_DATA or (vr is not None and vr[:1] == b"O"):
                fragments, after = self._fragments(start, end)
                return Element(name, start, after, fragments=fragments), after
            # UN of undefined length is a sequence in implicit VR, whatever is around it (PS3.5 6.2.2).
            items, after = self._sequence(start, end, implicit=implicit or vr == b"UN", delimited=True, depth=depth + 1)
            return Element(name, start, after, items), after
        after = start + length
        if after > end:
            raise Unparsable(
                f"element {tag >> 16:04X},{tag & 0xFFFF:04X} claims {length} bytes, but {end - start} are there"
            )
        if vr == b"SQ" or (vr is None and tag in _SEQUENCES):
            items, _ = self._sequence(start, after, implicit=implicit, delimited=False, depth=depth + 1)
            return Element(name, start, after, items), after
        return Element(name, start, after), after

    def _sequence(
        self, at: int, end: int, *, implicit: bool, delimited: bool, depth: int
    ) -> tuple[tuple[Mapping[int, Element], ...], int]:
        if depth > self._max_depth:
            raise Unparsable(f"sequences are nested more than {self._max_depth} deep (node.limits.sequence_depth)")
        items: list[Mapping[int, Element]] = []
        while at < end:
            tag, start, length = self._item_header(at, end)
            if tag == _SEQUENCE_END:
                return tuple(items), start if delimited else end
            if tag != _ITEM:
                raise Unparsable(f"a sequence holds something that is no item, at byte {at}")
            # An item in explicit VR may be written in implicit VR: its first element shows it.
            switched = implicit or bytes(self._payload[start + 4 : start + 6]) not in _VRS
            if length == _UNDEFINED:
                item, at = self.data_set(start, end, implicit=switched, delimited=True, depth=depth)
            else:
                if start + length > end:
                    raise Unparsable(f"a sequence item claims {length} bytes, but {end - start} are there")
                item, at = self.data_set(start, start + length, implicit=switched, delimited=False, depth=depth)
            items.append(item)
        if delimited:
            raise Unparsable("a sequence has no end: the data set is cut short")
        return tuple(items), at

    def _fragments(self, at: int, end: int) -> tuple[int, int]:
        """Items of encapsulated pixel data (PS3.5 A.4); the first is the Basic Offset Table."""
        items = 0
        while at < end:
            tag, start, length = self._item_header(at, end)
            if tag == _SEQUENCE_END:
                return max(0, items - 1), start
            if tag != _ITEM or start + length > end:
                raise Unparsable("a fragment of the pixel data is cut short")
            items += 1
            at = start + length
        raise Unparsable("the encapsulated pixel data have no end: the data set is cut short")

    def _item_header(self, at: int, end: int) -> tuple[int, int, int]:
        self._count += 1
        if self._count > MAX_ELEMENTS:
            raise Unparsable(f"the data set has more than {MAX_ELEMENTS} elements")
        if end - at < 8:
            raise Unparsable("a sequence is cut short")
        group, number, length = self._implicit(self._payload, at)
        return group << 16 | number, at + 8, length
