"""What was answered, for people: the code as the standard writes it, and what it means."""

from __future__ import annotations

from dicom_node.network.status import PROCESSING_FAILURE, meaning_of
from dicom_node.network.store_status import rejection_in_words
from dicom_node.network.tally import ABORTED, ABORTED_BY_PEER, REFUSED_CONNECTION, REJECTED
from storage.records.events import Answer

# Reasons of an A-ABORT by the service provider (PS3.8 9.3.8).
_ABORT_REASONS = {
    0: "no reason given",
    1: "unrecognised PDU",
    2: "unexpected PDU",
    4: "unrecognised PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter",
}
_PROVIDER = 2


def code_of(answer: Answer) -> str:
    """0xA700 of a DIMSE status; result, source and reason of a rejection; source and reason of an abort."""
    if answer.kind == REJECTED:
        return ", ".join(map(str, _rejection(answer)))
    if answer.kind in (ABORTED, ABORTED_BY_PEER):
        return f"{answer.status >> 8}, {answer.status & 0xFF}"
    return "" if answer.kind == REFUSED_CONNECTION else f"0x{answer.status:04X}"


def words_of(answer: Answer) -> str:
    if answer.kind == REJECTED:
        return rejection_in_words(*_rejection(answer)).removeprefix("association rejected ")
    if answer.kind in (ABORTED, ABORTED_BY_PEER):
        reason = _ABORT_REASONS.get(answer.status & 0xFF, f"reason {answer.status & 0xFF}")
        return reason if answer.status >> 8 == _PROVIDER else "by the application"
    if answer.kind == REFUSED_CONNECTION:
        return "closed before it came to an association: see the warnings"
    if answer.kind.startswith("N-") and answer.status == PROCESSING_FAILURE:
        return "unreadable, or of a procedure step that had ended; else a fault of this node, with an alarm"
    return meaning_of(answer.status)


def _rejection(answer: Answer) -> tuple[int, int, int]:
    return answer.status >> 16, answer.status >> 8 & 0xFF, answer.status & 0xFF
