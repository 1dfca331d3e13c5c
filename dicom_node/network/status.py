"""What a peer is answered. Every refusal has its status here (PS3.4 B.2.3, PS3.7 annex C); nothing else decides one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydicom.dataset import Dataset

from dicom_node.refusals import (
    DuplicateInstance,
    InvalidAttributeValue,
    MissingAttribute,
    MissingAttributeValue,
    NoLongerUpdated,
    NoSuchInstance,
    NotAsCommanded,
    NoticeRefused,
    NotIdentified,
    OutOfResources,
    Refused,
    TooMuch,
    Unparsable,
)
from storage.errors import StorageUnavailable

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
NO_SUCH_SOP_CLASS = 0x0118
UNRECOGNIZED_OPERATION = 0x0211
RESOURCE_LIMITATION = 0x0213

REFUSAL_STATUS: Mapping[type[Refused], int] = MappingProxyType(
    {
        OutOfResources: 0xA700,  # Refused: Out of resources
        NotAsCommanded: 0xA900,  # Error: Data Set does not match SOP Class
        NotIdentified: 0xA900,
        Unparsable: 0xC000,  # Error: Cannot understand
    }
)
# Of DIMSE-N services (PS3.7 10.1.3.1.9, 10.1.5.1.7; PS3.4 F.7.2.2.3).
NOTICE_STATUS: Mapping[type[NoticeRefused], int] = MappingProxyType(
    {
        MissingAttribute: 0x0120,
        MissingAttributeValue: 0x0121,
        InvalidAttributeValue: 0x0106,
        DuplicateInstance: 0x0111,
        NoSuchInstance: 0x0112,
        NoLongerUpdated: PROCESSING_FAILURE,
        TooMuch: RESOURCE_LIMITATION,
    }
)
_NO_LONGER_UPDATED = 0xA710  # Error ID beside 0x0110 (PS3.4 table F.7.2-2)
_MAX_COMMENT_CHARACTERS = 64  # Error Comment is an LO

# What a status means, whoever answers with it (PS3.7 annex C, PS3.4 B.2.3): lowest, highest, words. First match wins.
_MEANINGS: tuple[tuple[int, int, str], ...] = (
    (0x0001, 0x0001, "warning"),
    (0x0105, 0x0105, "no such attribute"),
    (0x0106, 0x0106, "invalid attribute value"),
    (0x0107, 0x0107, "warning: attribute list error"),
    (PROCESSING_FAILURE, PROCESSING_FAILURE, "processing failure: a fault of this node, see its log"),
    (0x0111, 0x0111, "duplicate SOP instance"),
    (0x0112, 0x0112, "no such SOP instance"),
    (0x0116, 0x0116, "warning: attribute value out of range"),
    (0x0117, 0x0117, "invalid SOP instance"),
    (NO_SUCH_SOP_CLASS, NO_SUCH_SOP_CLASS, "no such SOP class"),
    (0x0119, 0x0119, "class-instance conflict"),
    (0x0120, 0x0120, "missing attribute"),
    (0x0121, 0x0121, "missing attribute value"),
    (0x0122, 0x0122, "SOP class not supported"),
    (0x0124, 0x0124, "not authorised"),
    (UNRECOGNIZED_OPERATION, UNRECOGNIZED_OPERATION, "unrecognised operation"),
    (0x0212, 0x0212, "mistyped argument"),
    (RESOURCE_LIMITATION, RESOURCE_LIMITATION, "resource limitation: storage fails, or the request is too large"),
    (0xA700, 0xA7FF, "out of resources: no room, or storage fails"),
    (0xA900, 0xA9FF, "data set does not match what the command says"),
    (0xB000, 0xB000, "warning: data elements coerced"),
    (0xB006, 0xB006, "warning: data elements discarded"),
    (0xB007, 0xB007, "warning: data set does not match SOP class"),
    (0xB000, 0xBFFF, "warning"),
    (0xC000, 0xCFFF, "cannot understand the data set"),
    (0xFE00, 0xFE00, "cancelled"),
    (0xFF00, 0xFF01, "pending"),
)


def meaning_of(status: int) -> str:
    return next((words for lowest, highest, words in _MEANINGS if lowest <= status <= highest), "not in the standard")


def is_warning(status: int) -> bool:
    """Whether what was asked for was done all the same (PS3.7 C.4)."""
    return meaning_of(status).startswith("warning")


def answer_to(error: Exception) -> Dataset:
    """The response to what went wrong, as the library takes it."""
    return answer(*status_of(error))


def status_of(error: Exception) -> tuple[int, str]:
    """Status and Error Comment for what went wrong. The words of an error that was not foreseen stay here."""
    if isinstance(error, StorageUnavailable):
        error = OutOfResources()
    if isinstance(error, Refused):
        return REFUSAL_STATUS[type(error)], str(error)
    return PROCESSING_FAILURE, "internal error, see the log of the node"


def answer_to_notice(error: NoticeRefused | Unparsable | StorageUnavailable) -> Dataset:
    """The response to a DIMSE-N request whose data set was not taken in."""
    if isinstance(error, StorageUnavailable):
        return answer(RESOURCE_LIMITATION, "storage is not available, send it again later")
    if isinstance(error, Unparsable):
        return answer(PROCESSING_FAILURE, str(error))
    response = answer(NOTICE_STATUS[type(error)], str(error))
    if isinstance(error, NoLongerUpdated):
        response.ErrorID = _NO_LONGER_UPDATED
    return response


def answer(status: int, comment: str = "") -> Dataset:
    response = Dataset()
    response.Status = status
    if comment:
        response.ErrorComment = comment[:_MAX_COMMENT_CHARACTERS]
    return response
