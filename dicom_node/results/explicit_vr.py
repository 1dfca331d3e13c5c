"""Elements of Explicit VR Little Endian as bytes (PS3.5 7.1), where thousands of alike items make data sets too slow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import Any

from pydicom.charset import encode_string
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.valuerep import VR

WITH_LONG_LENGTH = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
"""VRs of which the length has four bytes, after two that are zero (PS3.5 table 7.1-1)."""

UNDEFINED_LENGTH = 0xFFFFFFFF
LARGEST_LENGTH = 0xFFFFFFFE
ITEM = 0xFFFEE000

PREAMBLE = 132
"""Bytes before the first element of a file, its "DICM" included (PS3.10 7.1)."""

_NUMBERS = {"US": Struct("<H"), "UL": Struct("<I")}
_TEXTS = {"LO", "SH", "ST", "LT", "UT", "UC"}
_FILLERS = dict.fromkeys((*_TEXTS, "CS", "DS", "IS", "DA", "TM", "DT", "UR"), b" ") | {"UI": b"\0"}

_SHORT, _LONG, _ITEM = Struct("<HH2sH"), Struct("<HH2sHI"), Struct("<HHI")


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """One element. The value must have an even length; a sequence's value is its items."""
    if vr in WITH_LONG_LENGTH:
        return long_header(tag, vr, len(value)) + value
    return _SHORT.pack(tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def long_header(tag: int, vr: bytes, length: int) -> bytes:
    """What stands before a value of a VR that may be long."""
    return _LONG.pack(tag >> 16, tag & 0xFFFF, vr, 0, length)


def item(content: bytes) -> bytes:
    """An item of a sequence, of defined length."""
    return _ITEM.pack(ITEM >> 16, ITEM & 0xFFFF, len(content)) + content


def text(value: str, filler: bytes = b" ") -> bytes:
    """An ASCII value, padded to an even length; UIDs are padded with a zero byte."""
    encoded = value.encode("ascii")
    return encoded + filler * (len(encoded) % 2)


def encoded(dataset: Dataset) -> bytes:
    """The elements of a data set, without item or file around them."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def encoded_items(sequence: Iterable[Dataset], encodings: Sequence[str]) -> bytes:
    """The items of a sequence, as pydicom writes them, in a fraction of the time: VRs that codes and descriptions have.

    encodings: Python's names, of the data set that the sequence is in. A sequence that occurs in several items is encoded
    once. Raises KeyError for another VR.
    """
    known: dict[int, bytes] = {}
    return b"".join(item(_encoded(one, encodings, known)) for one in sequence)


def _encoded(dataset: Dataset, encodings: Sequence[str], known: dict[int, bytes]) -> bytes:
    parts = []
    for tag in sorted(dataset.keys()):
        one = dataset[tag]
        if one.VR != VR.SQ:
            value = _value(one.VR, one.value, encodings)
        elif id(one.value) in known:
            value = known[id(one.value)]
        else:
            value = b"".join(item(_encoded(within, encodings, known)) for within in one.value)
            known[id(one.value)] = value
        parts.append(element(int(tag), one.VR.encode(), value))
    return b"".join(parts)


def _value(vr: str, value: Any, encodings: Sequence[str]) -> bytes:
    values = [] if value is None else [value] if isinstance(value, str | int) else list(value)
    if vr in _NUMBERS:
        return b"".join(_NUMBERS[vr].pack(int(one)) for one in values)
    joined = "\\".join(map(str, values))
    raw = encode_string(joined, encodings) if vr in _TEXTS else joined.encode("ascii")
    return raw + _FILLERS[vr] * (len(raw) % 2)


def place_of(file: bytes, tag: int) -> int:
    """Where in a Part 10 file of this transfer syntax an element belongs: before the first one with a higher tag."""
    at = PREAMBLE
    while at < len(file):
        group, number, vr, length = _SHORT.unpack_from(file, at)
        if group << 16 | number > tag:
            return at
        at += 8
        if vr in WITH_LONG_LENGTH:
            at, length = at + 4, int.from_bytes(file[at : at + 4], "little")
        at += length
    return at


def items(value: bytes) -> Iterator[bytes]:
    """The contents of a sequence's items. Raises ValueError for what is no item of defined length."""
    at = 0
    while at < len(value):
        group, number, length = _ITEM.unpack_from(value, at)
        if group << 16 | number != ITEM or length > len(value) - at - 8:
            raise ValueError(f"({group:04X},{number:04X}) of {length} bytes stands where an item should")
        yield value[at + 8 : at + 8 + length]
        at += 8 + length


def elements(content: bytes) -> dict[int, bytes]:
    """The values of an item's elements by their tags, as bytes. Raises ValueError where a value reaches beyond its end."""
    found, at = {}, 0
    while at < len(content):
        group, number, vr, length = _SHORT.unpack_from(content, at)
        at += 8
        if vr in WITH_LONG_LENGTH:
            length = int.from_bytes(content[at : at + 4], "little")
            at += 4
        if length > len(content) - at:
            raise ValueError(f"({group:04X},{number:04X}) says {length} bytes, and {len(content) - at} are left")
        found[group << 16 | number] = content[at : at + length]
        at += length
    return found
