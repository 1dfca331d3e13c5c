"""A TCP proxy on loopback that lets so many bytes of a sender through, and then both connections end."""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

_AT_ONCE_BYTES = 65536
_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass
class Passed:
    """What went from the sender to the acceptor; complete when the session is over."""

    stream: bytes = b""


class CuttingProxy:
    def __init__(self, acceptor_port: int) -> None:
        self._acceptor_port = acceptor_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(20)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        self._listener.close()

    @contextmanager
    def session(self, cut_at: int | None = None, *, is_reset: bool = False) -> Iterator[Passed]:
        """One connection of a sender while the block runs. is_reset: ends as a broken line does, not as a hang-up."""
        passed = Passed()
        thread = threading.Thread(target=self._serve, args=(passed, cut_at, is_reset))
        thread.start()
        try:
            yield passed
        finally:
            thread.join()

    def _serve(self, passed: Passed, cut_at: int | None, is_reset: bool) -> None:
        with (
            self._listener.accept()[0] as sender,
            socket.create_connection(("127.0.0.1", self._acceptor_port)) as acceptor,
        ):
            for one in (sender, acceptor):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(OSError):
                _pass_on(sender, acceptor, passed, cut_at)
            if is_reset:
                for one in (sender, acceptor):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)


def _pass_on(sender: socket.socket, acceptor: socket.socket, passed: Passed, cut_at: int | None) -> None:
    while True:
        readable, _, _ = select.select([sender, acceptor], [], [], 20)
        assert readable, "nobody said anything for 20 s"
        if acceptor in readable:
            answer = acceptor.recv(_AT_ONCE_BYTES)
            if not answer:
                return
            sender.sendall(answer)
        if sender in readable:
            part = sender.recv(_AT_ONCE_BYTES)
            if not part:
                return
            if cut_at is not None:
                part = part[: cut_at - len(passed.stream)]
            acceptor.sendall(part)
            passed.stream += part
            if len(passed.stream) == cut_at:
                return
