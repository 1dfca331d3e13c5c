"""From a peer's name to a connection to it, over TLS where that is configured; what fails is told in words."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from dicom_node.network.tls_channel import ClientTls, NotSecured
from dicom_node.network.wire import Wire


@dataclass(frozen=True, slots=True)
class Timeouts:
    """connect_s: TCP and TLS; acse_s: accept and release; dimse_s: answer to a whole message; network_s: a stalled socket."""

    connect_s: float = 10.0
    acse_s: float = 30.0
    dimse_s: float = 60.0
    network_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A storage SCP: `ae_title` is the called one; `max_pdu_bytes` is what we accept, theirs bounds what we send.

    tls: without it the connection is plain; with it, it never is.
    """

    ae_title: str
    address: str
    port: int
    calling_ae_title: str
    max_pdu_bytes: int = 128 * 1024
    timeouts: Timeouts = field(default_factory=Timeouts)
    tls: ClientTls | None = None

    @property
    def where(self) -> str:
        return f"{self.address}:{self.port}"


class NoAssociation(Exception):
    """Why there is no association. needs_a_person: there will be none before somebody changes something."""

    def __init__(self, reason: str, *, needs_a_person: bool = False) -> None:
        super().__init__(reason)
        self.needs_a_person = needs_a_person


@contextmanager
def connected(peer: Peer) -> Iterator[Wire]:
    """The wire to a peer, closed at the end of the block. Raises NoAssociation."""
    deadline = time.monotonic() + peer.timeouts.connect_s
    with _tcp(peer, deadline) as connection:
        # No Nagle delay before the last PDU of a message.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            channel = peer.tls.secure(connection, peer.address, deadline) if peer.tls else None
        except NotSecured as error:
            reason = f"no TLS connection to {peer.where}: {error}"
            raise NoAssociation(reason, needs_a_person=error.needs_a_person) from error
        yield Wire(connection, peer.timeouts.network_s, channel)


def _tcp(peer: Peer, deadline: float) -> socket.socket:
    """To the first of the host's addresses that answers; one that does not leaves the others their share of the time."""
    try:
        found = socket.getaddrinfo(peer.address, peer.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NoAssociation(f"no connection to {peer.where}: {error.strerror or error}") from error
    why = "it has no address"
    for tried, (family, kind, protocol, _, address) in enumerate(found):
        share_s = (deadline - time.monotonic()) / (len(found) - tried)
        try:
            with ExitStack() as closing:
                connection = closing.enter_context(socket.socket(family, kind, protocol))
                connection.settimeout(max(0.001, share_s))
                connection.connect(address)
                closing.pop_all()
        except OSError as error:
            late = f"no answer within {peer.timeouts.connect_s:g} s"
            why = late if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()
        else:
            return connection
    raise NoAssociation(f"no connection to {peer.where}: {why}")
