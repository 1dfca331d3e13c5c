"""Data sets encoded by hand, element by element, so that a test decides about every byte."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from pydicom.datadict import dictionary_VR, tag_for_keyword

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
UNDEFINED = 0xFFFFFFFF
_LONG = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}


@dataclass(frozen=True)
class Encoding:
    transfer_syntax_uid: str = EXPLICIT_LITTLE

    @property
    def order(self) -> str:
        return ">" if self.transfer_syntax_uid == EXPLICIT_BIG else "<"

    @property
    def implicit(self) -> bool:
        return self.transfer_syntax_uid == IMPLICIT_LITTLE

    def element(self, tag: int, vr: str, value: bytes, *, length: int | None = None) -> bytes:
        """One element; `length` claims another length than the value has."""
        claimed = len(value) if length is None else length
        head = struct.pack(self.order + "HH", tag >> 16, tag & 0xFFFF)
        if self.implicit:
            return head + struct.pack("<I", claimed) + value
        if vr in _LONG:
            return head + vr.encode() + b"\0\0" + struct.pack(self.order + "I", claimed) + value
        return head + vr.encode() + struct.pack(self.order + "H", claimed) + value

    def item(self, content: bytes, *, delimited: bool = False) -> bytes:
        if delimited:
            return self._mark(0xE000, UNDEFINED) + content + self._mark(0xE00D, 0)
        return self._mark(0xE000, len(content)) + content

    def sequence(self, tag: int, items: Iterable[bytes], *, delimited: bool = False) -> bytes:
        content = b"".join(items)
        if delimited:
            return self.element(tag, "SQ", content, length=UNDEFINED) + self._mark(0xE0DD, 0)
        return self.element(tag, "SQ", content)

    def encapsulated(self, fragments: Iterable[bytes]) -> bytes:
        """Pixel data of fragments behind an empty Basic Offset Table."""
        content = b"".join(self.item(fragment) for fragment in (b"", *fragments))
        return self.element(0x7FE00010, "OB", content, length=UNDEFINED) + self._mark(0xE0DD, 0)

    def data_set(self, **values: object) -> bytes:
        """Elements by keyword, in order of their tags: text, numbers, bytes as they are, or a list of encoded items."""
        tagged = sorted(
            (tag_for_keyword(keyword) or 0, value) for keyword, value in values.items() if value is not None
        )
        return b"".join(self._value(tag, value) for tag, value in tagged)

    def _value(self, tag: int, value: object) -> bytes:
        vr = dictionary_VR(tag).partition(" ")[0]
        if vr == "SQ":
            assert isinstance(value, list)
            return self.sequence(tag, [self.item(item) for item in value])
        if isinstance(value, bytes):
            return self.element(tag, vr, value)
        if vr in _NUMBERS:
            numbers = value if isinstance(value, list) else [value]
            return self.element(tag, vr, struct.pack(f"{self.order}{len(numbers)}{_NUMBERS[vr]}", *numbers))
        text = "\\".join(str(part) for part in value) if isinstance(value, list) else str(value)
        padding = b"\0" if vr == "UI" else b" "
        raw = text.encode("ascii")
        return self.element(tag, vr, raw + padding * (len(raw) % 2))

    def _mark(self, number: int, length: int) -> bytes:
        return struct.pack(self.order + "HHI", 0xFFFE, number, length)


def ct_image(
    sop_instance_uid: str = "1.2.3.4.5", transfer_syntax_uid: str = EXPLICIT_LITTLE, **changes: object
) -> bytes:
    """A CT image of 4 x 6 pixels; `changes` replace attributes by keyword, None leaves one out."""
    encoding = Encoding(transfer_syntax_uid)
    values: dict[str, object] = {
        "SOPClassUID": CT_IMAGE_STORAGE,
        "SOPInstanceUID": sop_instance_uid,
        "StudyDate": "20260102",
        "AccessionNumber": "ACC1",
        "Modality": "CT",
        "StudyDescription": "CHEST",
        "PatientName": "Canary^Yellow",
        "PatientID": "CANARY-1",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "InstanceNumber": 1,
        "ImagePositionPatient": [0, 0, 2.5],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 4,
        "Columns": 6,
        "PixelSpacing": [0.7, 0.8],
        "BitsAllocated": 16,
        "PixelData": bytes(range(48)),
    }
    return encoding.data_set(**(values | changes))
