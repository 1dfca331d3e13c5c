"""The node as requestor: Storage SCU and Verification SCU.

Data sets go out as they are stored, byte for byte: each (SOP class, transfer syntax) that is sent is proposed in a
presentation context of its own, so what the peer accepts needs no encoding. Beside Explicit VR Little Endian the default
transfer syntax is proposed, as PS3.5 section 10.1 asks: for a peer that knows nothing else, and only for it, the data
set is encoded anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

from pydicom import dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.presentation import PresentationContext, build_context

from dicom_node.network.file_meta import NotPart10, read_file_meta
from dicom_node.network.requested import NoAssociation, Peer, Timeouts, acknowledge_now, associate, cut, ending
from dicom_node.network.store_status import Meaning, Verdict, meaning_of

__all__ = ["MAX_CONTEXTS", "Context", "EchoResult", "Outgoing", "Peer", "SendOutcome", "Timeouts", "echo", "send"]

Context = tuple[str, str]  # SOP Class UID, Transfer Syntax UID
MAX_CONTEXTS = 128  # PS3.8 section 9.3.2.2: context IDs are odd and below 256
_VERIFICATION = "1.2.840.10008.1.1"
_MEDIUM_PRIORITY = 0
_POLL_S = 0.002


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

    association = associate(peer, [build_context(_VERIFICATION)])
    if isinstance(association, NoAssociation):
        return result(False, association.reason)
    with ending(association, peer.timeouts.acse_s):
        if not association.is_established:
            return result(False, "Verification is not accepted")
        status = association.send_c_echo().get("Status")
        if status is None:
            return result(False, "no answer to C-ECHO")
        return result(status == 0, "C-ECHO answered" if status == 0 else f"C-ECHO answered 0x{status:04X}")


def _send_on_one_association(peer: Peer, items: Sequence[Outgoing]) -> Iterator[SendOutcome]:
    """Ends early, after the outcome of the instance at fault, where the peer aborted: the rest is worth another try."""
    wanted = list(dict.fromkeys(context for item in items for context in item.contexts))
    association = associate(peer, [build_context(*context) for context in wanted])
    if isinstance(association, NoAssociation):
        for item in items:
            yield SendOutcome(
                item.sop_instance_uid, "failed", association.reason, needs_a_person=association.needs_a_person
            )
        return
    accepted = {
        (str(context.abstract_syntax), str(context.transfer_syntax[0])): context
        for context in association.accepted_contexts
    }
    with ending(association, peer.timeouts.acse_s):
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
        acknowledge_now(association)
        _, response = association.dimse.get_msg(block=True)
        if response is None and association.acse.is_aborted():
            return _lost(association)
    finally:
        association._reactor_checkpoint.set()
    if response is None:
        cut(association)
        return _NoAnswer(f"no answer to C-STORE within {association.dimse_timeout:g} s", peer_is_alive=False)
    answers_it = response.MessageIDBeingRespondedTo == request.MessageID
    if isinstance(response, C_STORE) and answers_it and response.Status is not None:
        return response
    cut(association)
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
