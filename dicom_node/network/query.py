"""One C-FIND on an association that is there: a request, answers one by one, an end (PS3.7 section 9.1.2).

What comes back is bounded in number, size and time, whatever the peer sends.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from io import BytesIO
from itertools import count

from pydicom import Dataset
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.dsutils import decode, encode

from dicom_node.network.framing import P_DATA_TF, BadPdu, Fragment, find_command, find_response, fragments, framed
from dicom_node.network.requested import Association
from dicom_node.network.status import meaning_of
from dicom_node.network.wire import Late, end_by

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
# In the default transfer syntax, which every peer must take (PS3.5 section 10.1).
CONTEXT = (STUDY_ROOT_FIND, str(ImplicitVRLittleEndian))
# To one query. A 4D series has some ten thousand instances; a peer that goes on beyond this never ends.
MOST_ANSWERS = 50_000
_MOST_COMMAND_BYTES, _MOST_IDENTIFIER_BYTES = 64 * 1024, 256 * 1024
_SUCCESS, _PENDING = 0x0000, frozenset({0xFF00, 0xFF01})

Identifier = Mapping[str, str]


class Refused(Exception):
    """The final status of a query is no success; the status in words."""


class Queries:
    """association: one that accepted CONTEXT. answers_within_s: how long the answers to one query may take, all of them."""

    def __init__(self, association: Association, answers_within_s: float) -> None:
        self._wire = association.wire
        self._context_id = association.accepted[CONTEXT]
        self._max_pdu_bytes = association.max_pdu_bytes
        self._answers_within_s = answers_within_s
        self._message_ids = count(1)

    def query(self, level: str, keys: Identifier) -> Iterator[Identifier]:
        """What matches, to be read to its end: of each match the values of these keys, as far as it has them.

        keys: by keyword; "" is to be returned whatever it is. Raises Refused, Broken, Late and BadPdu.
        """
        message_id = next(self._message_ids) % 0xFFFF
        command, identifier = find_command(message_id, STUDY_ROOT_FIND), memoryview(_encoded(level, keys))
        self._wire.write(framed(self._context_id, command, identifier, self._max_pdu_bytes))
        came = self._fragments(f"no end of the answers to C-FIND within {self._answers_within_s:g} s")
        for answered in count():
            response = find_response(_whole(came, _MOST_COMMAND_BYTES, is_command=True))
            if response is None or response.message_id != message_id:
                raise BadPdu("an answer that does not belong to the C-FIND")
            match = _whole(came, _MOST_IDENTIFIER_BYTES, is_command=False) if response.has_data_set else None
            if response.status == _SUCCESS:
                return
            if response.status not in _PENDING:
                raise Refused(f"C-FIND answered 0x{response.status:04X}: {meaning_of(response.status)}")
            if match is None:
                raise BadPdu("a pending answer to C-FIND without an identifier")
            if answered >= MOST_ANSWERS:
                raise BadPdu(f"more than {MOST_ANSWERS} answers to one C-FIND")
            yield _decoded(match, keys)

    def _fragments(self, none_yet: str) -> Iterator[Fragment]:
        deadline = time.monotonic() + self._answers_within_s
        while True:
            kind, pdu = self._wire.pdu(deadline, none_yet)
            if kind != P_DATA_TF:
                raise end_by(kind)
            # The wire gives what was there by then, and a peer that never ends always has something there.
            if time.monotonic() > deadline:
                raise Late(none_yet)
            yield from fragments(memoryview(pdu))


def _whole(came: Iterator[Fragment], most_bytes: int, *, is_command: bool) -> bytes:
    """A command or data set from its fragments. Raises BadPdu."""
    whole = bytearray()
    for fragment in came:
        if fragment.is_command != is_command:
            raise BadPdu("command and identifier of an answer to C-FIND are mixed")
        whole += fragment.value
        if len(whole) > most_bytes:
            raise BadPdu(f"more than {most_bytes} bytes in one answer to C-FIND")
        if fragment.is_last:
            break
    return bytes(whole)


def _encoded(level: str, keys: Identifier) -> bytes:
    data_set = Dataset()
    data_set.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(data_set, keyword, value or None)
    return encode(data_set, is_implicit_vr=True, is_little_endian=True) or b""


def _decoded(identifier: bytes, keys: Identifier) -> Identifier:
    """Raises BadPdu."""
    found: dict[str, str] = {}
    try:
        data_set = decode(BytesIO(identifier), is_implicit_vr=True, is_little_endian=True)
        for keyword in keys:
            # As it came: a value that is none must not be more than a value that is missing.
            element = data_set.get_item(Tag(keyword)) if keyword in data_set else None
            if element is not None and isinstance(element.value, bytes):
                found[keyword] = element.value.decode("ascii", errors="replace").strip("\0 ")
    except Exception as error:  # whatever a peer can bring the library to
        raise BadPdu("an identifier that cannot be read") from error
    return {keyword: value for keyword, value in found.items() if value}
