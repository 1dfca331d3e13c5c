"""The node as requestor: Storage SCU and Verification SCU.

Data sets go out as they are stored, byte for byte: each (SOP class, transfer syntax) that is sent is proposed in a
presentation context of its own, so what the peer accepts needs no encoding. An object may come in a compressed form besides,
which is proposed too, and goes rather. Beside Explicit VR Little Endian the default
transfer syntax is proposed, as PS3.5 section 10.1 asks: for a peer that knows nothing else, and only for it, the data
set is encoded anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import encode

from dicom_node.network.connecting import NoAssociation, Peer, Timeouts
from dicom_node.network.file_meta import NotPart10, read_file_meta
from dicom_node.network.framing import (
    VERIFICATION,
    BadPdu,
    Content,
    Response,
    echo_command,
    echo_response,
    framed,
    store_command,
    store_response,
)
from dicom_node.network.read_ahead import ReadAhead
from dicom_node.network.requested import MAX_CONTEXTS, Association, Context, associated
from dicom_node.network.store_status import SOP_CLASS_NOT_SUPPORTED, Verdict, meaning_of
from dicom_node.network.wire import Broken, Late
from dicom_node.stored_file import StoredFile, whole
from storage.errors import StorageError

__all__ = ["MAX_CONTEXTS", "Context", "EchoResult", "Outgoing", "Peer", "SendOutcome", "Timeouts", "echo", "send"]

_META_BYTES = 65536
"""The file meta header of what this node wrote is far shorter."""
_YOUNG_CLASSES = {"1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage"}
"""Names that pydicom does not know yet."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An instance to send. part10: the file's bytes, what reads them when their turn comes, or where the file is; what is large
    stays in its store, and is read while it is sent.

    A file is read while the answer for the instance before it is awaited.
    refers_to: SOP Instance UIDs of instances that it is of no use without; where one of them is refused, it is not sent.
    rather: transfer syntax and Part 10 file of the same instance in the form in which it goes where the peer takes it so.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    part10: bytes | Path | StoredFile | Callable[[], bytes]
    refers_to: frozenset[str] = frozenset()
    rather: tuple[str, bytes] | None = None

    @property
    def contexts(self) -> tuple[Context, ...]:
        """What it needs one of, the first one rather: (SOP class, transfer syntax) compressed, as stored, and the default one."""
        syntaxes = [self.rather[0]] if self.rather else []
        syntaxes.append(self.transfer_syntax_uid)
        if self.transfer_syntax_uid == ExplicitVRLittleEndian:
            syntaxes.append(str(ImplicitVRLittleEndian))
        return tuple((self.sop_class_uid, syntax) for syntax in syntaxes)


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """What became of one instance. status: of the C-STORE response, None where none came.

    transfer_syntax_uid: in which it was sent, empty where it was not.
    """

    sop_instance_uid: str
    verdict: Verdict
    reason: str
    status: int | None = None
    # The peer's own Error Comment. It may quote the data set, so it belongs in the history and never in a log.
    comment: str = ""
    # The peer does not take instances of this SOP class at all.
    is_class_refused: bool = False
    # It was not sent, since what it refers to was refused.
    is_held_back: bool = False
    # Worth a retry, but a person has to act first: the peer does not know us, or not by this name.
    needs_a_person: bool = False
    # This node could not read it from its store, which is no fault of the peer.
    is_unread: bool = False
    transfer_syntax_uid: str = ""


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
    refused: set[str] = set()
    while rest:
        answered = 0
        for outcome in _send_on_one_association(peer, rest, refused):
            answered += 1
            if outcome.verdict == "refused":
                refused.add(outcome.sop_instance_uid)
            yield outcome
        rest = rest[answered:]


def echo(peer: Peer) -> EchoResult:
    """C-ECHO (PS3.4 annex A): is the peer there, does it know us, does it answer?"""
    began = time.monotonic()

    def result(ok: bool, detail: str) -> EchoResult:
        return EchoResult(ok, detail, time.monotonic() - began)

    context = (VERIFICATION, str(ImplicitVRLittleEndian))
    try:
        with associated(peer, [context]) as association:
            if context not in association.accepted:
                return result(False, "Verification is not accepted")
            association.wire.write(
                framed(association.accepted[context], echo_command(1), None, association.max_pdu_bytes)
            )
            answer_by = time.monotonic() + peer.timeouts.dimse_s
            answer = echo_response(association.wire.command(answer_by, "no answer to C-ECHO"))
            if answer is None or answer.message_id != 1:
                raise BadPdu("an answer that does not belong to the C-ECHO")
    except (NoAssociation, Broken, Late, BadPdu) as error:
        return result(False, str(error))
    return result(answer.status == 0, "C-ECHO answered" + (f" 0x{answer.status:04X}" if answer.status else ""))


def _send_on_one_association(peer: Peer, items: Sequence[Outgoing], refused: Set[str]) -> Iterator[SendOutcome]:
    """Ends early, after the outcome of the instance at fault, where the peer aborted: the rest is worth another try.

    refused: grows with each outcome that is yielded.
    """
    wanted = list(dict.fromkeys(context for item in items for context in item.contexts))
    try:
        with associated(peer, wanted) as association:
            yield from _store_all(_Line(peer, association), items, refused)
    except NoAssociation as none:
        for item in items:
            yield SendOutcome(item.sop_instance_uid, "failed", str(none), needs_a_person=none.needs_a_person)


@dataclass(frozen=True, slots=True)
class _Line:
    """An association that takes C-STORE requests, and whose it is."""

    peer: Peer
    association: Association


