"""The sockets that a node listens on, opened once and handed to each of its acceptor processes.

All of them take connections from the same queue. When one of them ends, what waits there is taken by the others, or by the
one that is started in its place: nobody is refused. Each waits in `accept` itself, so the kernel wakes one of them for a
connection, and the one that has waited longest.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from typing import Self

from dicom_node.config_node import MOST_CONNECTIONS, Node
from dicom_node.network.occupancy import Occupancy, new_table

ACCEPT_S = 0.2  # how long a process waits for a connection before it looks whether it is to stop
_QUEUE = 1024
_TIMEVAL = struct.Struct("@ll")


def timeval(seconds: float) -> bytes:
    """For SO_RCVTIMEO and SO_SNDTIMEO (socket(7)); 0 is for ever."""
    return _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1e6))


class CannotListen(Exception):
    """A port cannot be had. `key` is the one of the configuration that names it."""

    def __init__(self, key: str, address: str, port: int, error: OSError) -> None:
        reason = os.strerror(error.errno or 0).lower()
        super().__init__(
            f"cannot listen on node.address {address}, {key} {port}: {reason}; name another, or stop what uses it"
        )
        self.key = key


@dataclass(frozen=True, slots=True)
class Listening:
    """plain, tls: listening sockets, where there are such ports. occupancy: descriptor of the table of its processes.

    connections: what the table was made for.
    """

    plain: socket.socket | None
    tls: socket.socket | None
    occupancy: int
    processes: int
    connections: int

    @classmethod
    def open(cls, node: Node, processes: int = 1) -> Self:
        """Raises CannotListen, and then nothing is open."""
        plain = None
        if node.tls is None or not node.tls.only:
            plain = _listening_socket("node.port", node.address, node.port)
        try:
            tls = None if node.tls is None else _listening_socket("node.tls.port", node.address, node.tls.port)
        except CannotListen:
            if plain is not None:
                plain.close()
            raise
        # The limit may be raised while the node runs. Memory that no connection is counted in is never taken.
        table = new_table(processes=processes, connections=MOST_CONNECTIONS)
        return cls(plain, tls, table, processes, MOST_CONNECTIONS)

    def descriptors(self) -> tuple[int, ...]:
        """What a process must inherit."""
        return (*(one.fileno() for one in (self.plain, self.tls) if one is not None), self.occupancy)

    def in_words(self) -> str:
        """For the command line of a process that inherits them."""
        numbers = (-1 if one is None else one.fileno() for one in (self.plain, self.tls))
        return ",".join(map(str, (*numbers, self.occupancy, self.processes, self.connections)))

    @classmethod
    def inherited(cls, words: str) -> Self:
        plain, tls, occupancy, processes, connections = map(int, words.split(","))
        for one in (plain, tls, occupancy):
            if one >= 0:
                os.set_inheritable(one, False)
        return cls(_socket_of(plain), _socket_of(tls), occupancy, processes, connections)

    def occupancy_of(self, row: int) -> Occupancy:
        """The table as the process of that row sees it."""
        return Occupancy(self.occupancy, row=row, processes=self.processes, connections=self.connections)

    def close(self) -> None:
        for one in (self.plain, self.tls):
            if one is not None:
                one.close()
        os.close(self.occupancy)


def _socket_of(descriptor: int) -> socket.socket | None:
    return None if descriptor < 0 else socket.socket(fileno=descriptor)


def _listening_socket(key: str, address: str, port: int) -> socket.socket:
    opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # With it `accept` ends by itself, and yet waits in the kernel's queue: a timeout of Python's would not, and each
        # connection would wake all processes.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval(ACCEPT_S))
        opened.bind((address, port))
        opened.listen(_QUEUE)
    except OSError as error:
        opened.close()
        raise CannotListen(key, address, port, error) from error
    return opened
