"""Attributes of an encoded data set and of the items of its sequences, as text; only those asked for are decoded.

For what others say of images in a few UIDs and codes (PS3.4 annexes F and R, PS3.3 C.17.6), and may say of 20,000 images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from pydicom.datadict import tag_for_keyword

from dicom_node.refusals import Unparsable
from dicom_node.structure import Element, scan


class Attributes:
    """Those of a data set, or of one item, that were asked for; by keyword."""

    def __init__(self, payload: bytes | memoryview, elements: Mapping[int, Element]) -> None:
        self._payload = payload
        self._elements = elements

    def __contains__(self, keyword: str) -> bool:
        return _tag(keyword) in self._elements

    def text(self, keyword: str) -> str:
        """Of a VR that knows no character sets (UI, CS, AE) or of a code; empty where it is empty or absent."""
        element = self._elements.get(_tag(keyword))
        if element is None:
            return ""
        return bytes(self._payload[element.start : element.end]).decode("ascii", "replace").strip(" \0")

    def items(self, keyword: str) -> tuple[Attributes, ...]:
        """Of a sequence; none where it is empty or absent."""
        element = self._elements.get(_tag(keyword))
        return () if element is None else tuple(Attributes(self._payload, item) for item in element.items)


def read_attributes(
    payload: bytes | memoryview, transfer_syntax_uid: str, keywords: Iterable[str], max_depth: int
) -> Attributes:
    """Raises Unparsable where the data set does not hold together, or its sequences nest deeper than max_depth."""
    wanted = frozenset(_tag(keyword) for keyword in keywords)
    try:
        return Attributes(payload, scan(payload, transfer_syntax_uid, wanted, max_depth).elements)
    except MemoryError as error:
        raise Unparsable("there is not enough memory to read the data set") from error


@cache
def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(f"{keyword} is no keyword of the data dictionary")
    return tag
