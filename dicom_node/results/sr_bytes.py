"""A content tree to the bytes of its attributes, Explicit VR Little Endian, all lengths defined (PS3.5 7.1 and 7.5).

What recurs in a report is encoded once: names, codes, references.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
from pydicom.charset import encode_string

from dicom_node.results import explicit_vr
from dicom_node.results.explicit_vr import element
from dicom_node.results.sources import Reference
from dicom_node.results.sr_tree import Coordinates, Item, Quantity, SegmentReference
from inference.findings import Code

_CODE_VALUE, _SCHEME, _MEANING = 0x00080100, 0x00080102, 0x00080104
_SOP_CLASS, _SOP_INSTANCE, _SOP_SEQUENCE, _FRAME = 0x00081150, 0x00081155, 0x00081199, 0x00081160
_MAPPING_RESOURCE, _TEMPLATE_IDENTIFIER, _TEMPLATE = 0x00080105, 0x0040DB00, 0x0040A504
_RELATIONSHIP, _VALUE_TYPE, _NAME, _CONTINUITY = 0x0040A010, 0x0040A040, 0x0040A043, 0x0040A050
_UID, _TEXT, _CODE, _MEASURED = 0x0040A124, 0x0040A160, 0x0040A168, 0x0040A300
_UNITS, _NUMERIC, _FLOATING = 0x004008EA, 0x0040A30A, 0x0040A161
_SEGMENT, _CONTENT, _GRAPHIC_DATA, _GRAPHIC_TYPE = 0x0062000B, 0x0040A730, 0x00700022, 0x00700023


def content_element(items: Iterable[Item], encodings: Sequence[str]) -> tuple[int, bytes]:
    """Content Sequence (0040,A730), tag and bytes, of an item each. encodings: Python's names of the character set."""
    return _CONTENT, element(_CONTENT, b"SQ", _Encoder(list(encodings)).items(items))


class _Encoder:
    def __init__(self, encodings: list[str]) -> None:
        self._encodings = encodings
        self._head = cache(self._encode_head)
        self._code = cache(self._encode_code)
        self._reference = cache(_encode_reference)

    def items(self, items: Iterable[Item]) -> bytes:
        return b"".join([self._item(item) for item in items])

    def _item(self, item: Item) -> bytes:
        """Attributes in the order of their tags. Those of a reference come first, those of a graphic last."""
        value = item.value
        parts = [self._head(item.relationship, item.value_type, item.name), self._value(item)]
        if item.template:
            parts.append(_template(item.template))
        if item.children:
            parts.append(element(_CONTENT, b"SQ", self.items(item.children)))
        if isinstance(value, Reference | SegmentReference):
            parts.insert(0, self._reference(value))
        elif isinstance(value, Coordinates):
            parts.append(_graphic(value))
        return explicit_vr.item(b"".join(parts))

    def _value(self, item: Item) -> bytes:
        value = item.value
        if item.value_type == "CONTAINER":
            return element(_CONTINUITY, b"CS", b"SEPARATE")
        if isinstance(value, Code):
            return element(_CODE, b"SQ", self._code(value))
        if isinstance(value, Quantity):
            return element(_MEASURED, b"SQ", explicit_vr.item(self._measured(value)))
        if item.value_type == "UIDREF":
            return element(_UID, b"UI", explicit_vr.text(str(value), b"\0"))
        if item.value_type == "TEXT":
            return element(_TEXT, b"UT", self._text(str(value)))
        return b""

    def _measured(self, quantity: Quantity) -> bytes:
        return b"".join(
            (
                element(_UNITS, b"SQ", self._code(quantity.unit)),
                element(_FLOATING, b"FD", struct.pack("<d", quantity.value)),
                element(_NUMERIC, b"DS", explicit_vr.text(repr(quantity.value))),
            )
        )

    def _encode_head(self, relationship: str | None, value_type: str, name: Code) -> bytes:
        parts = [element(_RELATIONSHIP, b"CS", explicit_vr.text(relationship))] if relationship else []
        parts.append(element(_VALUE_TYPE, b"CS", explicit_vr.text(value_type)))
        parts.append(element(_NAME, b"SQ", self._code(name)))
        return b"".join(parts)

    def _encode_code(self, code: Code) -> bytes:
        """An item of a code sequence (PS3.3 section 8.8)."""
        return explicit_vr.item(
            element(_CODE_VALUE, b"SH", self._text(code.value))
            + element(_SCHEME, b"SH", self._text(code.scheme))
            + element(_MEANING, b"LO", self._text(code.meaning))
        )

    def _text(self, value: str) -> bytes:
        encoded = value.encode("ascii") if value.isascii() else encode_string(value, self._encodings)
        return encoded + b" " * (len(encoded) % 2)


def _encode_reference(value: Reference | SegmentReference) -> bytes:
    """Referenced SOP Sequence of one instance, and its frame or segment."""
    reference = value.reference if isinstance(value, SegmentReference) else value
    parts = [
        element(_SOP_CLASS, b"UI", explicit_vr.text(reference.sop_class_uid, b"\0")),
        element(_SOP_INSTANCE, b"UI", explicit_vr.text(reference.sop_instance_uid, b"\0")),
    ]
    if reference.frame_number is not None:
        parts.append(element(_FRAME, b"IS", explicit_vr.text(str(reference.frame_number))))
    if isinstance(value, SegmentReference):
        parts.append(element(_SEGMENT, b"US", struct.pack("<H", value.segment_number)))
    return element(_SOP_SEQUENCE, b"SQ", explicit_vr.item(b"".join(parts)))


def _graphic(coordinates: Coordinates) -> bytes:
    """Graphic Data has a length of 16 bits (VR FL) and holds 8 bytes a point: 8191 points at most (PS3.5 7.1.2)."""
    data = np.asarray(coordinates.points, "<f4").tobytes()
    return element(_GRAPHIC_DATA, b"FL", data) + element(
        _GRAPHIC_TYPE, b"CS", explicit_vr.text(coordinates.graphic_type)
    )


@cache
def _template(identifier: str) -> bytes:
    named = element(_MAPPING_RESOURCE, b"CS", b"DCMR") + element(
        _TEMPLATE_IDENTIFIER, b"CS", explicit_vr.text(identifier)
    )
    return element(_TEMPLATE, b"SQ", explicit_vr.item(named))
