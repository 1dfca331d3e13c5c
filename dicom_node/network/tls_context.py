"""How TLS is spoken, as acceptor and as requestor: BCP 195 (RFC 9325) as PS3.15 B.12 and B.13 ask, with files that may change."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr

from dicom_node import logs
from dicom_node.config_destinations import DestinationTls
from dicom_node.config_node import Tls

# RFC 9325 4.2: of TLS 1.2 only what is authenticated and forgets its keys. TLS 1.3 has nothing else.
_CIPHERS_OF_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL"
_ALPN = "dicom"
_TOO_WEAK = frozenset({"EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "CA_KEY_TOO_SMALL"})

log = logs.get("tls")


class TlsError(Exception):
    """Certificate, key or CA cannot be used. key: the key at fault, of `section`."""

    def __init__(self, key: str, why: str, section: str = "node.tls") -> None:
        super().__init__(f"{section}.{key}: {why}")
        self.key = key
        self.why = why


class Renewing:
    """The context of some settings, made anew when their files change.

    While the new files are wrong, or only half there, the old context serves on.
    """

    def __init__(self, settings: Tls | DestinationTls) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._seen: object = None
        self._context: ssl.SSLContext | None = None

    def current(self) -> ssl.SSLContext:
        """Raises TlsError where the files cannot be used and never could."""
        with self._lock:
            stamps = tuple(_stamp(path) for _, path in _files(self._settings))
            if self._context is not None and stamps == self._seen:
                return self._context
            is_renewal, self._seen = self._context is not None, stamps
            try:
                self._context = context_for(self._settings)
                if is_renewal:
                    log.info("certificates were changed, the new ones are used from now on")
            except TlsError as error:
                if self._context is None:
                    raise
                log.error("certificates were changed and cannot be used, the old ones stay", key=f"tls.{error.key}")
            return self._context


def context_for(settings: Tls | DestinationTls) -> ssl.SSLContext:
    """What a peer is met with. Raises TlsError."""
    if isinstance(settings, Tls):
        return _for_clients(settings)
    try:
        return _for_a_server(settings)
    except TlsError as error:
        raise TlsError(error.key, error.why, "tls") from error


def _for_clients(settings: Tls) -> ssl.SSLContext:
    context = _context(ssl.PROTOCOL_TLS_SERVER, settings)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    # Nobody takes up an old session: each connection shows its certificate, which may have expired since.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    if settings.ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED if settings.require_certificate else ssl.CERT_OPTIONAL
    return context


def _for_a_server(settings: DestinationTls) -> ssl.SSLContext:
    context = _context(ssl.PROTOCOL_TLS_CLIENT, settings)
    context.check_hostname = settings.check_host_name
    context.verify_mode = ssl.CERT_REQUIRED
    # What stands in `ca` is trusted, be it a root, a CA below one, or the one certificate of the peer.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _context(side: int, settings: Tls | DestinationTls) -> ssl.SSLContext:
    """What both sides have in common."""
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS_OF_1_2)
    context.set_alpn_protocols([_ALPN])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    for key, path in _files(settings):
        _readable(key, path)
    if settings.certificate is not None and settings.key is not None:
        _load_own(context, settings.certificate, settings.key, settings.key_password)
    if settings.ca is not None:
        try:
            context.load_verify_locations(settings.ca)
        except ssl.SSLError as error:
            raise TlsError("ca", f"{settings.ca} holds no certificates in PEM") from error
    return context


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path, password: SecretStr | None) -> None:
    def given_password() -> str:
        if password is None:
            raise TlsError(
                "key", f"{key} is protected by a password: name key_password, or store it without, for this user alone"
            )
        return password.get_secret_value()

    try:
        context.load_cert_chain(certificate, key, password=given_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsError("key", f"{key} is not the key of {certificate}") from error
        if error.reason in _TOO_WEAK:
            raise TlsError("certificate", f"{certificate} is too weak ({error.reason.lower()})") from error
        if "BEGIN CERTIFICATE" not in _text(certificate):
            raise TlsError("certificate", f"{certificate} holds no certificate in PEM that can be used") from error
        if password is not None and "ENCRYPTED" in _text(key):
            raise TlsError("key_password", f"does not open {key}") from error
        raise TlsError("key", f"{key} holds no private key in PEM that can be used") from error


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii", errors="replace")


def _readable(key: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise TlsError(key, f"{path} cannot be read: {error.strerror}") from error


def _files(settings: Tls | DestinationTls) -> Iterator[tuple[str, Path]]:
    named = (("certificate", settings.certificate), ("key", settings.key), ("ca", settings.ca))
    return ((key, path) for key, path in named if path is not None)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written or another one takes its place."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
