"""Where does the data set of a Part 10 file begin, and which instance is it? (PS3.10 section 7.1)

The header alone is parsed: what follows is sent as it is stored, never decoded and encoded again.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_PREAMBLE_BYTES = 128
_DATA_SET_OF_META = _PREAMBLE_BYTES + len(b"DICM")
_LONG_VRS = frozenset({b"OB", b"OW", b"UN", b"UT", b"SQ", b"UC", b"UR", b"OD", b"OF", b"OL", b"OV"})
_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX = 0x0002, 0x0003, 0x0010
_IMPLICIT_VR = "1.2.840.10008.1.2"
_OTHERWISE_ENCODED = frozenset({"1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95"})
_SOP_CLASS_UID, _SOP_INSTANCE_UID = (0x0008, 0x0016), (0x0008, 0x0018)


class NotPart10(ValueError):
    """These bytes are no DICOM file: a preamble, "DICM" and a file meta header are expected."""


@dataclass(frozen=True, slots=True)
class FileMeta:
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set_at: int  # where the data set begins, in bytes from the start of the file


def read_file_meta(head: bytes | memoryview) -> FileMeta:
    """Read the meta header from a file's bytes, or from its first ones as far as they hold the header whole.

    The elements are walked (Explicit VR Little Endian, always): a wrong (0002,0000) group length does no harm.
    Raises NotPart10 where there is no header, where it is cut, or where it does not name the instance.
    """
    if bytes(head[_PREAMBLE_BYTES:_DATA_SET_OF_META]) != b"DICM":
        raise NotPart10('no "DICM" after 128 bytes')
    uids: dict[int, str] = {}
    at = _DATA_SET_OF_META
    while at + 8 <= len(head):
        group, element = struct.unpack_from("<HH", head, at)
        if group != 0x0002:
            break
        if bytes(head[at + 4 : at + 6]) in _LONG_VRS:
            if at + 12 > len(head):
                raise NotPart10("the file meta header is cut")
            value_at, length = at + 12, struct.unpack_from("<L", head, at + 8)[0]
        else:
            value_at, length = at + 8, struct.unpack_from("<H", head, at + 6)[0]
        at = value_at + length
        if at > len(head):
            raise NotPart10("the file meta header is cut")
        if element in {_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX}:
            uids[element] = bytes(head[value_at:at]).rstrip(b"\0 ").decode("ascii", errors="replace")
    if not all(uids.get(element) for element in (_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX)):
        raise NotPart10("the file meta header lacks SOP Class, SOP Instance or Transfer Syntax UID")
    return FileMeta(uids[_SOP_CLASS], uids[_SOP_INSTANCE], uids[_TRANSFER_SYNTAX], at)


def sop_uids_in(head: bytes | memoryview, meta: FileMeta) -> tuple[str, str] | None:
    """SOP Class and SOP Instance UID of the data set that a file's first bytes begin.

    None where a plain walk from element to element does not come to both: where they lie behind a sequence of undefined
    length or beyond these bytes, or where the data set is big endian or deflated.
    """
    if meta.transfer_syntax_uid in _OTHERWISE_ENCODED:
        return None
    is_implicit = meta.transfer_syntax_uid == _IMPLICIT_VR
    found: dict[tuple[int, int], str] = {}
    at = meta.data_set_at
    while at + 12 <= len(head) and len(found) < 2:
        tag = struct.unpack_from("<HH", head, at)
        if tag > _SOP_INSTANCE_UID:
            break
        if is_implicit:
            value_at, length = at + 8, struct.unpack_from("<L", head, at + 4)[0]
        elif bytes(head[at + 4 : at + 6]) in _LONG_VRS:
            value_at, length = at + 12, struct.unpack_from("<L", head, at + 8)[0]
        else:
            value_at, length = at + 8, struct.unpack_from("<H", head, at + 6)[0]
        at = value_at + length
        if at > len(head):
            break
        if tag in {_SOP_CLASS_UID, _SOP_INSTANCE_UID}:
            found[tag] = bytes(head[value_at:at]).rstrip(b"\0 ").decode("ascii", errors="replace")
    sop_class_uid, sop_instance_uid = found.get(_SOP_CLASS_UID), found.get(_SOP_INSTANCE_UID)
    return (sop_class_uid, sop_instance_uid) if sop_class_uid and sop_instance_uid else None
