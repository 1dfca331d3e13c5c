"""Headers read by what they share with the one before: the images of a series differ in a handful of elements.

What is byte for byte as it was in the last image needs no second reading; between such stretches stand the elements that
differed before, and these are read. The answer is that of `read_header`, or none at all: then the whole is to be read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from dicom_node.facts import IDENTITY, READ_WITH_OTHERS, Header, Reader, header_like
from dicom_node.refusals import Unparsable
from dicom_node.structure import (
    EXPLICIT_BIG,
    IMPLICIT_LITTLE,
    MAX_NESTING,
    PIXEL_DATA,
    Element,
    Outline,
    Structure,
    element_at,
    holds_items,
    outline,
)

HEAD_BYTES = 64 * 1024  # of a data set that `read` is given: nearly all that comes before its pixel data
_MOST_DIFFERENT = 48
_MOST_SERIES = 4
_MOST_MISSES = 16  # in a row: what an association brings is of another kind
_MOST_LAYOUTS = 8
_CHARACTER_SET = 0x00080005
_UNDEFINED_LENGTH = b"\xff\xff\xff\xff"
# What identifies more than the instance, and what the length of its pixel data is judged by (PS3.3 C.7.6.3).
_JUDGED = {
    tag for tag, keyword in IDENTITY.items() if keyword in {"SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID"}
}
_JUDGED |= {0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011, 0x00280100}


class Like(NamedTuple):
    """What a data set says whose beginning is as that of one that was taken in, if it is as long.

    is_judged: it differs in nothing that `check_header` looks at, but for its SOP Instance UID.
    """

    header: Header
    length: int
    is_judged: bool


class _Layout(NamedTuple):
    """Where everything stood in one image: the next one's values have the same lengths, more often than not.

    fixed: cuts out what must be as expected, up to the pixel data. values: cuts out the values that differ, those of tags.
    """

    length: int
    least: int
    fixed: Callable[[bytes | memoryview], tuple[bytes, ...]]
    expected: tuple[bytes, ...]
    values: Callable[[bytes | memoryview], tuple[bytes, ...]]
    tags: tuple[int, ...]
    pixel_data: Element
    is_judged: bool


@dataclass(frozen=True, slots=True)
class _Pattern:
    """What the images of a series were like until now.

    parts: bytes that are the same, or the tag of an element that is read. elements: each whole, as in the last image.
    layouts: of the last ones that differed in the lengths of values; the latest first.
    """

    transfer_syntax_uid: str
    header: Header
    elements: tuple[tuple[int, bytes], ...]
    differing: frozenset[int]
    parts: tuple[bytes | int, ...]
    terms: tuple[str, ...]
    pixel_data_vr: str | None
    layouts: list[_Layout]


class Likeness:
    """What one sender's images are like. One thread at a time. max_depth: how deep sequences may nest."""

    def __init__(self, max_depth: int = MAX_NESTING) -> None:
        self._max_depth = max_depth
        self._patterns: dict[str, _Pattern] = {}
        self._misses = 0

    def at_once(self, beginning: bytes | memoryview, transfer_syntax_uid: str) -> Like | None:
        """What the data set says that begins so; None where `read` must look closer, or it is not like any."""
        there = len(beginning)
        for pattern in reversed(self._patterns.values()):
            if pattern.transfer_syntax_uid != transfer_syntax_uid:
                continue
            for layout in pattern.layouts:
                if there >= layout.least and layout.fixed(beginning) == layout.expected:
                    values = zip(layout.tags, layout.values(beginning), strict=True)
                    header = header_like(pattern.header, values, layout.pixel_data, pattern.terms)
                    if header is None:
                        return None
                    self._misses = 0
                    return Like(header, layout.length, layout.is_judged)
        return None

    def read(self, head: bytes, length: int, transfer_syntax_uid: str) -> Header | None:
        """The header of a data set of that length which begins so; None where it is not like one that was learned."""
        like = self.at_once(head, transfer_syntax_uid)
        if like is not None and like.length == length:
            return like.header
        for pattern in reversed(self._patterns.values()):
            if pattern.transfer_syntax_uid == transfer_syntax_uid:
                header = _read(pattern, head, length, self._max_depth)
                if header is not None:
                    self._misses = 0
                    return header
        return None

    def learn(self, payload: bytes | memoryview, transfer_syntax_uid: str, header: Header) -> None:
        """A data set that was read whole and found to be acceptable."""
        self._misses += 1
        if self._misses > _MOST_MISSES:
            self._patterns.clear()
            return
        series = header.series_instance_uid
        pattern = _learned(payload, transfer_syntax_uid, header, self._patterns.pop(series, None))
        if pattern is not None:
            self._patterns[series] = pattern
        if len(self._patterns) > _MOST_SERIES:
            del self._patterns[next(iter(self._patterns))]


