"""DICOM over TLS: BCP 195 (RFC 9325) as PS3.15 B.12 asks, and certificates that change while the node runs."""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_node import logs
from dicom_node.config import Tls

# RFC 9325 4.2: of TLS 1.2 only what is authenticated and forgets its keys. TLS 1.3 has nothing else.
_CIPHERS_OF_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL"
_ALPN = "dicom"

log = logs.get("tls")


class TlsError(Exception):
    """Certificate, key or CA cannot be used. key: the key of `node.tls` at fault."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"node.tls.{key}: {why}")
        self.key = key
        self.why = why


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """The certificate that a peer has proven to hold. name: the common name of its subject, "" where it has none."""

    name: str
    sha256: str


class ServerTls:
    """What incoming connections are met with. Raises TlsError where the files cannot be used at the start."""

    def __init__(self, settings: Tls) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._seen = _stamps(settings)
        self._context = server_context(settings)

    def accept(
        self, connection: socket.socket, deadline: float, wrapped_as: Callable[[ssl.SSLSocket], None]
    ) -> ssl.SSLSocket:
        """Shake hands by a time of the monotonic clock. Raises OSError (ssl.SSLError, TimeoutError); then it is closed.

        wrapped_as: told what takes the connection's place, before the peer is waited for.
        """
        wrapped = self._current().wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        try:
            wrapped_as(wrapped)
            wrapped.settimeout(max(0.001, deadline - time.monotonic()))
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped

    def _current(self) -> ssl.SSLContext:
        """With new files, the new ones. While these are wrong, or only half there, the old ones serve on."""
        with self._lock:
            stamps = _stamps(self._settings)
            if stamps != self._seen:
                self._seen = stamps
                try:
                    self._context = server_context(self._settings)
                    log.info("certificates were changed, the new ones are used from now on")
                except TlsError as error:
                    log.error("certificates were changed and cannot be used, the old ones stay", key=f"tls.{error.key}")
            return self._context


def server_context(settings: Tls) -> ssl.SSLContext:
    """Raises TlsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS_OF_1_2)
    context.set_alpn_protocols([_ALPN])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    # Nobody takes up an old session: each connection shows its certificate, which may have expired since.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    for key in ("certificate", "key", "ca"):
        path = getattr(settings, key)
        if path is not None:
            _readable(key, path)
    _load_own(context, settings)
    if settings.ca is not None:
        try:
            context.load_verify_locations(settings.ca)
        except ssl.SSLError as error:
            raise TlsError("ca", f"{settings.ca} holds no certificates in PEM") from error
        context.verify_mode = ssl.CERT_REQUIRED if settings.require_certificate else ssl.CERT_OPTIONAL
    return context


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


def _load_own(context: ssl.SSLContext, settings: Tls) -> None:
    def no_password() -> str:
        raise TlsError("key", f"{settings.key} is protected by a password: store it without one, for this user alone")

    try:
        context.load_cert_chain(settings.certificate, settings.key, password=no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsError("key", f"{settings.key} is not the key of {settings.certificate}") from error
        if error.reason in {"EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "CA_KEY_TOO_SMALL"}:
            raise TlsError("certificate", f"{settings.certificate} is too weak ({error.reason.lower()})") from error
        text = settings.certificate.read_text(encoding="ascii", errors="replace")
        key = "key" if "BEGIN CERTIFICATE" in text else "certificate"
        what = "a private key" if key == "key" else "a certificate"
        raise TlsError(key, f"{getattr(settings, key)} holds no {what[2:]} in PEM that can be used") from error


def _readable(key: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise TlsError(key, f"{path} cannot be read: {error.strerror}") from error


def _stamps(settings: Tls) -> tuple[tuple[int, int, int] | None, ...]:
    """What changes when a file is written or another one takes its place."""
    found: list[tuple[int, int, int] | None] = []
    for path in (settings.certificate, settings.key, settings.ca):
        try:
            status = path.stat() if path else None
        except OSError:
            status = None
        found.append((status.st_mtime_ns, status.st_size, status.st_ino) if status else None)
    return tuple(found)
