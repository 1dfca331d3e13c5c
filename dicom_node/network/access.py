"""Who may associate? Accepted, or rejected with result, source and reason in the terms of PS3.8 9.3.4."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from dicom_node.config_node import Access, Requestor
from dicom_node.network.tls import PeerCertificate

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
    access: Access,
    own_ae_title: str,
    *,
    calling_ae_title: str,
    called_ae_title: str,
    address: str,
    certificate: PeerCertificate | None = None,
) -> Rejection | None:
    """None where the peer may associate. certificate: the one that it has proven to hold, over TLS.

    A known AE title from a wrong address, or with a wrong certificate, and an unknown one are answered alike: otherwise
    any peer could find out which titles are known. AE titles are compared without leading and trailing spaces, which say
    nothing (PS3.5 6.2).
    """
    if access.check_called_ae_title and called_ae_title.strip() != own_ae_title.strip():
        return Rejection(
            PERMANENT, SERVICE_USER, CALLED_AE_TITLE_NOT_RECOGNIZED, "called ae title is not that of this node"
        )
    if access.open:
        return None
    known = [item for item in access.requestors if item.ae_title.strip() == calling_ae_title.strip()]
    if not known:
        return _not_recognized("calling ae title is not in access.requestors")
    from_there = [item for item in known if not item.addresses or _comes_from(address, item)]
    if not from_there:
        return _not_recognized("calling ae title may not come from this address: see access.requestors")
    if not any(_shows(certificate, item) for item in from_there):
        shown = "with this certificate" if certificate else "without a certificate"
        return _not_recognized(f"calling ae title may not come {shown}: see access.requestors")
    return None


def too_many(limit: int) -> Rejection:
    return Rejection(
        TRANSIENT, PRESENTATION, LOCAL_LIMIT_EXCEEDED, f"node.max_associations ({limit}) are being served already"
    )


def unjudged() -> Rejection:
    return Rejection(TRANSIENT, SERVICE_USER, NO_REASON_GIVEN, "the request could not be judged")


def _not_recognized(why: str) -> Rejection:
    return Rejection(PERMANENT, SERVICE_USER, CALLING_AE_TITLE_NOT_RECOGNIZED, why)


def _comes_from(address: str, known: Requestor) -> bool:
    source = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(source, "ipv4_mapped", None)  # an IPv4 peer on an IPv6 listener
    return any((mapped or source) in network for network in known.addresses)


def _shows(certificate: PeerCertificate | None, known: Requestor) -> bool:
    if known.certificate_name is None and known.certificate_sha256 is None:
        return True
    return (
        certificate is not None
        and known.certificate_name in {None, certificate.name}
        and known.certificate_sha256 in {None, certificate.sha256}
    )
