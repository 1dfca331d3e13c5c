"""Data sets by a grammar: well-formed ones with a few things in them as no standard has them, and some with many.

Elements of each VR, sequences and items of either kind of length, encapsulated fragments, nesting, character sets; and
lengths that lie, pixel data of the wrong length, UIDs that are none, tags where they must not be.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from tests.encoded import (
    CT_IMAGE_STORAGE,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    JPEG_BASELINE,
    UNDEFINED,
    Encoding,
    ct_image,
)

SYNTAXES = (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    EXPLICIT_BIG,
    JPEG_BASELINE,
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.5",
)
_VRS = (
    *("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FL", "FD", "IS", "LO", "LT", "OB", "OD", "OF", "OL", "OV", "OW", "PN"),
    *("SH", "SL", "SQ", "SS", "ST", "SV", "TM", "UC", "UI", "UL", "UN", "UR", "US", "UT", "UV", "ZZ", "\0\0", "  "),
)
# Those that the node reads: identity, geometry, functional groups, and what they are written in.
_READ_TAGS = (
    *(0x00080005, 0x00080016, 0x00080018, 0x00080020, 0x00080050, 0x00080060, 0x00081030, 0x00100010, 0x00100020),
    *(0x0020000D, 0x0020000E, 0x00200013, 0x00200032, 0x00200037, 0x00200052, 0x00280002, 0x00280004, 0x00280008),
    *(0x00280010, 0x00280011, 0x00280030, 0x00280100, 0x00281052, 0x52009229, 0x52009230, 0x00209113, 0x00209116),
    *(0x00289110, 0x7FE00010),
)
_SEQUENCE_TAGS = (0x52009229, 0x52009230, 0x00209113, 0x00209116, 0x00289110, 0x00081140, 0x00400275, 0x00091010)
_BAD_TAGS = (0x00010001, 0x00020010, 0x00000002, 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0xFFFFFFFF, 0x00080000)
_CHARACTER_SETS = (
    *("ISO_IR 100", "ISO_IR 192", "GB18030", "\\ISO 2022 IR 87", "ISO 2022 IR 149\\ISO 2022 IR 58", "latin-1"),
    *("\\\\\\", "ISO_IR 999", "utf-7", "idna", "rot13", "ISO_IR 100\\" * 40, ""),
)
_UIDS = ("", "1", "1.2.3.", "..", "../../etc/passwd", "1." * 150, "0x1.2", "1.2.3\0.4", "1.2 .3", "१.२", "1.02.3", " ")
_NUMBERS = ("", "0", "-1", "1e400", "nan", "inf", "9" * 400, "1\\2\\3", "0x10", "1.5", "٣", "4294967296", "\\" * 70)
_LENGTHS = (0, 1, 7, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFE, UNDEFINED)
_DEEPEST = 200


def made(sop_instance_uid: str, transfer_syntax_uid: str, chance: random.Random) -> bytes:
    """A data set of a CT image of that UID, more or less."""
    grammar = _Grammar(Encoding(transfer_syntax_uid), chance)
    pixels = None if transfer_syntax_uid in SYNTAXES[3:] else bytes(range(48))
    image = ct_image(sop_instance_uid, transfer_syntax_uid, PixelData=pixels, **grammar.values())
    if pixels is None:
        image += grammar.encoding.encapsulated([chance.randbytes(2 * chance.randint(1, 40))])
    extra = [grammar.anything(0) for _ in range(chance.choice((0, 1, 1, 2, 3, 10)))]
    for element in extra:
        image = image + element if chance.random() < 0.5 else element + image
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        image = grammar.damaged(image)
    return image


class _Grammar:
    def __init__(self, encoding: Encoding, chance: random.Random) -> None:
        self.encoding = encoding
        self._chance = chance

    def values(self) -> dict[str, object]:
        """Of attributes that the node reads, some that are not as they should be."""
        one = self._chance.choice
        odd: dict[str, Callable[[], object]] = {
            "Rows": lambda: one((0, 1, 65535, [4, 4])),
            "Columns": lambda: one((0, 65535, b"", b"\1")),
            "BitsAllocated": lambda: one((0, 1, 8, 32, 64, 65535)),
            "SamplesPerPixel": lambda: one((0, 3, 65535)),
            "NumberOfFrames": lambda: one(_NUMBERS).encode(),
            "InstanceNumber": lambda: one(_NUMBERS).encode(),
            "PixelSpacing": lambda: one(_NUMBERS).encode(),
            "ImageOrientationPatient": lambda: one(_NUMBERS).encode(),
            "ImagePositionPatient": lambda: one(_NUMBERS).encode(),
            "StudyInstanceUID": lambda: one(_UIDS).encode(),
            "SeriesInstanceUID": lambda: one(_UIDS).encode(),
            "FrameOfReferenceUID": lambda: one(_UIDS).encode(),
            "SOPClassUID": lambda: one((CT_IMAGE_STORAGE, "1.2.840.10008.5.1.4.1.1.4", *_UIDS)).encode(),
            "SpecificCharacterSet": lambda: one(_CHARACTER_SETS).encode(),
            "PatientName": self._text,
            "StudyDescription": self._text,
            "Modality": self._text,
            "PhotometricInterpretation": lambda: one((b"PALETTE COLOR", b"YBR_FULL_422", b"\xff", b"")),
        }
        names = self._chance.sample(sorted(odd), self._chance.choice((0, 1, 1, 2, 4)))
        return {name: odd[name]() for name in names}

    def anything(self, depth: int) -> bytes:
        kind = self._chance.randrange(10)
        if kind < 3:
            return self._sequence(depth)
        if kind == 3:
            return self._fragments()
        if kind == 4 and not depth:
            return self._nested(self._chance.choice((3, 60, 64, 65, 66, 100, _DEEPEST)))
        return self._element()

    def damaged(self, image: bytes) -> bytes:
        """As `image`, with something cut off, put in or overwritten."""
        kind, at = self._chance.randrange(4), self._chance.randrange(len(image) + 1)
        if kind == 0:
            return image[:at]
        if kind == 1:
            return image[:at] + self._chance.randbytes(self._chance.randint(1, 9)) + image[at:]
        if kind == 2:
            length = struct.pack(self.encoding.order + "I", self._chance.choice(_LENGTHS))
            return image[:at] + length + image[at + 4 :]
        return image[:at] + image[at + self._chance.randint(1, 9) :]

    def _tag(self) -> int:
        kind = self._chance.randrange(8)
        if kind == 0:
            return self._chance.choice(_BAD_TAGS)
        if kind < 5:
            return self._chance.choice(_READ_TAGS)
        return self._chance.randrange(0x00080000, 0x60000000)

    def _text(self) -> bytes:
        junk = (
            b"\x1b$B\x1b(B",
            b"\x1b",
            b"\0\n\r\t",
            "Müller^Jürgen".encode(),
            b"\xff\xfe",
            b"^" * 70,
            b"=" * 9,
            b"'\"<;",
        )
        return b"".join(self._chance.choice(junk) for _ in range(self._chance.choice((1, 2, 5, 300))))

    def _element(self) -> bytes:
        vr = self._chance.choice(_VRS)
        kind = self._chance.randrange(4)
        if kind == 0:
            value = self._chance.randbytes(self._chance.choice((0, 1, 2, 3, 8, 64, 300)))
        elif kind == 1:
            value = self._text()
        else:
            value = self._chance.choice((*_NUMBERS, *_UIDS)).encode()
        length = self._chance.choice(_LENGTHS) if self._chance.random() < 0.15 else None
        if vr not in ("OB", "OW", "SQ", "UN", "UT") and not self.encoding.implicit:
            value, length = value[:65535], None if length is None else length & 0xFFFF
        return self.encoding.element(self._tag(), vr, value, length=length)

    def _sequence(self, depth: int) -> bytes:
        count = self._chance.choice((0, 1, 1, 2)) if depth < 6 else 0
        items = []
        for _ in range(count):
            content = b"".join(self.anything(depth + 1) for _ in range(self._chance.choice((0, 1, 1, 2))))
            item = self.encoding.item(content, delimited=self._chance.random() < 0.5)
            if self._chance.random() < 0.1:
                item = item[: self._chance.randrange(len(item) + 1)]
            items.append(item)
        return self.encoding.sequence(self._chance.choice(_SEQUENCE_TAGS), items, delimited=self._chance.random() < 0.5)

    def _nested(self, levels: int) -> bytes:
        content = b""
        delimited = self._chance.random() < 0.5
        tag = self._chance.choice(_SEQUENCE_TAGS)
        for _ in range(levels):
            content = self.encoding.sequence(
                tag, [self.encoding.item(content, delimited=delimited)], delimited=delimited
            )
        return content

    def _fragments(self) -> bytes:
        sizes = [self._chance.choice((0, 1, 2, 64)) for _ in range(self._chance.randrange(4))]
        found = self.encoding.encapsulated([self._chance.randbytes(size) for size in sizes])
        return found if self._chance.random() < 0.7 else found[: self._chance.randrange(len(found))]
