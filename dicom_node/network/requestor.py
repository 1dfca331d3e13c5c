"""The node as requestor: Storage SCU and Verification SCU.

Data sets go out as they are stored, byte for byte: each (SOP class, transfer syntax) that is sent is proposed in a
presentation context of its own, so what the peer accepts needs no encoding. Beside Explicit VR Little Endian the default
transfer syntax is proposed, as PS3.5 section 10.1 asks: for a peer that knows nothing else, and only for it, the data
set is encoded anew.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from pydicom import dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.transport import AssociationSocket

from dicom_node.network.file_meta import NotPart10, read_file_meta
from dicom_node.network.store_status import Meaning, Verdict, meaning_of, rejection_in_words

Context = tuple[str, str]  # SOP Class UID, Transfer Syntax UID
MAX_CONTEXTS = 128  # PS3.8 section 9.3.2.2: context IDs are odd and below 256
_VERIFICATION = "1.2.840.10008.1.1"
_MEDIUM_PRIORITY = 0
_POLL_S = 0.002
_GRACE_S = 2.0
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux alone has it


@dataclass(frozen=True, slots=True)
class Timeouts:
    """connect_s: TCP; acse_s: accept and release; dimse_s: answer to a whole message; network_s: a stalled socket."""

    connect_s: float = 10.0
    acse_s: float = 30.0
    dimse_s: float = 60.0
    network_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A storage SCP: `ae_title` is the called one; `max_pdu_bytes` is what we accept, theirs bounds what we send."""

    ae_title: str
    address: str
    port: int
    calling_ae_title: str
    max_pdu_bytes: int = 128 * 1024
    timeouts: Timeouts = field(default_factory=Timeouts)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An instance to send. part10: the file's bytes, or what reads them when their turn comes."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    part10: bytes | Callable[[], bytes]

    @property
    def contexts(self) -> tuple[Context, ...]:
        """What it needs one of, the first one rather: (SOP class, transfer syntax) as stored, and the default one."""
        as_stored = (self.sop_class_uid, self.transfer_syntax_uid)
        if self.transfer_syntax_uid == ExplicitVRLittleEndian:
            return as_stored, (self.sop_class_uid, str(ImplicitVRLittleEndian))
        return (as_stored,)


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """What became of one instance. status: of the C-STORE response, None where none came."""

    sop_instance_uid: str
    verdict: Verdict
    reason: str
    status: int | None = None
    # The peer's own Error Comment. It may quote the data set, so it belongs in the history and never in a log.
    comment: str = ""
    # Worth a retry, but a person has to act first: the peer does not know us, or not by this name.
    needs_a_person: bool = False


