"""The file format that received data sets are kept in: preamble, prefix and our own file meta header (PS3.10 7.1).

The header says nothing of the sender, so that the same data set gives the same file whoever sends it.
"""

from __future__ import annotations

import struct
from functools import lru_cache

# 2.25 with a UUID as integer (PS3.5 B.2): the root that needs no registration.
IMPLEMENTATION_CLASS_UID = "2.25.5154259089951753363463076133513943793"
IMPLEMENTATION_VERSION_NAME = "DICOM_NODE_0_1"  # SH: at most 16 characters

_PREAMBLE = bytes(128)  # zeros, whatever a peer would like: a preamble can make the file an executable
_PREFIX = b"DICM"
_GROUP_AT = 144  # behind the group length, which counts from there


def file_meta(*, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Everything of a DICOM file that stands before the data set; Explicit VR Little Endian, as PS3.10 asks."""
    elements = _before_instance(sop_class_uid) + _uid(0x0003, sop_instance_uid) + _behind_instance(transfer_syntax_uid)
    return _PREAMBLE + _PREFIX + struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(elements)) + elements


def data_set_at(kept: bytes) -> int:
    """Where the data set of such a file begins; another version may have written it."""
    return _GROUP_AT + int.from_bytes(kept[_GROUP_AT - 4 : _GROUP_AT], "little")


@lru_cache(maxsize=256)
def _before_instance(sop_class_uid: str) -> bytes:
    return _other_byte(0x0001, b"\x00\x01") + _uid(0x0002, sop_class_uid)


@lru_cache(maxsize=256)
def _behind_instance(transfer_syntax_uid: str) -> bytes:
    version = _short(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode("ascii"), b" ")
    return _uid(0x0010, transfer_syntax_uid) + _uid(0x0012, IMPLEMENTATION_CLASS_UID) + version


def _uid(element: int, uid: str) -> bytes:
    return _short(element, b"UI", uid.encode("ascii"), b"\x00")


def _short(element: int, vr: bytes, value: bytes, padding: bytes) -> bytes:
    even = value + padding * (len(value) % 2)
    return struct.pack("<HH2sH", 0x0002, element, vr, len(even)) + even


def _other_byte(element: int, value: bytes) -> bytes:
    return struct.pack("<HH2sHI", 0x0002, element, b"OB", 0, len(value)) + value
