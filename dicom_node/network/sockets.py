"""The listening socket, and the socket options that keep a peer from waiting for a timer."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.events import EventHandlerType
from pynetdicom.presentation import build_context
from pynetdicom.transport import AssociationServer, ThreadedAssociationServer

from dicom_node import logs
from dicom_node.config import Node
from dicom_node.network.greeting import Greeter, Manners
from dicom_node.network.guard import Gate

_POLL_S = 0.2
_VERIFICATION = "1.2.840.10008.1.1"
_ACCEPT_PAUSE_S = 0.1
# Linux alone has it; elsewhere the peer waits for the delayed acknowledgement, as with any other acceptor.
QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)

log = logs.get("acceptor")


class Listener(ThreadedAssociationServer):
    """A TCP listener that serves each connection in a thread of its own. tidy: called every now and then.

    port: 0 takes any free one. gate: shared by the listeners of a process.
    """

    request_queue_size = 128
    daemon_threads = True

    def __init__(
        self,
        entity: AE,
        node: Node,
        port: int,
        handlers: list[EventHandlerType],
        *,
        manners: Manners,
        gate: Gate,
        tidy: Callable[[], None],
    ) -> None:
        self.manners = manners
        self.gate = gate
        self.is_stopping = False
        self._waiting: set[socket.socket] = set()
        self._tidy = tidy
        address = (node.address, port, 0, 0) if ":" in node.address else (node.address, port)
        # What is accepted is decided for each request; the library only asks that there be something.
        contexts = [build_context(_VERIFICATION)]
        super().__init__(entity, address, node.ae_title, contexts, evt_handlers=handlers, request_handler=Greeter)

    def serve_forever(self, poll_interval: float = _POLL_S) -> None:
        super().serve_forever(poll_interval)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            accepted, address = super().get_request()
        except OSError:
            time.sleep(_ACCEPT_PAUSE_S)  # out of descriptors: the connection still waits, and would be tried at once
            raise
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return accepted, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        why = self.gate.admit(client_address[0], request)
        if why is not None:
            self.manners.refused(client_address[0], why)
        return why is None

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base's
        log.error("connection could not be served", error=sys.exception(), address=client_address[0])

    @contextmanager
    def waiting(self, connection: socket.socket) -> Iterator[None]:
        """While a connection has not asked for an association yet: it is closed when the listener stops."""
        self._waiting.add(connection)
        try:
            yield
        finally:
            self._waiting.discard(connection)

    def service_actions(self) -> None:
        super().service_actions()
        try:
            self._tidy()
        except Exception as error:  # noqa: BLE001 - an exception here would end the listener
            log.error("associations could not be tidied", error=error)

    def shutdown(self) -> None:
        """Stop listening; associations go on. (The library's own also wants the entity to know the listener.)"""
        self.is_stopping = True
        super(AssociationServer, self).shutdown()
        self.server_close()
        for connection in tuple(self._waiting):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it, which closes it


def acknowledge_now(event: evt.Event) -> None:
    """Have the kernel acknowledge what came at once.

    A requestor with Nagle's algorithm on, as DCMTK's tools have, holds the end of each data set back until the
    acknowledgement comes, which a kernel may delay by 40 ms. The option falls back by itself, so it is set anew with
    each PDU.
    """
    transport = event.assoc.dul.socket
    accepted = transport.socket if transport else None
    if QUICKACK is not None and accepted is not None:
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)
        except OSError:
            return  # closed meanwhile; whoever reads from it next finds out
