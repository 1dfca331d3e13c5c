"""The lossless forms that results may be sent in, as config.yaml names them, and their transfer syntaxes. Light to import."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Method = Literal["rle", "jpeg2000", "deflated"]
TRANSFER_SYNTAXES: Mapping[Method, str] = MappingProxyType(
    {
        "rle": "1.2.840.10008.1.2.5",
        "jpeg2000": "1.2.840.10008.1.2.4.90",
        "deflated": "1.2.840.10008.1.2.1.99",
    }
)
_NAMES: Mapping[str, str] = MappingProxyType(
    {
        TRANSFER_SYNTAXES["rle"]: "RLE Lossless",
        TRANSFER_SYNTAXES["jpeg2000"]: "JPEG 2000 Lossless",
        TRANSFER_SYNTAXES["deflated"]: "Deflated Explicit VR Little Endian",
    }
)


def name_of(transfer_syntax_uid: str) -> str:
    """For people, as PS3.6 annex A has it; the UID itself where it is none of these."""
    return _NAMES.get(transfer_syntax_uid, transfer_syntax_uid)
