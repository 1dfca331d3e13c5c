"""Taking connections."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pynetdicom import AE
from pynetdicom.events import EventHandlerType
from pynetdicom.presentation import build_context
from pynetdicom.transport import ThreadedAssociationServer

from dicom_node import logs
from dicom_node.network.greeting import Greeter, Manners
from dicom_node.network.guard import Gate
from dicom_node.network.listening import timeval

_VERIFICATION = "1.2.840.10008.1.1"
_ACCEPT_PAUSE_S = 0.1

log = logs.get("acceptor")


class Listener(ThreadedAssociationServer):
    """Takes connections from a listening socket, and serves each in a thread of its own.

    listening: as `listening` opens it; other processes may take connections from it as well. gate: shared by the
    listeners of a process.
    """

    daemon_threads = True

    def __init__(
        self,
        entity: AE,
        ae_title: str,
        listening: socket.socket,
        handlers: list[EventHandlerType],
        *,
        manners: Manners,
        gate: Gate,
    ) -> None:
        self.manners = manners
        self.gate = gate
        self.is_stopping = False
        self._waiting: set[socket.socket] = set()
        self._listening = listening
        self._ended = threading.Event()
        self._ended.set()
        # What is accepted is decided for each request; the library only asks that there be something.
        contexts = [build_context(_VERIFICATION)]
        address = listening.getsockname()
        super().__init__(entity, address, ae_title, contexts, evt_handlers=handlers, request_handler=Greeter)

    def use(self, entity: AE, ae_title: str, manners: Manners) -> None:
        """Meet who comes from now on so; associations go on as they began."""
        self.ae, self.ae_title, self.manners = entity, ae_title, manners

    def server_bind(self) -> None:
        """The library has made a socket of its own: this one listens already."""
        if self.socket is not None:
            self.socket.close()
        self.socket = self._listening
        self.server_address = self._listening.getsockname()

    def server_activate(self) -> None:
        return

    def serve_forever(self, poll_interval: float = 0) -> None:  # noqa: ARG002 - the base's
        self._ended.clear()
        try:
            while not self.is_stopping:
                self._serve_next()
                self.service_actions()
        finally:
            self._ended.set()

    def _serve_next(self) -> None:
        """The next connection, where one comes in a while."""
        try:
            request, address = self.get_request()
        except OSError:
            return
        if not self.verify_request(request, address):
            self.shutdown_request(request)
            return
        try:
            self.process_request(request, address)
        except Exception:  # noqa: BLE001 - no thread could be started: the listener must go on
            self.handle_error(request, address)
            self.shutdown_request(request)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            accepted, address = self._listening.accept()
        except BlockingIOError:  # none came in a while
            raise
        except OSError:
            time.sleep(_ACCEPT_PAUSE_S)  # out of descriptors: the connection still waits, and would be tried at once
            raise
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval(0))  # it has it from the listening socket
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

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.gate.settle()

    def service_actions(self) -> None:
        super().service_actions()
        self.gate.settle()

    def shutdown(self) -> None:
        """Take no more connections; associations go on. (The library's own also wants the entity to know the listener.)"""
        self.is_stopping = True
        self._ended.wait()
        self.server_close()
        for connection in tuple(self._waiting):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it, which closes it

    def server_close(self) -> None:
        """This process's alone: to shut the socket down, as the library does, would end it for all."""
        self._listening.close()
