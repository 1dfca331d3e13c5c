"""An association that the node asks for, and that ends whatever the peer does.

pynetdicom puts the request into bytes; no thread and no timer of its own has a part in it, so that what bounds time and
memory is the wire. Of an acceptance is read what the node goes by, and nothing else of it can stand in the way.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pydicom.uid import UID
from pynetdicom._globals import APPLICATION_CONTEXT_NAME
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context

from dicom_node.network.connecting import NoAssociation, Peer, connected
from dicom_node.network.framing import ASSOCIATE_AC, ASSOCIATE_RJ, BadPdu
from dicom_node.network.store_status import rejection_in_words
from dicom_node.network.wire import LOST, Broken, Late, Wire, end_by
from dicom_node.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

Context = tuple[str, str]  # SOP Class UID, Transfer Syntax UID
MAX_CONTEXTS = 128  # PS3.8 section 9.3.2.2: context IDs are odd and below 256
_ACCEPTED, _PERMANENT = 0, 1
# Items of an acceptance, and of an item (PS3.8 sections 9.3.3.2, 9.3.3.3 and D.1.1).
_RESULT, _TRANSFER_SYNTAX, _USER_INFORMATION, _MAXIMUM_LENGTH = 0x21, 0x40, 0x50, 0x51
# What stands before the items of an acceptance, and what all of it may be: 128 contexts are answered in 5 kB, and a
# megabyte of items would keep the processor busy for seconds.
_LEAST_ANSWER_BYTES, _MOST_ANSWER_BYTES = 68, 64 * 1024


@dataclass(frozen=True, slots=True)
class Association:
    """An established one. accepted: context IDs of what was accepted; max_pdu_bytes: the peer's, 0 where it names no limit."""

    wire: Wire
    accepted: Mapping[Context, int]
    max_pdu_bytes: int


@contextmanager
def associated(peer: Peer, proposed: Sequence[Context]) -> Iterator[Association]:
    """An association, released at the end of the block, unless it was aborted there; aborted where the block is left early.

    Raises NoAssociation. One on which no context was accepted is an association none the less.
    """
    with connected(peer) as wire:
        try:
            yield _established(peer, wire, proposed)
            wire.release(peer.timeouts.acse_s)
        except BaseException:
            wire.abort()
            raise


def _established(peer: Peer, wire: Wire, proposed: Sequence[Context]) -> Association:
    deadline = time.monotonic() + peer.timeouts.acse_s
    try:
        wire.write([[_request(peer, proposed)]])
        kind, answer = wire.pdu(deadline, f"no answer to the association request within {peer.timeouts.acse_s:g} s")
        if kind == ASSOCIATE_AC:
            return _accepted(wire, proposed, answer)
        if kind == ASSOCIATE_RJ and len(answer) >= 4:
            result, source, reason = answer[1:4]
            words = f"{peer.ae_title} at {peer.where}: {rejection_in_words(result, source, reason)}"
            raise NoAssociation(words, needs_a_person=result == _PERMANENT)
        raise end_by(kind)
    except (Broken, Late, BadPdu) as error:
        needs_a_person = isinstance(error, Broken) and error.needs_a_person
        hint = "; does that port want TLS?" if peer.tls is None and str(error) == LOST else ""
        raise NoAssociation(
            f"no association with {peer.where}: {error}{hint}", needs_a_person=needs_a_person
        ) from error


def _request(peer: Peer, proposed: Sequence[Context]) -> bytes:
    """An A-ASSOCIATE-RQ (PS3.8 section 9.3.2), each context proposed by itself."""
    contexts = [build_context(*context) for context in proposed]
    for position, context in enumerate(contexts):
        context.context_id = 2 * position + 1
    length, uid, name = (
        MaximumLengthNotification(),
        ImplementationClassUIDNotification(),
        ImplementationVersionNameNotification(),
    )
    length.maximum_length_received = peer.max_pdu_bytes
    uid.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    name.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    request = A_ASSOCIATE()
    request.application_context_name = UID(APPLICATION_CONTEXT_NAME)
    request.calling_ae_title, request.called_ae_title = peer.calling_ae_title, peer.ae_title
    request.presentation_context_definition_list = contexts
    request.user_information = [length, uid, name]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(request)
    return pdu.encode()


def _accepted(wire: Wire, proposed: Sequence[Context], answer: bytes) -> Association:
    """Items of kinds that are not known are passed over (PS3.8 section 9.3.1). Raises BadPdu."""
    if not _LEAST_ANSWER_BYTES <= len(answer) <= _MOST_ANSWER_BYTES:
        raise BadPdu(f"an association acceptance of {len(answer)} bytes")
    syntaxes: dict[int, list[bytes]] = {}
    max_pdu_bytes = 0
    try:
        for kind, value in _items(answer[_LEAST_ANSWER_BYTES:]):
            if kind == _RESULT and value[2] == _ACCEPTED:
                syntaxes[value[0]] = [uid.rstrip(b"\0 ") for sub, uid in _items(value[4:]) if sub == _TRANSFER_SYNTAX]
            elif kind == _USER_INFORMATION:
                for sub, field in _items(value):
                    if sub == _MAXIMUM_LENGTH:
                        (max_pdu_bytes,) = struct.unpack(">L", field)
    except (struct.error, IndexError) as error:
        raise BadPdu("an association acceptance that cannot be read") from error
    # An acceptance in another syntax than the one that was proposed is none: nothing could be encoded by it.
    numbered = {2 * position + 1: context for position, context in enumerate(proposed)}
    accepted = {one: number for number, one in numbered.items() if syntaxes.get(number) == [one[1].encode()]}
    return Association(wire, accepted, max_pdu_bytes)


def _items(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    """Items, or the items in one: the type of each and what follows its four bytes. Raises struct.error."""
    while encoded:
        kind, length = struct.unpack_from(">BxH", encoded)
        (value,) = struct.unpack_from(f"{length}s", encoded, 4)
        yield kind, value
        encoded = encoded[4 + length :]
