"""C-STORE, C-ECHO and C-FIND requests as the pieces of memory that go on the network, and responses as they come from there.

PS3.8 section 9.3.5 lays out P-DATA-TF PDUs, PS3.7 sections 9.3.1, 9.3.2 and 9.3.5 the commands. The data set is never copied:
each of its fragments is a view of the bytes that are stored, headed by twelve bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT = 0x02, 0x03, 0x04, 0x05, 0x06, 0x07
VERIFICATION = "1.2.840.10008.1.1"
PDU_HEADER_BYTES = 6
# What stands before the fragment in a PDU with one PDV: its length, the context ID and the message control header.
PDV_HEADER_BYTES = 6
# The most buffers that one sendmsg takes (IOV_MAX of Linux); a fragment takes two.
PIECES_AT_ONCE = 1024
# Where the peer names no limit, or one so large that no receiver can mean it: what a careful acceptor still takes.
LARGEST_PDU_BYTES = 1024 * 1024
_SMALLEST_FRAGMENT_BYTES = 2

_COMMAND, _LAST = 0x01, 0x02  # of the message control header (PS3.8 section E.2)
_PDU = struct.Struct(">BxLLBB")
_ELEMENT = struct.Struct("<HHL")
_C_STORE_RQ, _C_STORE_RSP, _C_ECHO_RQ, _C_ECHO_RSP = 0x0001, 0x8001, 0x0030, 0x8030
_C_FIND_RQ, _C_FIND_RSP = 0x0020, 0x8020
_MEDIUM_PRIORITY = 0
_WITH_DATA_SET, _WITHOUT_DATA_SET = 0x0000, 0x0101
_MOST_COMMENT_CHARACTERS = 64  # VR LO (PS3.7 table E.1-1)
_FIELD, _MESSAGE_ID, _ANSWERED_ID, _PRIORITY, _DATA_SET_TYPE, _STATUS, _COMMENT = (
    0x0100,
    0x0110,
    0x0120,
    0x0700,
    0x0800,
    0x0900,
    0x0902,
)
_SOP_CLASS, _SOP_INSTANCE = 0x0002, 0x1000

Piece = bytes | memoryview


class BadPdu(ValueError):
    """These bytes are no PDU, or no command, as PS3.8 section 9.3 and PS3.7 section 6.3 have them."""


@dataclass(frozen=True, slots=True)
class Response:
    """What answers a request (PS3.7 sections 9.3.1.2, 9.3.2.2, 9.3.5.2); comment: the peer's own, as far as it prints."""

    message_id: int  # of the request that it answers
    status: int
    comment: str
    has_data_set: bool = False