@dataclass(frozen=True, slots=True)
class EchoResult:
    ok: bool
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why there is no association."""

    reason: str
    needs_a_person: bool = False


def send(peer: Peer, items: Sequence[Outgoing]) -> Iterator[SendOutcome]:
    """Send instances in order on one association, and yield an outcome for each as soon as it is known.

    An instance under which the peer aborts does not take the others with it: they go on a further association.
    Raises ValueError for more than 128 presentation contexts.
    """
    if len({context for item in items for context in item.contexts}) > MAX_CONTEXTS:
        raise ValueError(f"{len(items)} instances need more than {MAX_CONTEXTS} presentation contexts: send in parts")
    rest = tuple(items)
    while rest:
        answered = 0
        for outcome in _send_on_one_association(peer, rest):
            answered += 1
            yield outcome
        rest = rest[answered:]


def echo(peer: Peer) -> EchoResult:
    """C-ECHO (PS3.4 annex A): is the peer there, does it know us, does it answer?"""
    began = time.monotonic()

    def result(ok: bool, detail: str) -> EchoResult:
        return EchoResult(ok, detail, time.monotonic() - began)

    association = _associate(peer, [build_context(_VERIFICATION)])
    if isinstance(association, _Refusal):
        return result(False, association.reason)
    with _ending(association, peer.timeouts.acse_s):
        if not association.is_established:
            return result(False, "Verification is not accepted")
        status = association.send_c_echo().get("Status")
        if status is None:
            return result(False, "no answer to C-ECHO")
        return result(status == 0, "C-ECHO answered" if status == 0 else f"C-ECHO answered 0x{status:04X}")


def _send_on_one_association(peer: Peer, items: Sequence[Outgoing]) -> Iterator[SendOutcome]:
    """Ends early, after the outcome of the instance at fault, where the peer aborted: the rest is worth another try."""
    wanted = list(dict.fromkeys(context for item in items for context in item.contexts))
    association = _associate(peer, [build_context(*context) for context in wanted])
    if isinstance(association, _Refusal):
        for item in items:
            yield SendOutcome(
                item.sop_instance_uid, "failed", association.reason, needs_a_person=association.needs_a_person
            )
        return
    accepted = {
        (str(context.abstract_syntax), str(context.transfer_syntax[0])): context
        for context in association.accepted_contexts
    }
    with _ending(association, peer.timeouts.acse_s):
        for position, item in enumerate(items):
            context = next((accepted[one] for one in item.contexts if one in accepted), None)
            if context is None:
                yield _not_accepted(peer, item)
                continue
            answer = _store(association, context, item, message_id=position % 0xFFFF + 1)
            if isinstance(answer, SendOutcome):
                yield answer
                continue
            yield SendOutcome(item.sop_instance_uid, "failed", answer.reason)
            if answer.peer_is_alive:
                return
            for later in items[position + 1 :]:
                yield SendOutcome(later.sop_instance_uid, "failed", answer.reason)
            return


def _not_accepted(peer: Peer, item: Outgoing) -> SendOutcome:
    name, syntax = UID(item.sop_class_uid).name, UID(item.transfer_syntax_uid).name
    return SendOutcome(item.sop_instance_uid, "refused", f"{peer.ae_title} does not accept {name} in {syntax}")


class _Entity(AE):
    """An AE for one association, which keeps hold of its socket: pynetdicom forgets to close one that failed."""

    connection: socket.socket | None = None

    def _create_socket(self, assoc: Association, address: Any, tls_args: Any) -> AssociationSocket:
        transport = super()._create_socket(assoc, address, tls_args)
        self.connection = transport.socket
        return transport


def _associate(peer: Peer, contexts: list[PresentationContext]) -> Association | _Refusal:
    """An association; established, unless every context was refused (its rejected_contexts then say which)."""
    ae = _Entity(ae_title=peer.calling_ae_title)
    ae.connection_timeout = peer.timeouts.connect_s
    ae.acse_timeout = peer.timeouts.acse_s
    ae.dimse_timeout = peer.timeouts.dimse_s
    ae.network_timeout = peer.timeouts.network_s
    where = f"{peer.address}:{peer.port}"
    connected = False
    with ExitStack() as negotiation:

        def prepare(event: evt.Event) -> None:
            nonlocal connected
            connected = True
            _prepare_socket(event.assoc, peer.timeouts.network_s)
            negotiation.enter_context(_cut_after(event.assoc, peer.timeouts.acse_s))

        try:
            # Resolved here, where the error has a name; pynetdicom takes an address.
            found = socket.getaddrinfo(peer.address, peer.port, type=socket.SOCK_STREAM)
            association = ae.associate(
                str(found[0][4][0]),
                peer.port,
                contexts=contexts,
                ae_title=peer.ae_title,
                max_pdu=peer.max_pdu_bytes,
                evt_handlers=[(evt.EVT_CONN_OPEN, prepare)],
            )
        except OSError as error:
            return _Refusal(f"no connection to {where}: {error.strerror or error}")
    if association.is_established:
        return association
    _close(association)
    if association.rejected_contexts:
        return association
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        words = rejection_in_words(answer.result, answer.result_source, answer.diagnostic)
        return _Refusal(f"{peer.ae_title} at {where}: {words}", needs_a_person=answer.result == 1)
    if not connected:
        return _Refusal(f"no connection to {where}: refused, or not within {peer.timeouts.connect_s:g} s")
    return _Refusal(f"{where} took the connection, but answered no association within {peer.timeouts.acse_s:g} s")


def _prepare_socket(association: Association, network_s: float) -> None:
    """No Nagle delay before the last PDU of a message; and a write to a peer that stopped reading ends."""
    connection = _socket_of(association)
    if connection is not None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(network_s)


@contextmanager
def _ending(association: Association, acse_s: float) -> Iterator[None]:
    """Release an association at the end of the block; abort it where the block is left early."""
    try:
        yield
        if association.is_established:
            with _cut_after(association, acse_s):
                association.release()
    except BaseException:
        _cut(association)
        raise
    finally:
        _close(association)


@contextmanager
def _cut_after(association: Association, acse_s: float) -> Iterator[None]:
    """Close the socket where the block takes clearly longer than its timeout.

    pynetdicom's timeouts count from the last byte: one byte a second would hold it, and so the caller, for ever.
    """
    timer = threading.Timer(acse_s + _GRACE_S, _shut, [association])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(association: Association) -> None:
    """Abort without waiting for the peer to read or to end what it writes."""
    association.abort(block=False)
    time.sleep(_POLL_S)
    _shut(association)
    association.kill()


def _acknowledge_now(association: Association) -> None:
    """DCMTK writes a response in two parts and, with Nagle on, holds the second until the first is acknowledged.

    A kernel may delay that by 40 ms. The option falls back by itself, so it is set for each response.
    """
    connection = _socket_of(association)
    if _QUICKACK is not None and connection is not None:
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)


def _shut(association: Association) -> None:
    connection = _socket_of(association)
    if connection is not None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def _close(association: Association) -> None:
    connection = _socket_of(association)
    if connection is not None:
        connection.close()


def _socket_of(association: Association) -> socket.socket | None:
    entity = association.ae
    return entity.connection if isinstance(entity, _Entity) else None


@dataclass(frozen=True, slots=True)
class _NoAnswer:
    reason: str
    peer_is_alive: bool


def _store(
    association: Association, context: PresentationContext, item: Outgoing, *, message_id: int
) -> SendOutcome | _NoAnswer:
    """One C-STORE (PS3.7 section 9.1.1) of a data set as it is stored."""
    try:
        part10 = item.part10 if isinstance(item.part10, bytes) else item.part10()
        data_set = _encoded_for(context, item, part10)
    except OSError as error:
        return SendOutcome(item.sop_instance_uid, "failed", f"cannot be read: {error.strerror}")
    except NotPart10 as error:
        return SendOutcome(item.sop_instance_uid, "refused", f"is no DICOM file: {error}")
    request = C_STORE()
    request.MessageID = message_id
    request.Priority = _MEDIUM_PRIORITY
    request.AffectedSOPClassUID = item.sop_class_uid
    request.AffectedSOPInstanceUID = item.sop_instance_uid
    request.DataSet = BytesIO(data_set)
    response = _exchange(association, request, context.context_id or 0)
    if isinstance(response, _NoAnswer):
        return response
    meaning = meaning_of(response.Status or 0)
    return SendOutcome(
        item.sop_instance_uid,
        meaning.verdict,
        _in_words(meaning, response.Status or 0),
        status=response.Status,
        comment=str(response.ErrorComment or ""),
    )


def _encoded_for(context: PresentationContext, item: Outgoing, part10: bytes) -> bytes | memoryview:
    if context.transfer_syntax[0] == item.transfer_syntax_uid:
        data_set = memoryview(part10)[read_file_meta(part10).data_set_at :]
        # Only a deflated one can be odd; PS3.5 section A.5 has it padded, and DCMTK aborts where it is not.
        return bytes(data_set) + b"\0" if len(data_set) % 2 else data_set
    encoded = encode(dcmread(BytesIO(part10)), is_implicit_vr=True, is_little_endian=True)
    if encoded is None:
        raise NotPart10("its data set cannot be encoded in Implicit VR Little Endian")
    return encoded


def _in_words(meaning: Meaning, status: int) -> str:
    return meaning.words if status == 0 else f"{meaning.words} (0x{status:04X})"


def _exchange(association: Association, request: C_STORE, context_id: int) -> C_STORE | _NoAnswer:
    """Send a request and wait for its response.

    pynetdicom's own send_c_store encodes the data set anew; this does the same exchange with encoded bytes. The
    association's thread is held meanwhile, else it takes the response for a request of the peer.
    """
    association._reactor_checkpoint.clear()
    try:
        while not association._is_paused:
            if not association.is_alive():
                return _lost(association)
            time.sleep(_POLL_S)
        if not association.is_established or association.acse.is_aborted():
            return _lost(association)
        association.dimse.send_msg(request, context_id)
        _wait_until_sent(association)
        _acknowledge_now(association)
        _, response = association.dimse.get_msg(block=True)
        if response is None and association.acse.is_aborted():
            return _lost(association)
    finally:
        association._reactor_checkpoint.set()
    if response is None:
        _cut(association)
        return _NoAnswer(f"no answer to C-STORE within {association.dimse_timeout:g} s", peer_is_alive=False)
    answers_it = response.MessageIDBeingRespondedTo == request.MessageID
    if isinstance(response, C_STORE) and answers_it and response.Status is not None:
        return response
    _cut(association)
    return _NoAnswer("an answer that does not belong to the C-STORE", peer_is_alive=True)


def _lost(association: Association) -> _NoAnswer:
    aborted = association.acse.is_aborted("a-abort")
    return _NoAnswer("association aborted by the peer" if aborted else "connection lost", peer_is_alive=True)


def _wait_until_sent(association: Association) -> None:
    """The time to answer counts from the last byte: on a slow line a large data set takes longer than that to send.

    Ends in any case: each write to the socket has a timeout, after which the association counts as aborted.
    """
    while not association.dul.to_provider_queue.empty() and not association.acse.is_aborted():
        if not association.dul.is_alive():
            return
        time.sleep(_POLL_S)
