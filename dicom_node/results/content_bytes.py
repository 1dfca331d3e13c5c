"""Reads the content tree of a report from the bytes that were written, a container at a time (PS3.5 7.1 and 7.5).

Explicit VR Little Endian with defined lengths, as `sr_bytes` writes it; nothing is decoded that nobody asks for, so a
report of a thousand groups is read in a tenth of a second.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from dicom_node.results.sources import ResultRefused

_LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_ITEM = 0xFFFEE000
_PREAMBLE_AND_PREFIX = 132
_header = struct.Struct("<HH2sH").unpack_from
_length = struct.Struct("<I").unpack_from

CONTENT = 0x0040A730
_VALUE_TYPE, _NAME, _UID, _TEMPLATE = 0x0040A040, 0x0040A043, 0x0040A124, 0x0040A504
_CODE_VALUE, _SCHEME, _TEMPLATE_IDENTIFIER = 0x00080100, 0x00080102, 0x0040DB00


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the bytes."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ReadItem:
    """A content item as it was read. whole: its bytes. children: where its Content Sequence is. name: value and scheme."""

    whole: Span
    value_type: str
    name: tuple[str, str]
    uid: str
    template: str
    children: Span | None


class ContentBytes:
    """A report's file, or any part of one that consists of whole elements."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self._names: dict[bytes, tuple[str, str]] = {}

    def top(self) -> dict[int, Span]:
        """The values of the data set's elements, and of its File Meta Information, by tag."""
        return self.elements(Span(_PREAMBLE_AND_PREFIX, len(self.payload)))

    def elements(self, span: Span) -> dict[int, Span]:
        """Value of each element by tag. Raises ResultRefused where lengths do not add up."""
        at, end, found = span.start, span.end, {}
        while at < end:
            group, element, vr, length = _header(self.payload, at)
            if vr in _LONG_VRS:
                (length,) = _length(self.payload, at + 8)
                at += 4
            found[group << 16 | element] = Span(at + 8, at + 8 + length)
            at += 8 + length
        if at != end:
            raise ResultRefused(f"an element of the report ends at byte {at}, what holds it at byte {end}")
        return found

    def items(self, sequence: Span | None) -> Iterator[Span]:
        """The items of a sequence."""
        if sequence is None:
            return
        at = sequence.start
        while at < sequence.end:
            group, element = struct.unpack_from("<HH", self.payload, at)
            (length,) = _length(self.payload, at + 4)
            if group << 16 | element != _ITEM or at + 8 + length > sequence.end:
                raise ResultRefused(f"at byte {at} of the report there is no item, or one that ends too late")
            yield Span(at + 8, at + 8 + length)
            at += 8 + length

    def content(self, sequence: Span | None) -> Iterator[ReadItem]:
        """The content items of a Content Sequence."""
        for whole in self.items(sequence):
            found = self.elements(whole)
            template = found.get(_TEMPLATE)
            yield ReadItem(
                whole,
                self._text(found.get(_VALUE_TYPE)),
                self._name(found.get(_NAME)),
                self._text(found.get(_UID)),
                self._template(template) if template else "",
                found.get(CONTENT),
            )

    def _name(self, span: Span | None) -> tuple[str, str]:
        if span is None:
            return "", ""
        raw = self.payload[span.start : span.end]
        if raw not in self._names:
            (item,) = self.items(span)
            found = self.elements(item)
            self._names[raw] = self._text(found.get(_CODE_VALUE)), self._text(found.get(_SCHEME))
        return self._names[raw]

    def _template(self, span: Span) -> str:
        (item,) = self.items(span)
        return self._text(self.elements(item).get(_TEMPLATE_IDENTIFIER))

    def _text(self, span: Span | None) -> str:
        return "" if span is None else self.payload[span.start : span.end].decode("latin-1").rstrip(" \0")
