"""What real senders say to an acceptor, recorded by a proxy between them."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dicom_node.part10 import file_meta
from tests.dicom_node.raw_scu import associated
from tests.faults.checks import CT, image

SENDERS = ("storescu", "dcmsend")
INSTANCES = 2


@contextmanager
def _recording(port: int) -> Iterator[tuple[int, list[bytes]]]:
    """The proxy's port, and what each connection sent, complete when the block is over."""
    recorded: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def serve() -> None:
            with listener.accept()[0] as sender, socket.create_connection(("127.0.0.1", port)) as acceptor:
                back = threading.Thread(target=_copy, args=(acceptor, sender))
                back.start()
                recorded.append(_copy(sender, acceptor))
                back.join()

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], recorded
        thread.join()


def _copy(origin: socket.socket, target: socket.socket) -> bytes:
    copied = b""
    with suppress(OSError):
        while data := origin.recv(65536):
            copied += data
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
    return copied


def record_sessions(port: int, folder: Path, peer: Callable[[str], str]) -> list[bytes]:
    """A session of each sender, of instances of its own."""
    sessions: list[bytes] = []
    for number, name in enumerate(SENDERS):
        files = []
        for offset in range(INSTANCES):
            uid, payload = image(900_000 + 10 * number + offset)
            meta = file_meta(sop_class_uid=CT[0], sop_instance_uid=uid, transfer_syntax_uid=CT[1])
            path = folder / f"{uid}.dcm"
            path.write_bytes(meta + payload)
            files.append(str(path))
        with _recording(port) as (proxy, recorded):
            subprocess.run(
                [peer(name), "-aec", "DICOM-NODE", "127.0.0.1", str(proxy), *files], check=True, capture_output=True
            )
        sessions += recorded
    with _recording(port) as (proxy, recorded), associated(proxy, [CT]) as scu:
        uid, payload = image(900_100)
        scu.store(payload, CT, sop_instance_uid=uid)
    return sessions + recorded
