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


def answer_to(error: Exception) -> Dataset:
    """The response to what went wrong, as the library takes it."""
    return answer(*status_of(error))


def status_of(error: Exception) -> tuple[int, str]:
    """Status and Error Comment for what went wrong. The words of an error that was not foreseen stay here."""
    if isinstance(error, StorageUnavailable):
        error = OutOfResources("storage is not available, send the instance again later")
    if isinstance(error, Refused):
        return REFUSAL_STATUS[type(error)], str(error)
    return PROCESSING_FAILURE, "internal error, see the log of the node"


def answer(status: int, comment: str = "") -> Dataset:
    response = Dataset()
    response.Status = status
    if comment:
        response.ErrorComment = comment[:_MAX_COMMENT_CHARACTERS]
    return response