def _store_all(line: _Line, items: Sequence[Outgoing], refused: Set[str]) -> Iterator[SendOutcome]:
    """An outcome for each instance in turn, as far as the association lasts; for all of them where the peer is gone."""
    files = ReadAhead([item.part10 if isinstance(item.part10, Path) else None for item in items])
    wire = line.association.wire
    for position, item in enumerate(items):
        if item.refers_to & refused:
            words = "not sent, since what it refers to was refused"
            yield SendOutcome(item.sop_instance_uid, "failed", words, is_held_back=True)
            continue
        try:
            outcome = _store(line, item, files, position)
        except (Broken, BadPdu) as error:
            wire.abort()
            yield SendOutcome(item.sop_instance_uid, "failed", str(error))
            return
        except StorageError:
            wire.abort()
            words = "its stored object cannot be read now"
            yield SendOutcome(item.sop_instance_uid, "failed", words, is_unread=True)
            return
        except Late as error:
            wire.abort()
            for late in items[position:]:
                yield SendOutcome(late.sop_instance_uid, "failed", str(error))
            return
        yield outcome


def _not_accepted(peer: Peer, item: Outgoing) -> SendOutcome:
    name = _YOUNG_CLASSES.get(item.sop_class_uid, UID(item.sop_class_uid).name)
    syntax = UID(item.transfer_syntax_uid).name
    words = f"{peer.ae_title} does not accept {name} in {syntax}"
    return SendOutcome(item.sop_instance_uid, "refused", words, is_class_refused=True)


def _store(line: _Line, item: Outgoing, files: ReadAhead, position: int) -> SendOutcome:
    """C-STORE of an instance in the first form that is accepted; where that is compressed and turned down, in the next.

    Raises Broken, BadPdu, Late and StorageError.
    """
    accepted = [context for context in item.contexts if context in line.association.accepted]
    if not accepted:
        return _not_accepted(line.peer, item)
    outcome = _store_in(accepted[0], line, item, files, position)
    if outcome.verdict == "refused" and item.rather and accepted[0][1] == item.rather[0] and len(accepted) > 1:
        return _store_in(accepted[1], line, item, files, position)
    return outcome


def _store_in(context: Context, line: _Line, item: Outgoing, files: ReadAhead, position: int) -> SendOutcome:
    """One C-STORE (PS3.7 section 9.1.1) in a context that was accepted. Raises as `_store`."""
    accepted, wire = line.association.accepted, line.association.wire
    try:
        data_set = _encoded_for(context, item, files, position)
    except OSError as error:
        return SendOutcome(item.sop_instance_uid, "failed", f"cannot be read: {error.strerror}")
    except NotPart10 as error:
        return SendOutcome(item.sop_instance_uid, "refused", f"no DICOM file: {error}")
    message_id = position % 0xFFFF + 1
    command = store_command(message_id, item.sop_class_uid, item.sop_instance_uid)
    wire.write(framed(accepted[context], command, data_set, line.association.max_pdu_bytes))
    # The time to answer counts from the last byte: on a slow line a large data set takes longer than that to send.
    answer_by = time.monotonic() + line.peer.timeouts.dimse_s
    files.read(position + 1)
    return _outcome(item, _answer(line, message_id, answer_by), context[1])


def _part10_of(item: Outgoing, files: ReadAhead, position: int) -> bytes | memoryview | StoredFile:
    if isinstance(item.part10, Path):
        return files.take(position)
    return item.part10 if isinstance(item.part10, bytes | StoredFile) else item.part10()


def _encoded_for(context: Context, item: Outgoing, files: ReadAhead, position: int) -> Content:
    is_compressed = item.rather is not None and context[1] == item.rather[0]
    part10 = item.rather[1] if item.rather and is_compressed else _part10_of(item, files, position)
    if is_compressed or context[1] == item.transfer_syntax_uid:
        data_set = _data_set_of(part10)
        if not len(data_set):
            raise NotPart10("nothing follows its file meta header")
        # Only a deflated one can be odd; PS3.5 section A.5 has it padded, and DCMTK aborts where it is not.
        return memoryview(bytes(data_set[:]) + b"\0") if len(data_set) % 2 else data_set
    plain = whole(part10) if isinstance(part10, StoredFile) else part10
    encoded = encode(dcmread(BytesIO(plain)), is_implicit_vr=True, is_little_endian=True)
    if not encoded:
        raise NotPart10("its data set cannot be encoded in Implicit VR Little Endian")
    return memoryview(encoded)


def _data_set_of(part10: bytes | memoryview | StoredFile) -> Content:
    """What follows the file meta header. Raises NotPart10."""
    if isinstance(part10, StoredFile):
        return part10.behind(read_file_meta(part10[:_META_BYTES]).data_set_at)
    return memoryview(part10)[read_file_meta(part10).data_set_at :]


def _answer(line: _Line, message_id: int, answer_by: float) -> Response:
    none_yet = f"no answer to C-STORE within {line.peer.timeouts.dimse_s:g} s"
    response = store_response(line.association.wire.command(answer_by, none_yet))
    if response is None or response.message_id != message_id:
        raise BadPdu("an answer that does not belong to the C-STORE")
    return response


def _outcome(item: Outgoing, response: Response, transfer_syntax_uid: str) -> SendOutcome:
    meaning, status = meaning_of(response.status), response.status
    words = meaning.words if status == 0 else f"{meaning.words} (0x{status:04X})"
    return SendOutcome(
        item.sop_instance_uid,
        meaning.verdict,
        words,
        status=status,
        comment=response.comment,
        is_class_refused=status == SOP_CLASS_NOT_SUPPORTED,
        transfer_syntax_uid=transfer_syntax_uid,
    )
