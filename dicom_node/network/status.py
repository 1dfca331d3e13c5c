"""What a peer is answered. Every refusal has its status here (PS3.4 B.2.3, PS3.7 annex C); nothing else decides one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydicom.dataset import Dataset

from dicom_node.refusals import NotAsCommanded, NotIdentified, OutOfResources, Refused, Unparsable
from storage.errors import StorageUnavailable

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
UNRECOGNIZED_OPERATION = 0x0211

REFUSAL_STATUS: Mapping[type[Refused], int] = MappingProxyType(
    {
        OutOfResources: 0xA700,  # Refused: Out of resources
        NotAsCommanded: 0xA900,  # Error: Data Set does not match SOP Class
        NotIdentified: 0xA900,
        Unparsable: 0xC000,  # Error: Cannot understand
    }
)
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
    (0x0118, 0x0118, "no such SOP class"),
    (0x0119, 0x0119, "class-instance conflict"),
    (0x0122, 0x0122, "SOP class not supported"),
    (0x0124, 0x0124, "not authorised"),
    (UNRECOGNIZED_OPERATION, UNRECOGNIZED_OPERATION, "unrecognised operation"),
    (0x0212, 0x0212, "mistyped argument"),
    (0x0213, 0x0213, "resource limitation"),
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


def answer(status: int, comment: str = "") -> Dataset:
    response = Dataset()
    response.Status = status
    if comment:
        response.ErrorComment = comment[:_MAX_COMMENT_CHARACTERS]
    return response