def store_command(message_id: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """The command set of a C-STORE request (PS3.7 section 9.3.1.1), always in Implicit VR Little Endian."""
    return _command(
        _element(_SOP_CLASS, _padded(sop_class_uid)),
        _element(_FIELD, struct.pack("<H", _C_STORE_RQ)),
        _element(_MESSAGE_ID, struct.pack("<H", message_id)),
        _element(_PRIORITY, struct.pack("<H", _MEDIUM_PRIORITY)),
        _element(_DATA_SET_TYPE, struct.pack("<H", _WITH_DATA_SET)),
        _element(_SOP_INSTANCE, _padded(sop_instance_uid)),
    )


def echo_command(message_id: int) -> bytes:
    """The command set of a C-ECHO request (PS3.7 section 9.3.5.1)."""
    return _command(
        _element(_SOP_CLASS, _padded(VERIFICATION)),
        _element(_FIELD, struct.pack("<H", _C_ECHO_RQ)),
        _element(_MESSAGE_ID, struct.pack("<H", message_id)),
        _element(_DATA_SET_TYPE, struct.pack("<H", _WITHOUT_DATA_SET)),
    )


def find_command(message_id: int, sop_class_uid: str) -> bytes:
    """The command set of a C-FIND request (PS3.7 section 9.3.2.1)."""
    return _command(
        _element(_SOP_CLASS, _padded(sop_class_uid)),
        _element(_FIELD, struct.pack("<H", _C_FIND_RQ)),
        _element(_MESSAGE_ID, struct.pack("<H", message_id)),
        _element(_PRIORITY, struct.pack("<H", _MEDIUM_PRIORITY)),
        _element(_DATA_SET_TYPE, struct.pack("<H", _WITH_DATA_SET)),
    )


class Content(Protocol):
    """Bytes that are sent by slices; they may be read only then, and raise what reading them raises."""

    def __len__(self) -> int: ...

    def __getitem__(self, where: slice, /) -> memoryview: ...


def framed(context_id: int, command: bytes, data_set: Content | None, max_pdu_bytes: int) -> Iterator[list[Piece]]:
    """A message as P-DATA-TF PDUs with one PDV each, in lists for sendmsg of at most PIECES_AT_ONCE pieces.

    max_pdu_bytes: the peer's maximum length (PS3.8 annex D.1): of all that follows a PDU's own six bytes; 0 is no limit.
    data_set: an even number of bytes, and not none; None where the message has no data set. Fragments are even, as DCMTK
    wants them. Raises BadPdu where no fragment fits.
    """
    most = fragment_bytes(max_pdu_bytes)
    pieces: list[Piece] = []
    messages: tuple[tuple[Content | None, int], ...] = ((memoryview(command), _COMMAND), (data_set, 0))
    for message, kind in messages:
        if message is None:
            continue
        full = _PDU.pack(P_DATA_TF, most + PDV_HEADER_BYTES, most + 2, context_id, kind)
        last_at = (len(message) - 1) // most * most
        for at in range(0, last_at, most):
            pieces += (full, message[at : at + most])
            if len(pieces) >= PIECES_AT_ONCE:
                yield pieces
                pieces = []
        rest = len(message) - last_at
        pieces += (_PDU.pack(P_DATA_TF, rest + PDV_HEADER_BYTES, rest + 2, context_id, kind | _LAST), message[last_at:])
    yield pieces


def fragment_bytes(max_pdu_bytes: int) -> int:
    """The most bytes of a message that one PDU carries, even. Raises BadPdu where the maximum leaves room for none."""
    limit = min(max_pdu_bytes, LARGEST_PDU_BYTES) if max_pdu_bytes else LARGEST_PDU_BYTES
    most = (limit - PDV_HEADER_BYTES) // 2 * 2
    if most < _SMALLEST_FRAGMENT_BYTES:
        raise BadPdu(f"the peer's maximum length of {max_pdu_bytes} bytes leaves no room for data in a PDU")
    return most


class Fragment(NamedTuple):
    """What one PDV carries of a message."""

    value: bytes
    is_command: bool
    is_last: bool


def fragments(pdu: memoryview) -> Iterator[Fragment]:
    """The fragments in the variable field of a P-DATA-TF PDU (PS3.8 section 9.3.5, annex E). Raises BadPdu."""
    at = 0
    while at < len(pdu):
        if at + PDV_HEADER_BYTES > len(pdu):
            raise BadPdu("a PDV is cut")
        length, _context_id, control = struct.unpack_from(">LBB", pdu, at)
        end = at + 4 + length
        if length < 2 or end > len(pdu):
            raise BadPdu(f"a PDV of {length} bytes does not fit its PDU")
        yield Fragment(bytes(pdu[at + PDV_HEADER_BYTES : end]), bool(control & _COMMAND), bool(control & _LAST))
        at = end


def command_fragments(pdu: memoryview) -> Iterator[tuple[bytes, bool]]:
    """The fragments of commands in the variable field of a P-DATA-TF PDU, each with whether it is the last one.

    Those of data sets are left out: a C-STORE response has none (PS3.7 section 9.3.1.2). Raises BadPdu.
    """
    return ((one.value, one.is_last) for one in fragments(pdu) if one.is_command)


def store_response(command: bytes) -> Response | None:
    """A command set as the C-STORE response that it is; None where it is another one. Raises BadPdu."""
    return _response(command, _C_STORE_RSP)


def echo_response(command: bytes) -> Response | None:
    """A command set as the C-ECHO response that it is; None where it is another one. Raises BadPdu."""
    return _response(command, _C_ECHO_RSP)


def find_response(command: bytes) -> Response | None:
    """A command set as the C-FIND response that it is; None where it is another one. Raises BadPdu."""
    return _response(command, _C_FIND_RSP)


def _response(command: bytes, expected: int) -> Response | None:
    elements = _elements(command)
    field, message_id, status = (_number(elements, one) for one in (_FIELD, _ANSWERED_ID, _STATUS))
    if field != expected or message_id is None or status is None:
        return None
    # It goes into the history, and from there to terminals: a peer's control characters must not.
    comment = elements.get(_COMMENT, b"").decode("latin-1")
    printed = "".join(one for one in comment if one.isprintable())
    has_data_set = _number(elements, _DATA_SET_TYPE) not in {None, _WITHOUT_DATA_SET}
    return Response(message_id, status, printed.strip()[:_MOST_COMMENT_CHARACTERS], has_data_set)


def _command(*elements: bytes) -> bytes:
    value = b"".join(elements)
    return _element(0x0000, struct.pack("<L", len(value))) + value


def _elements(command: bytes) -> Mapping[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(command):
        if at + _ELEMENT.size > len(command):
            raise BadPdu("an element of a command is cut")
        group, element, length = _ELEMENT.unpack_from(command, at)
        at += _ELEMENT.size
        if group != 0x0000 or at + length > len(command):
            raise BadPdu(f"({group:04X},{element:04X}) of {length} bytes does not fit its command")
        found[element] = command[at : at + length]
        at += length
    return found


def _number(elements: Mapping[int, bytes], element: int) -> int | None:
    value = elements.get(element, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else None


def _element(element: int, value: bytes) -> bytes:
    return _ELEMENT.pack(0x0000, element, len(value)) + value


def _padded(uid: str) -> bytes:
    value = uid.encode("ascii", errors="replace")
    return value + b"\0" * (len(value) % 2)
