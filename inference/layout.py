"""Where the attributes of an instance stand in its file, found without parsing it (PS3.10 section 7, PS3.5 section 7).

Only what a volume is made of is taken: a tag and a length are read for every element, a value for some twenty. Whatever
is out of the ordinary is `Unusual`, and left to pydicom.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from inference import codecs

PIXEL_DATA = 0x7FE00010
_TRANSFER_SYNTAX = 0x00020010
_TRAILING_PADDING = 0xFFFCFFFC
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_END = struct.pack("<HHI", _SEQUENCE_END >> 16, _SEQUENCE_END & 0xFFFF, 0)
_MOST_NESTED = 32
_META_AT = 132
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_explicit = struct.Struct("<HH2sH").unpack_from
_implicit = struct.Struct("<HHI").unpack_from
_long = struct.Struct("<I").unpack_from


class Unusual(ValueError):
    """The file is not of the plain form that is read here; the message says what is out of the ordinary."""


@dataclass(frozen=True, slots=True)
class Layout:
    """values: encoded, by tag, of the attributes that were asked for. header_bytes: what stands before the element Pixel Data,
    whose value begins at `pixels_at`; pixels_bytes: its length, None where it is encapsulated."""

    transfer_syntax_uid: str
    values: Mapping[int, bytes]
    header_bytes: int
    pixels_at: int
    pixels_bytes: int | None


def layout_of(file: bytes, wanted: frozenset[int]) -> Layout:
    """The layout of a single-frame image. file: its beginning, at least to where Pixel Data begins.

    Raises Unusual for every other file; struct.error where more of it is needed.
    """
    syntax, at = _file_meta(file)
    if syntax == ImplicitVRLittleEndian:
        return _implicit_layout(file, at, syntax, wanted)
    if syntax != ExplicitVRLittleEndian and syntax not in codecs.SUPPORTED:
        raise Unusual(f"transfer syntax {syntax or 'is not stated'}")
    values: dict[int, bytes] = {}
    last = 0
    while True:
        group, number, vr, length = _explicit(file, at)
        tag = group << 16 | number
        if tag <= last:
            raise Unusual(f"element {tag:08X} stands behind {last:08X}")
        last = tag
        if vr in _SHORT_VRS:
            start = at + 8
            at = start + length
            if tag in wanted:
                values[tag] = _value(file, start, at)
            continue
        if vr not in _LONG_VRS:
            raise Unusual(f"element {tag:08X} has no VR that is known")
        start, length = at + 12, _long(file, at + 8)[0]
        if tag == PIXEL_DATA:
            if (length == _UNDEFINED) != (syntax in codecs.SUPPORTED):
                raise Unusual("the length of Pixel Data does not fit the transfer syntax")
            return Layout(syntax, values, at, start, None if length == _UNDEFINED else length)
        if tag in wanted or (length == _UNDEFINED and vr != b"SQ"):
            raise Unusual(f"element {tag:08X} has VR {vr.decode('ascii')}")
        at = start + length if length != _UNDEFINED else _behind_items(file, start, implicit=False, depth=1)


def is_padding(tail: bytes) -> bool:
    """Whether what stands behind Pixel Data is nothing, or Data Set Trailing Padding alone (PS3.10 section 7.2)."""
    if not tail:
        return True
    if len(tail) < 12:
        return False
    group, number, vr, _ = _explicit(tail, 0)
    return (group << 16 | number, vr, _long(tail, 8)[0]) == (_TRAILING_PADDING, b"OB", len(tail) - 12)


def is_end(tail: bytes) -> bool:
    """Whether this is the Sequence Delimitation Item that ends encapsulated Pixel Data (PS3.5 annex A.4)."""
    return tail == _END


def closes(encapsulated: bytes) -> bool:
    """Whether a value without its Sequence Delimitation Item consists of items alone."""
    at = 0
    while at < len(encapsulated):
        if len(encapsulated) - at < 8:
            return False
        group, number, length = _implicit(encapsulated, at)
        if group << 16 | number != _ITEM:
            return False
        at += 8 + length
    return at == len(encapsulated)


def lone_fragment(beginning: bytes, length: int) -> slice | None:
    """Where the fragment lies, within a value of `length` bytes without its Sequence Delimitation Item, that is all of it but
    the Basic Offset Table; None where there are several. beginning: the first bytes of the value."""
    at = 0
    for _ in range(2):
        if len(beginning) < at + 8:
            return None
        group, number, item_bytes = _implicit(beginning, at)
        if group << 16 | number != _ITEM:
            return None
        start, at = at + 8, at + 8 + item_bytes
    return slice(start, at) if at == length else None


def _file_meta(file: bytes) -> tuple[str, int]:
    """Transfer Syntax UID, and where the data set begins."""
    if file[128:_META_AT] != b"DICM":
        raise Unusual("there is no DICM prefix")
    at, syntax = _META_AT, ""
    while True:
        group, number, vr, length = _explicit(file, at)
        if group != 0x0002:
            return syntax, at
        start = at + 8
        if vr in _LONG_VRS:
            start, length = at + 12, _long(file, at + 8)[0]
        elif vr not in _SHORT_VRS:
            raise Unusual("an element of the file meta information has no VR")
        if group << 16 | number == _TRANSFER_SYNTAX:
            syntax = file[start : start + length].decode("latin-1").rstrip(" \0")
        at = start + length


def _implicit_layout(file: bytes, at: int, syntax: str, wanted: frozenset[int]) -> Layout:
    if file[at + 4 : at + 6] in _SHORT_VRS | _LONG_VRS:
        raise Unusual("there is a VR, though the transfer syntax is one without")
    values: dict[int, bytes] = {}
    last = 0
    while True:
        group, number, length = _implicit(file, at)
        tag, start = group << 16 | number, at + 8
        if tag <= last:
            raise Unusual(f"element {tag:08X} stands behind {last:08X}")
        last = tag
        if tag == PIXEL_DATA:
            if length == _UNDEFINED:
                raise Unusual("Pixel Data has no length")
            return Layout(syntax, values, at, start, length)
        at = start + length if length != _UNDEFINED else _behind_items(file, start, implicit=True, depth=1)
        if tag in wanted:
            values[tag] = _value(file, start, at)


def _value(file: bytes, start: int, end: int) -> bytes:
    if end > len(file):
        raise struct.error("the value lies further on")
    return file[start:end]


def _behind_items(file: bytes, at: int, *, implicit: bool, depth: int) -> int:
    """Where a sequence of undefined length ends, from its first item on."""
    if depth > _MOST_NESTED:
        raise Unusual(f"sequences are nested more than {_MOST_NESTED} deep")
    while True:
        group, number, length = _implicit(file, at)
        tag = group << 16 | number
        at += 8
        if tag == _SEQUENCE_END:
            return at
        if tag != _ITEM:
            raise Unusual("a sequence holds something that is no item")
        at = _behind_item(file, at, implicit=implicit, depth=depth) if length == _UNDEFINED else at + length


def _behind_item(file: bytes, at: int, *, implicit: bool, depth: int) -> int:
    """Where an item of undefined length ends, from its first element on."""
    while True:
        group, number, length = _implicit(file, at)
        tag = group << 16 | number
        if tag == _ITEM_END:
            return at + 8
        start, vr = at + 8, file[at + 4 : at + 6]
        if not implicit and vr in _SHORT_VRS:
            length >>= 16
        elif not implicit:
            if vr not in _LONG_VRS:
                raise Unusual("an item of a sequence is written in another way than what is around it")
            start, length = at + 12, _long(file, at + 8)[0]
        if length != _UNDEFINED:
            at = start + length
        elif implicit or vr == b"SQ":
            at = _behind_items(file, start, implicit=implicit, depth=depth + 1)
        else:
            raise Unusual("an element in a sequence has no length")
