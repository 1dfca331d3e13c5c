"""C-STORE commands by hand: the request as it came, the response as it goes out (PS3.7 9.3.1, PS3.8 9.3.5).

A command set is Implicit VR Little Endian, always. The library builds a data set from it and one for the answer; here it
is eight elements in and eight out, for each instance.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

_C_STORE_RQ, _C_STORE_RSP = 0x0001, 0x8001
_NO_DATA_SET = 0x0101
_GROUP_LENGTH = 0x0000
_AFFECTED_SOP_CLASS_UID, _COMMAND_FIELD, _MESSAGE_ID, _RESPONDED_TO = 0x0002, 0x0100, 0x0110, 0x0120
_DATA_SET_TYPE, _STATUS, _ERROR_COMMENT, _AFFECTED_SOP_INSTANCE_UID = 0x0800, 0x0900, 0x0902, 0x1000
_MOST_LAYOUTS = 8
_MAX_COMMENT_CHARACTERS = 64  # Error Comment is an LO
_HEADER = struct.Struct("<HHI")
_SHORT = struct.Struct("<H")


class StoreRequest(NamedTuple):
    context_id: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


class _Layout(NamedTuple):
    """Where everything stood in one command: most often that is where it stands in the next.

    fixed: cuts out what must be as expected. differing: cuts out the Message ID, and the instance's UID with its padding.
    """

    context_id: int
    fixed: Callable[[bytes], tuple[Any, ...]]
    expected: tuple[Any, ...]
    differing: Callable[[bytes], tuple[Any, ...]]
    request: StoreRequest


class StoreRequests:
    """Reads the commands of one association, each by what it shares with one before. `read` is as `read_request`."""

    def __init__(self) -> None:
        self._layouts: dict[int, _Layout] = {}  # by the length of the command

    def read(
        self, command: bytes, context_id: int, abstract_syntax: str, transfer_syntax_uid: str
    ) -> StoreRequest | None:
        """A presentation context must come with the same syntaxes each time."""
        layout = self._layouts.get(len(command))
        if layout is not None and layout.context_id == context_id and layout.fixed(command) == layout.expected:
            message_id, raw = layout.differing(command)
            if raw.isascii() and (uid := raw.rstrip(b"\0 ")):
                return layout.request._replace(message_id=message_id, sop_instance_uid=uid.decode("ascii"))
        request = read_request(command, context_id, abstract_syntax, transfer_syntax_uid)
        if request is not None:
            self._learn(command, request)
        return request

    def _learn(self, command: bytes, request: StoreRequest) -> None:
        places = {number: (start, end) for number, start, end in _elements(command)}
        (id_at, id_end), (uid_at, uid_end) = places[_MESSAGE_ID], places[_AFFECTED_SOP_INSTANCE_UID]
        if len(places) < len(list(_elements(command))) or id_end > uid_at:
            return  # an element that is there twice, or out of order: let each such command be read whole
        between, uid_bytes = uid_at - id_end, uid_end - uid_at
        fixed = struct.Struct(f"<{id_at}s2x{between}s{uid_bytes}x{len(command) - uid_end}s").unpack_from
        differing = struct.Struct(f"<{id_at}xH{between}x{uid_bytes}s").unpack_from
        self._layouts[len(command)] = _Layout(request.context_id, fixed, fixed(command), differing, request)
        if len(self._layouts) > _MOST_LAYOUTS:
            del self._layouts[next(iter(self._layouts))]


def read_request(
    command: bytes, context_id: int, abstract_syntax: str, transfer_syntax_uid: str
) -> StoreRequest | None:
    """The C-STORE request that this command set is; None where it is anything else, or is not as it should be."""
    elements = {number: command[start:end] for number, start, end in _elements(command)}
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
    uid = _padded(request.sop_instance_uid, b"\0")
    before, between = _around(
        request.context_id, request.sop_class_uid, len(uid), status, comment[:_MAX_COMMENT_CHARACTERS]
    )
    return b"".join((before, _SHORT.pack(request.message_id), between, uid))


@lru_cache(maxsize=256)
def _around(context_id: int, sop_class_uid: str, uid_bytes: int, status: int, comment: str) -> tuple[bytes, bytes]:
    """What stands before the value of Message ID Being Responded To, and between it and that of the instance's UID."""
    before = b"".join(
        (
            _element(_AFFECTED_SOP_CLASS_UID, _padded(sop_class_uid, b"\0")),
            _element(_COMMAND_FIELD, _SHORT.pack(_C_STORE_RSP)),
            _HEADER.pack(0x0000, _RESPONDED_TO, _SHORT.size),
        )
    )
    between = b"".join(
        (
            _element(_DATA_SET_TYPE, _SHORT.pack(_NO_DATA_SET)),
            _element(_STATUS, _SHORT.pack(status)),
            _element(_ERROR_COMMENT, _padded(comment, b" ")) if comment else b"",
            _HEADER.pack(0x0000, _AFFECTED_SOP_INSTANCE_UID, uid_bytes),
        )
    )
    behind_group_length = len(before) + _SHORT.size + len(between) + uid_bytes
    group_length = _element(_GROUP_LENGTH, struct.pack("<I", behind_group_length))
    return _value_header(
        context_id, len(group_length) + behind_group_length, True, True
    ) + group_length + before, between


def data_pdu(context_id: int, fragment: bytes | memoryview, *, is_command: bool, is_last: bool) -> bytes:
    """A P-DATA-TF PDU of one presentation data value."""
    return _value_header(context_id, len(fragment), is_command, is_last) + fragment


def _value_header(context_id: int, fragment_bytes: int, is_command: bool, is_last: bool) -> bytes:
    """Of a PDU and its one presentation data value."""
    control = is_command | is_last << 1
    return struct.pack(">BBIIBB", 4, 0, fragment_bytes + 6, fragment_bytes + 2, context_id, control)


def _elements(command: bytes) -> Iterator[tuple[int, int, int]]:
    """Element number, and where its value begins and ends; what stands behind an element that is cut short is left out."""
    at, end = 0, len(command)
    while at + _HEADER.size <= end:
        _, number, length = _HEADER.unpack_from(command, at)
        at += _HEADER.size
        if at + length > end:
            break
        yield number, at, at + length
        at += length


def _element(number: int, value: bytes) -> bytes:
    return _HEADER.pack(0x0000, number, len(value)) + value


def _padded(text: str, padding: bytes) -> bytes:
    raw = text.encode("ascii", "replace")
    return raw + padding * (len(raw) % 2)
