"""Which presentation contexts are accepted, and which service each one belongs to (PS3.8 7.1.1.13, PS3.7 D.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType

from pydicom.uid import UID
from pynetdicom.pdu_primitives import SOPClassCommonExtendedNegotiation
from pynetdicom.presentation import PresentationContext, build_context

from dicom_node.network.service import Service
from dicom_node.network.services import SERVICES, store

_LISTED: Mapping[str, Service] = MappingProxyType(
    {uid: service for service in SERVICES for uid in service.abstract_syntaxes}
)


def service_of(abstract_syntax: str) -> Service | None:
    return _LISTED.get(abstract_syntax) or next(
        (service for service in SERVICES if service.takes_also(abstract_syntax)), None
    )


def contexts_for(proposed: Iterable[str]) -> list[PresentationContext]:
    """Contexts for those of the proposed abstract syntaxes that some service takes.

    Made for each request: the list of all that could be accepted has no end, and would be copied for each association.
    """
    return [context for uid in dict.fromkeys(proposed) if (context := _context(uid)) is not None]


def services_beyond_the_lists(proposed: Iterable[str]) -> dict[UID, SOPClassCommonExtendedNegotiation]:
    """For proposed abstract syntaxes that only `takes_also` covers: the service class they belong to."""
    found: dict[UID, SOPClassCommonExtendedNegotiation] = {}
    for uid in dict.fromkeys(proposed):
        service = service_of(uid)
        if uid not in _LISTED and service is not None and service.service_class_uid:
            item = SOPClassCommonExtendedNegotiation()
            item.sop_class_uid = uid
            item.service_class_uid = service.service_class_uid
            found[UID(uid)] = item
    return found


def storage_contexts(accepted: Iterable[PresentationContext]) -> dict[int, tuple[str, str]]:
    """Abstract and transfer syntax of those accepted contexts that belong to the Storage service, by context ID."""
    return {
        int(context.context_id): (str(context.abstract_syntax), str(context.transfer_syntax[0]))
        for context in accepted
        if context.context_id is not None and service_of(str(context.abstract_syntax)) is store.SERVICE
    }


@lru_cache(maxsize=512)
def _context(uid: str) -> PresentationContext | None:
    service = service_of(uid)
    return build_context(uid, list(service.transfer_syntaxes)) if service else None
