"""Peers for the requestor: a real one (DCMTK), one that answers as it is told, and ones that misbehave."""

from __future__ import annotations

import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import StoragePresentationContexts

from dicom_node.network.file_meta import read_file_meta
from dicom_node.network.requestor import Peer, Timeouts
from tests.ports import listens
from tests.waiting import wait_until

SHORT = Timeouts(connect_s=2, acse_s=1, dimse_s=1, network_s=1)
LONG = Timeouts(connect_s=60, acse_s=60, dimse_s=60, network_s=60)
_VERIFICATION = "1.2.840.10008.1.1"


def peer_at(port: int, *, timeouts: Timeouts = LONG, ae_title: str = "PACS1") -> Peer:
    return Peer(ae_title=ae_title, address="127.0.0.1", port=port, calling_ae_title="DICOM-NODE", timeouts=timeouts)


@dataclass
class AnsweringScp:
    """A storage SCP that answers with the statuses it is given, the last one for ever; 0x10000 aborts instead."""

    port: int
    statuses: list[int] = field(default_factory=lambda: [0x0000])
    comment: str = ""
    # Data sets as they came over the network, by SOP Instance UID, and how often each came.
    received: dict[str, bytes] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    contexts: list[list[tuple[str, list[str]]]] = field(default_factory=list)
    calling: list[str] = field(default_factory=list)
    tls_versions: list[str | None] = field(default_factory=list)

    def _connected(self, event: evt.Event) -> None:
        connection = event.assoc.dul.socket.socket
        if isinstance(connection, ssl.SSLSocket):
            self.tls_versions.append(connection.version())

    def _opened(self, event: evt.Event) -> None:
        requested = event.assoc.requestor.requested_contexts
        self.contexts.append([(str(one.abstract_syntax), [str(ts) for ts in one.transfer_syntax]) for one in requested])
        self.calling.append(event.assoc.requestor.primitive.calling_ae_title)

    def _store(self, event: evt.Event) -> Dataset:
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        answer = Dataset()
        answer.Status = status & 0xFFFF
        if status > 0xFFFF:
            event.assoc.abort()
            return answer
        uid = str(event.request.AffectedSOPInstanceUID)
        self.times[uid] = self.times.get(uid, 0) + 1
        if self.comment:
            answer.ErrorComment = self.comment
        if status == 0 or status >> 12 == 0xB:
            self.received[uid] = event.request.DataSet.getvalue()
        return answer

    @contextmanager
    def running(
        self,
        *,
        abstract_syntaxes: Sequence[str] | None = None,
        transfer_syntaxes: Sequence[str] = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1"),
        called: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Iterator[None]:
        ae = AE(ae_title="PACS1")
        ae.require_called_aet = called is not None
        if called:
            ae.ae_title = called
        for one in abstract_syntaxes or [str(context.abstract_syntax) for context in StoragePresentationContexts]:
            ae.add_supported_context(one, list(transfer_syntaxes))
        ae.add_supported_context(_VERIFICATION)
        handlers = [
            (evt.EVT_CONN_OPEN, self._connected),
            (evt.EVT_REQUESTED, self._opened),
            (evt.EVT_C_STORE, self._store),
        ]
        with scp_at(self.port, ae, handlers, tls):
            yield


@contextmanager
def scp_at(port: int, ae: AE, handlers: Sequence[Any], tls: ssl.SSLContext | None = None) -> Iterator[None]:
    """An SCP of the library on this port, all of whose connections are closed in the end."""
    connections: list[socket.socket] = []

    def connected(event: evt.Event) -> None:
        connections.append(event.assoc.dul.socket.socket)

    server = ae.make_server(
        ("127.0.0.1", port), evt_handlers=[(evt.EVT_CONN_OPEN, connected), *handlers], ssl_context=tls
    )
    # A short poll: the one of start_server keeps each test waiting for half a second at its end.
    serving = threading.Thread(target=server.serve_forever, args=[0.02])
    serving.start()
    try:
        yield
    finally:
        socketserver.BaseServer.shutdown(server)
        serving.join()
        server.server_close()
        for association in ae.active_associations:
            if association.is_established:  # one that was released already ends by itself, and fails on an abort
                association.abort()
        for connection in connections:
            connection.close()


@contextmanager
def storescp(program: str, folder: Path, port: int, *options: str) -> Iterator[None]:
    """DCMTK's storage SCP, writing what it receives bit for bit (+B) into the folder."""
    process = subprocess.Popen([program, "+B", "-od", str(folder), *options, str(port)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: listens(port))
        yield
    finally:
        process.kill()
        process.wait()


def data_set_bytes(part10: bytes) -> bytes:
    """What follows the file meta header of a Part 10 file."""
    return part10[read_file_meta(part10).data_set_at :]


def data_sets_in(folder: Path) -> dict[str, bytes]:
    """The data sets of the Part 10 files in a folder, by SOP Instance UID."""
    files = [path.read_bytes() for path in folder.iterdir()]
    return {read_file_meta(file).sop_instance_uid: data_set_bytes(file) for file in files}


@contextmanager
def served(serve: Callable[[socket.socket], None], *, receive_buffer_bytes: int = 0) -> Iterator[int]:
    """A TCP listener that gives each connection to `serve` in a thread; yields its port."""
    listener = socket.socket()
    if receive_buffer_bytes:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    listener.bind(("127.0.0.1", 0))
    listener.listen(8)
    opened: list[socket.socket] = []

    def guarded(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            serve(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                opened.append(connection)
                threading.Thread(target=guarded, args=[connection], daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        for one in [listener, *opened]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        thread.join()


@contextmanager
def black_hole() -> Iterator[int]:
    """Listens, but never accepts: the kernel takes the connection, and nobody answers on it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield int(listener.getsockname()[1])


def drip_an_acceptance(connection: socket.socket) -> None:
    """Begins an A-ASSOCIATE-AC of a thousand bytes and sends one every now and then."""
    connection.sendall(bytes([0x02, 0x00]) + (1000).to_bytes(4, "big"))
    while True:
        time.sleep(0.2)
        connection.sendall(b"\0")


def forward_slowly(port: int, *, bytes_per_s: int) -> Callable[[socket.socket], None]:
    """What reaches the port from the requestor goes through at this rate; answers go back at once."""
    step = 64 * 1024

    def serve(connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port)) as onward:
            back = threading.Thread(target=_copy, args=[onward, connection], daemon=True)
            back.start()
            while chunk := connection.recv(step):
                onward.sendall(chunk)
                time.sleep(len(chunk) / bytes_per_s)

    return serve


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
