"""DICOM over TLS as acceptor: the handshake with a deadline, and what the peer has proven."""

from __future__ import annotations

import hashlib
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dicom_node.config_node import Tls
from dicom_node.network.tls_context import Renewing


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """The certificate that a peer has proven to hold. name: the common name of its subject, "" where it has none."""

    name: str
    sha256: str


class ServerTls:
    """What incoming connections are met with. Raises TlsError where the files cannot be used at the start."""

    def __init__(self, settings: Tls) -> None:
        self._contexts = Renewing(settings)
        self._contexts.current()

    def accept(
        self, connection: socket.socket, deadline: float, wrapped_as: Callable[[ssl.SSLSocket], None]
    ) -> ssl.SSLSocket:
        """Shake hands by a time of the monotonic clock. Raises OSError (ssl.SSLError, TimeoutError); then it is closed.

        wrapped_as: told what takes the connection's place, before the peer is waited for.
        """
        context = self._contexts.current()
        wrapped = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        try:
            wrapped_as(wrapped)
            wrapped.settimeout(max(0.001, deadline - time.monotonic()))
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped


def certificate_of(connection: Any) -> PeerCertificate | None:
    """What the peer has proven, on a connection over TLS; None where it showed none, or there is no TLS."""
    if not isinstance(connection, ssl.SSLSocket):
        return None
    whole = connection.getpeercert(binary_form=True)
    told = connection.getpeercert()
    if not whole or not told:
        return None
    subject: Any = told.get("subject", ())
    name = next((value for part in subject for field, value in part if field == "commonName"), "")
    return PeerCertificate(name, hashlib.sha256(whole).hexdigest())


def why_failed(error: OSError) -> str:
    """Of a handshake, in words for the log that quote nothing the peer has written."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message.lower()}"
    if isinstance(error, ssl.SSLError):
        return f"no tls: {(error.reason or 'unknown').lower().replace('_', ' ')}"
    return "tls handshake took too long" if isinstance(error, TimeoutError) else "closed in the tls handshake"
