"""C-STORE commands by hand: the request as it came, the response as it goes out (PS3.7 9.3.1, PS3.8 9.3.5).

A command set is Implicit VR Little Endian, always. The library builds a data set from it and one for the answer; here it
is eight elements in and eight out, for each instance.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_C_STORE_RQ, _C_STORE_RSP = 0x0001, 0x8001
_NO_DATA_SET = 0x0101
_AFFECTED_SOP_CLASS_UID, _COMMAND_FIELD, _MESSAGE_ID, _RESPONDED_TO = 0x0002, 0x0100, 0x0110, 0x0120
_DATA_SET_TYPE, _STATUS, _ERROR_COMMENT, _AFFECTED_SOP_INSTANCE_UID = 0x0800, 0x0900, 0x0902, 0x1000
_MAX_COMMENT_CHARACTERS = 64  # Error Comment is an LO
_HEADER = struct.Struct("<HHI")
_SHORT = struct.Struct("<H")


class StoreRequest(NamedTuple):
    context_id: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def read_request(
    command: bytes, context_id: int, abstract_syntax: str, transfer_syntax_uid: str
) -> StoreRequest | None:
    """The C-STORE request that this command set is; None where it is anything else, or is not as it should be."""
    elements = _elements(command)
    try:
        field, message_id, kind = (
            _SHORT.unpack(elements[number])[0] for number in (_COMMAND_FIELD, _MESSAGE_ID, _DATA_SET_TYPE)
        )
        sop_class_uid, sop_instance_uid = (
            elements[number].rstrip(b"\0 ").decode("ascii")
            for number in (_AFFECTED_SOP_CLASS_UID, _AFFECTED_SOP_INSTANCE_UID)
        )
    except (KeyError, struct.error, UnicodeDecodeError):
        return None
    is_whole = field == _C_STORE_RQ and kind != _NO_DATA_SET and sop_instance_uid
    if not is_whole or sop_class_uid != abstract_syntax:
        return None
    return StoreRequest(context_id, message_id, sop_class_uid, sop_instance_uid, transfer_syntax_uid)


def response(request: StoreRequest, status: int, comment: str = "") -> bytes:
    """The P-DATA-TF PDU that answers a request."""
    elements = b"".join(
        (
            _text(_AFFECTED_SOP_CLASS_UID, request.sop_class_uid, b"\0"),
            _short(_COMMAND_FIELD, _C_STORE_RSP),
            _short(_RESPONDED_TO, request.message_id),
            _short(_DATA_SET_TYPE, _NO_DATA_SET),
            _short(_STATUS, status),
            _text(_ERROR_COMMENT, comment[:_MAX_COMMENT_CHARACTERS], b" ") if comment else b"",
            _text(_AFFECTED_SOP_INSTANCE_UID, request.sop_instance_uid, b"\0"),
        )
    )
    group_length = _HEADER.pack(0x0000, 0x0000, 4) + struct.pack("<I", len(elements))
    return data_pdu(request.context_id, group_length + elements, is_command=True, is_last=True)


def data_pdu(context_id: int, fragment: bytes | memoryview, *, is_command: bool, is_last: bool) -> bytes:
    """A P-DATA-TF PDU of one presentation data value."""
    control = is_command | is_last << 1
    return struct.pack(">BBIIBB", 4, 0, len(fragment) + 6, len(fragment) + 2, context_id, control) + fragment


def _elements(command: bytes) -> dict[int, bytes]:
    """Values by element number; what stands behind an element that is cut short is left out."""
    found: dict[int, bytes] = {}
    at, end = 0, len(command)
    while at + 8 <= end:
        _, number, length = _HEADER.unpack_from(command, at)
        at += 8
        if at + length > end:
            break
        found[number] = command[at : at + length]
        at += length
    return found


def _short(number: int, value: int) -> bytes:
    return _HEADER.pack(0x0000, number, 2) + _SHORT.pack(value)


def _text(number: int, value: str, padding: bytes) -> bytes:
    raw = value.encode("ascii", "replace")
    raw += padding * (len(raw) % 2)
    return _HEADER.pack(0x0000, number, len(raw)) + raw
