"""Who may associate? Accepted, or rejected with result, source and reason in the terms of PS3.8 9.3.4."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from dicom_node.config import Access, Requestor

PERMANENT, TRANSIENT = 1, 2
SERVICE_USER, PRESENTATION = 1, 3
NO_REASON_GIVEN, CALLING_AE_TITLE_NOT_RECOGNIZED, CALLED_AE_TITLE_NOT_RECOGNIZED = 1, 3, 7
LOCAL_LIMIT_EXCEEDED = 2


@dataclass(frozen=True, slots=True)
class Rejection:
    """Fields of an A-ASSOCIATE-RJ PDU; `why` is for the log, and tells more than the peer may know."""

    result: int
    source: int
    reason: int
    why: str


def decide(
    access: Access, own_ae_title: str, *, calling_ae_title: str, called_ae_title: str, address: str
) -> Rejection | None:
    """None where the peer may associate.

    A known AE title from a wrong address and an unknown one are answered alike: otherwise any peer could find out which
    titles are known. AE titles are compared without leading and trailing spaces, which say nothing (PS3.5 6.2).
    """
    if access.check_called_ae_title and called_ae_title.strip() != own_ae_title.strip():
        return Rejection(
            PERMANENT, SERVICE_USER, CALLED_AE_TITLE_NOT_RECOGNIZED, "called ae title is not that of this node"
        )
    if access.open:
        return None
    known = [item for item in access.requestors if item.ae_title.strip() == calling_ae_title.strip()]
    if not known:
        return Rejection(
            PERMANENT, SERVICE_USER, CALLING_AE_TITLE_NOT_RECOGNIZED, "calling ae title is not in access.requestors"
        )
    if not _comes_from(address, known):
        return Rejection(
            PERMANENT,
            SERVICE_USER,
            CALLING_AE_TITLE_NOT_RECOGNIZED,
            "calling ae title may not come from this address: see access.requestors",
        )
    return None


def too_many(limit: int) -> Rejection:
    return Rejection(
        TRANSIENT, PRESENTATION, LOCAL_LIMIT_EXCEEDED, f"node.max_associations ({limit}) are being served already"
    )


def unjudged() -> Rejection:
    return Rejection(TRANSIENT, SERVICE_USER, NO_REASON_GIVEN, "the request could not be judged")


def _comes_from(address: str, known: Iterable[Requestor]) -> bool:
    source = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(source, "ipv4_mapped", None)  # an IPv4 peer on an IPv6 listener
    return any((mapped or source) in network for item in known for network in item.addresses)
