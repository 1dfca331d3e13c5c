"""DICOM over TLS as requestor: what goes out is sealed, what comes in is opened; the socket stays a plain one.

So there is one way to write, to wait and to give up, with TLS and without. Nothing here falls back to plain.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

from dicom_node.config_destinations import DestinationTls
from dicom_node.network.framing import Piece
from dicom_node.network.tls_context import Renewing, TlsError

# What is sealed in one go: enough that a write is worth its system call, and little beside an image.
_SEALED_BYTES = 256 * 1024
_READ_BYTES = 64 * 1024
_LAST_WORD_S = 0.1

# By OpenSSL's number: what the node found wrong with the certificate of the peer.
_VERIFIED: Mapping[int, str] = MappingProxyType(
    {
        9: "its certificate, or that of its CA, is not valid yet; is the clock of this machine right?",
        10: "its certificate, or that of its CA, has expired",
        **dict.fromkeys((2, 18, 19, 20, 21), "its certificate is signed by no CA of tls.ca"),
    }
)
_OTHER_NAME = frozenset({62, 64})
# By the end of OpenSSL's reason: what the peer found wrong, and what it is that is no TLS at all.
_REFUSES = "it refuses the certificate of this node"
_TOLD: Mapping[str, str] = MappingProxyType(
    {
        "ALERT_CERTIFICATE_REQUIRED": "it wants a certificate of this node: name tls.certificate and tls.key",
        "ALERT_UNKNOWN_CA": f"{_REFUSES}: it does not trust the CA that signed it",
        "ALERT_CERTIFICATE_EXPIRED": f"{_REFUSES}: expired",
        "ALERT_CERTIFICATE_REVOKED": f"{_REFUSES}: revoked",
        "ALERT_CERTIFICATE_UNKNOWN": _REFUSES,
        "ALERT_BAD_CERTIFICATE": _REFUSES,
        "ALERT_UNSUPPORTED_CERTIFICATE": f"{_REFUSES}: not of a kind that it takes",
        "ALERT_ACCESS_DENIED": f"{_REFUSES}: access denied",
        "ALERT_DECRYPT_ERROR": _REFUSES,
        "ALERT_HANDSHAKE_FAILURE": "it ended the TLS handshake: it wants a certificate of this node, or has no cipher "
        "in common with it",
        "PROTOCOL_VERSION": "it has no TLS 1.2 or newer",
        "UNSUPPORTED_PROTOCOL": "it has no TLS 1.2 or newer",
        "WRONG_VERSION_NUMBER": "what listens there speaks no TLS: is it the port for DICOM without TLS?",
    }
)


class NotSecured(Exception):
    """TLS failed; the reason, in words of our own. needs_a_person: it will fail until somebody changes something."""

    def __init__(self, reason: str, *, needs_a_person: bool) -> None:
        super().__init__(reason)
        self.needs_a_person = needs_a_person


class Channel:
    """The two directions of one connection over TLS, apart from the socket."""

    def __init__(self, context: ssl.SSLContext, host_name: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host_name)

    def handshake(self, connection: socket.socket, deadline: float) -> None:
        """Over a connection that blocks, by a time of the monotonic clock. Raises OSError (ssl.SSLError, TimeoutError)."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._push(connection, deadline)
            except ssl.SSLError:
                with suppress(OSError):  # the alert, for the log of the peer
                    self._push(connection, time.monotonic() + _LAST_WORD_S)
                raise
            else:
                self._push(connection, deadline)
                return
            connection.settimeout(_left_s(deadline))
            chunk = connection.recv(_READ_BYTES)
            if not chunk:
                raise ConnectionResetError("closed in the TLS handshake")
            self._incoming.write(chunk)

    def _push(self, connection: socket.socket, deadline: float) -> None:
        connection.settimeout(_left_s(deadline))
        connection.sendall(self._outgoing.read())

    def sealed(self, pieces: Sequence[Piece]) -> Iterator[Piece]:
        """The pieces as what goes on the network, some at a time."""
        gathered: list[Piece] = []
        size = 0
        for piece in pieces:
            gathered.append(piece)
            size += len(piece)
            if size >= _SEALED_BYTES:
                yield self._seal(gathered)
                gathered, size = [], 0
        if gathered:
            yield self._seal(gathered)

    def _seal(self, pieces: Sequence[Piece]) -> bytes:
        # Joined: each write begins a record, and a PDU's header would have one of its own.
        self._tls.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        return self._outgoing.read()

    def open(self, chunk: bytes, into: bytearray) -> None:
        """Append what the peer said. Raises ssl.SSLError, after what stood before the error."""
        self._incoming.write(chunk)
        with suppress(ssl.SSLWantReadError):
            while plain := self._tls.read(_READ_BYTES):
                into += plain
            raise ssl.SSLZeroReturnError("close_notify")

    def farewell(self) -> bytes:
        """What tells the peer that nothing more follows (close_notify)."""
        with suppress(ssl.SSLError):
            self._tls.unwrap()
        return self._outgoing.read()


class ClientTls:
    """What the peers of one destination are met with; new files are used from the next association on."""

    def __init__(self, settings: DestinationTls) -> None:
        self._settings = settings
        self._contexts = Renewing(settings)

    def secure(self, connection: socket.socket, address: str, deadline: float) -> Channel:
        """Shake hands by a time of the monotonic clock; the address names the peer, as configured. Raises NotSecured."""
        host_name = self._settings.host_name or address
        try:
            channel = Channel(self._contexts.current(), host_name)
            channel.handshake(connection, deadline)
        except TlsError as error:
            raise NotSecured(str(error), needs_a_person=True) from error
        except OSError as error:
            raise why_not_secured(error, host_name) from error
        return channel


def why_not_secured(error: OSError, host_name: str = "") -> NotSecured:
    """An error of TLS in words that quote nothing the peer has written."""
    if isinstance(error, ssl.SSLCertVerificationError):
        words = _VERIFIED.get(error.verify_code, f"its certificate is refused: {error.verify_message.lower()}")
        if error.verify_code in _OTHER_NAME:
            words = f"its certificate is not for {host_name}: name in tls.host_name whom it is for, if that is the peer"
        return NotSecured(words, needs_a_person=True)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return NotSecured("the peer ended the TLS connection", needs_a_person=False)
    if isinstance(error, ssl.SSLError):
        reason = error.reason or "unknown"
        unknown = f"no TLS: {reason.lower().replace('_', ' ')}"
        words = next((words for end, words in _TOLD.items() if reason.endswith(end)), unknown)
        return NotSecured(words, needs_a_person=words != unknown)
    if isinstance(error, TimeoutError):
        return NotSecured("the TLS handshake took too long; does that port speak TLS?", needs_a_person=False)
    return NotSecured("it closed the connection in the TLS handshake; does that port speak TLS?", needs_a_person=False)


def _left_s(deadline: float) -> float:
    """Raises TimeoutError where nothing is left: a peer that always has something to say would be waited for for ever."""
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("the time for the handshake is over")
    return left_s
