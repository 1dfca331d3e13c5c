"""Are the certificates of `node.tls` and `destinations[].tls` usable, and for how long? For `dicom-node check` alone."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509

from dicom_node.config_destinations import DestinationTls
from dicom_node.config_node import Tls
from dicom_node.network.tls_context import TlsError, context_for

SOON = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Finding:
    """key: of the section that was looked at."""

    severity: Literal["error", "warning"]
    key: str
    text: str


def findings(settings: Tls | DestinationTls, now: datetime) -> Iterator[Finding]:
    """What is wrong with the files, or will be within 30 days. now: with its time zone."""
    try:
        context_for(settings)
    except TlsError as error:
        yield Finding("error", error.key, error.why)
        return
    is_for_clients = isinstance(settings, Tls)
    if settings.certificate is not None:
        consequence = "every peer will refuse the node" if is_for_clients else "this destination will refuse the node"
        yield from _validity("certificate", settings.certificate, now, consequence)
    if settings.ca is not None:
        consequence = "the clients that it has signed are refused" if is_for_clients else "who shows it is refused"
        yield from _validity("ca", settings.ca, now, consequence)
    if settings.key is not None and settings.key.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        yield Finding("warning", "key", f"{settings.key} is open to every user of this machine: chmod o-rw")


def _validity(key: str, path: Path, now: datetime, consequence: str) -> Iterator[Finding]:
    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
    except ValueError as error:
        yield Finding("error", key, f"{path} holds a certificate that cannot be read: {error}")
        return
    is_ours = key == "certificate"
    for position, certificate in enumerate(certificates):
        which = str(path) if len(certificates) == 1 else f"{path} (certificate {position + 1} of {len(certificates)})"
        ends, begins = certificate.not_valid_after_utc, certificate.not_valid_before_utc
        if ends < now:
            yield Finding("error" if is_ours else "warning", key, f"{which} expired on {ends:%Y-%m-%d}: {consequence}")
        elif begins > now:
            yield Finding(
                "error" if is_ours else "warning",
                key,
                f"{which} is valid only from {begins:%Y-%m-%d} on: {consequence}",
            )
        elif ends < now + SOON:
            days = (ends - now).days
            yield Finding(
                "warning", key, f"{which} expires on {ends:%Y-%m-%d}, in {days} days: put a new one in its place"
            )
