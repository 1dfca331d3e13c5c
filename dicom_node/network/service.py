"""What a DIMSE service is to this node: the syntaxes it takes and the functions that answer its requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import evt

from dicom_node.intake import Intake
from dicom_node.notices import Notices

# The library wants of handlers of DIMSE-N a data set beside the status, or None.
Answer = Dataset | int | tuple[Dataset | int, Dataset | None]
Handler = Callable[[evt.Event, "Call"], Answer]


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler may use to answer: the doors in, the id under which this association is recorded, and who calls."""

    intake: Intake
    notices: Notices
    association_id: Callable[[], str]
    calling_ae_title: str


def _nothing_else(_uid: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Service:
    """name: for the conformance statement. transfer_syntaxes: most preferred first.

    takes_also: abstract syntaxes that cannot be listed (private ones, those of later editions) but belong to it.
    service_class_uid: of the service class, needed where takes_also is.
    """

    name: str
    abstract_syntaxes: tuple[str, ...]
    transfer_syntaxes: tuple[str, ...]
    handlers: Mapping[Any, Handler]
    takes_also: Callable[[str], bool] = _nothing_else
    service_class_uid: str | None = None
