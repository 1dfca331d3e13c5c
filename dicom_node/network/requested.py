"""An association that the node asks for, and that ends whatever the peer does.

pynetdicom negotiates; its timeouts count from the last byte that came, so what bounds the whole is here.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket

from dicom_node.network.store_status import rejection_in_words
from dicom_node.network.wire import Wire

_ABORT_S = 0.002
_GRACE_S = 2.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """connect_s: TCP; acse_s: accept and release; dimse_s: answer to a whole message; network_s: a stalled socket."""

    connect_s: float = 10.0
    acse_s: float = 30.0
    dimse_s: float = 60.0
    network_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A storage SCP: `ae_title` is the called one; `max_pdu_bytes` is what we accept, theirs bounds what we send."""

    ae_title: str
    address: str
    port: int
    calling_ae_title: str
    max_pdu_bytes: int = 128 * 1024
    timeouts: Timeouts = field(default_factory=Timeouts)


@dataclass(frozen=True, slots=True)
class NoAssociation:
    """Why there is no association."""

    reason: str
    needs_a_person: bool = False


class _Entity(AE):
    """An AE for one association, which keeps hold of its socket: pynetdicom forgets to close one that failed."""

    connection: socket.socket | None = None

    def _create_socket(self, assoc: Association, address: Any, tls_args: Any) -> AssociationSocket:
        transport = super()._create_socket(assoc, address, tls_args)
        self.connection = transport.socket
        return transport


def associate(peer: Peer, contexts: list[PresentationContext]) -> Association | NoAssociation:
    """An association; established, unless every context was refused (its rejected_contexts then say which)."""
    ae = _Entity(ae_title=peer.calling_ae_title)
    ae.connection_timeout = peer.timeouts.connect_s
    ae.acse_timeout = peer.timeouts.acse_s
    ae.dimse_timeout = peer.timeouts.dimse_s
    ae.network_timeout = peer.timeouts.network_s
    where = f"{peer.address}:{peer.port}"
    connected = False
    with ExitStack() as negotiation:

        def prepare(event: evt.Event) -> None:
            nonlocal connected
            connected = True
            _prepare_socket(event.assoc, peer.timeouts.network_s)
            negotiation.enter_context(_cut_after(event.assoc, peer.timeouts.acse_s))

        try:
            # Resolved here, where the error has a name; pynetdicom takes an address.
            found = socket.getaddrinfo(peer.address, peer.port, type=socket.SOCK_STREAM)
            association = ae.associate(
                str(found[0][4][0]),
                peer.port,
                contexts=contexts,
                ae_title=peer.ae_title,
                max_pdu=peer.max_pdu_bytes,
                evt_handlers=[(evt.EVT_CONN_OPEN, prepare)],
            )
        except OSError as error:
            return NoAssociation(f"no connection to {where}: {error.strerror or error}")
    if association.is_established:
        return association
    _close(association)
    if association.rejected_contexts:
        return association
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        words = rejection_in_words(answer.result, answer.result_source, answer.diagnostic)
        return NoAssociation(f"{peer.ae_title} at {where}: {words}", needs_a_person=answer.result == 1)
    if not connected:
        return NoAssociation(f"no connection to {where}: refused, or not within {peer.timeouts.connect_s:g} s")
    return NoAssociation(f"{where} took the connection, but answered no association within {peer.timeouts.acse_s:g} s")


def _prepare_socket(association: Association, network_s: float) -> None:
    """No Nagle delay before the last PDU of a message; and a write to a peer that stopped reading ends."""
    connection = socket_of(association)
    if connection is not None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(network_s)


@contextmanager
def ending(association: Association, acse_s: float) -> Iterator[None]:
    """Release an association at the end of the block; abort it where the block is left early."""
    try:
        yield
        if association.is_established:
            with _cut_after(association, acse_s):
                association.release()
    except BaseException:
        cut(association)
        raise
    finally:
        _close(association)


@contextmanager
def taken_over(association: Association, timeouts: Timeouts) -> Iterator[Wire]:
    """The connection of an established association, taken from the library, whose two threads end.

    Released at the end of the block, unless it was aborted there; aborted where the block is left early.
    """
    with _cut_after(association, timeouts.acse_s):
        association._kill = True
        association._reactor_checkpoint.set()
        association.dul.kill_dul()
        association.join()
        association.dul.join()
    connection = socket_of(association)
    if connection is None:
        raise RuntimeError("an established association without a connection")
    wire = Wire(connection, timeouts.network_s)
    try:
        yield wire
        wire.release(timeouts.acse_s)
    except BaseException:
        wire.abort()
        raise
    finally:
        _close(association)


@contextmanager
def _cut_after(association: Association, acse_s: float) -> Iterator[None]:
    """Close the socket where the block takes clearly longer than its timeout.

    pynetdicom's timeouts count from the last byte: one byte a second would hold it, and so the caller, for ever.
    """
    timer = threading.Timer(acse_s + _GRACE_S, _shut, [association])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def cut(association: Association) -> None:
    """Abort without waiting for the peer to read or to end what it writes."""
    association.abort(block=False)
    time.sleep(_ABORT_S)
    _shut(association)
    association.kill()


def _shut(association: Association) -> None:
    connection = socket_of(association)
    if connection is not None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def _close(association: Association) -> None:
    connection = socket_of(association)
    if connection is not None:
        connection.close()


def socket_of(association: Association) -> socket.socket | None:
    entity = association.ae
    return entity.connection if isinstance(entity, _Entity) else None