def _learned(
    payload: bytes | memoryview, transfer_syntax_uid: str, header: Header, before: _Pattern | None
) -> _Pattern | None:
    """None where the rest of the series had better be read whole."""
    pixel_data = header.pixel_data
    is_plain = pixel_data is not None and pixel_data.fragments is None and pixel_data.end == len(payload)
    if not is_plain or (pixel_data and pixel_data.start > HEAD_BYTES):
        return None  # a head does not tell all of such a one
    if transfer_syntax_uid == EXPLICIT_BIG or header.facts.keys() & {"notes", "frames"}:
        return None
    found = outline(payload, transfer_syntax_uid)
    if not found:
        return None  # pixel data stand first, and once more at the end
    if found[-1].end == len(payload):
        return None  # pixels of floating point numbers
    elements = tuple((one.tag, bytes(payload[one.at : one.end])) for one in found)
    differing: frozenset[int] = frozenset()
    if before is not None:
        differing = before.differing
        if [tag for tag, _ in before.elements] == [tag for tag, _ in elements]:
            pairs = zip(before.elements, elements, strict=True)
            differing |= {was[0] for was, now in pairs if was[1] != now[1]}
    if len(differing) > _MOST_DIFFERENT or differing & {*READ_WITH_OTHERS, _CHARACTER_SET, elements[0][0]}:
        return None
    where = {one.tag: Element(one.vr, one.start, one.end) for one in found}
    return _Pattern(
        transfer_syntax_uid,
        header,
        elements,
        differing,
        tuple(_parts(elements, differing)),
        Reader(payload, Structure(where, "<")).terms,
        pixel_data.vr if pixel_data else None,
        [],
    )


def _parts(elements: Iterable[tuple[int, bytes]], differing: frozenset[int]) -> Iterable[bytes | int]:
    for differs, group in groupby(elements, lambda element: element[0] in differing):
        if differs:
            yield from (tag for tag, _ in group)
        else:
            yield b"".join(raw for _, raw in group)


def _read(pattern: _Pattern, head: bytes, length: int, max_depth: int) -> Header | None:
    implicit = pattern.transfer_syntax_uid == IMPLICIT_LITTLE
    different: list[Outline] = []
    at = 0
    try:
        for part in pattern.parts:
            if isinstance(part, bytes):
                if not head.startswith(part, at):
                    return None
                at += len(part)
                continue
            one = element_at(head, at, implicit=implicit, max_depth=max_depth)
            if one.tag != part:
                return None
            different.append(one)
            at = one.end
        last = element_at(head, at, implicit=implicit)
    except (struct.error, Unparsable):
        return None
    if (
        last.fragments is not None
        or last.tag != PIXEL_DATA
        or last.vr != pattern.pixel_data_vr
        or last.end != length
        or last.start > len(head)
    ):
        return None
    values = ((one.tag, head[one.start : one.end]) for one in different)
    header = header_like(pattern.header, values, Element(last.vr, last.start, last.end), pattern.terms)
    if header is not None and not any(_holds_lengths(head, one) for one in different):
        pattern.layouts.insert(0, _laid_out(pattern.header, head, different, last))
        del pattern.layouts[_MOST_LAYOUTS:]
    return header


def _holds_lengths(head: bytes, one: Outline) -> bool:
    """Whether lengths stand in the value that must close. Of a private sequence only its undefined length shows it."""
    return holds_items(one) or head[one.start - len(_UNDEFINED_LENGTH) : one.start] == _UNDEFINED_LENGTH


def _laid_out(judged: Header, head: bytes, different: Sequence[Outline], last: Outline) -> _Layout:
    """The lengths of values are part of what must be as expected.

    judged: of an image that was found to be acceptable. Shorter pixel data than it has are to be judged each time: the
    image that they were seen in first may have been refused for it.
    """
    fixed, values, at = "<", "<", 0
    for one in different:
        fixed += f"{one.start - at}s{one.end - one.start}x"
        values += f"{one.start - at}x{one.end - one.start}s"
        at = one.end
    cut = struct.Struct(f"{fixed}{last.start - at}s").unpack_from
    tags = tuple(one.tag for one in different)
    enough = judged.pixel_data is not None and last.end - last.start >= judged.pixel_data.end - judged.pixel_data.start
    return _Layout(
        length=last.end,
        least=last.start,
        fixed=cut,
        expected=cut(head),
        values=struct.Struct(values).unpack_from,
        tags=tags,
        pixel_data=Element(last.vr, last.start, last.end),
        is_judged=enough and not _JUDGED.intersection(tags),
    )
