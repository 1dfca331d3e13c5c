"""What a peer may cost: connections, the size of what it sends, and how slowly it may send it.

Time counts only while the node waits for the peer, so that a slow disk is never held against a sender.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
import weakref
from collections import Counter, defaultdict
from ipaddress import ip_address

from dicom_node.config_node import Limits
from dicom_node.network.occupancy import Occupancy

# An association request of 128 presentation contexts with every transfer syntax there is takes about 150 kB.
MAX_REQUEST_BYTES = 256 * 1024
_PDU_TYPES = range(1, 8)  # PS3.8 9.3.1
_HEADER = struct.Struct(">BxI")
_CHUNK_BYTES = 64 * 1024

# Reasons of an A-ABORT by the service provider (PS3.8 9.3.8).
NOT_SPECIFIED, UNRECOGNIZED_PDU, UNEXPECTED_PDU, INVALID_PARAMETER_VALUE = 0, 1, 2, 6


class Breach(Exception):
    """A limit was passed; the message says which, in words for the log. reason: of the A-ABORT that answers it."""

    def __init__(self, why: str, reason: int = NOT_SPECIFIED) -> None:
        super().__init__(why)
        self.reason = reason


class Late(Breach):
    """The peer took too long."""


class Gone(Exception):
    """The peer closed the connection; `began`: in the middle of a PDU."""

    def __init__(self, *, began: bool) -> None:
        super().__init__("closed by the peer")
        self.began = began


class Pace:
    """How large and how slow one established association's messages are. Each method may raise Breach.

    grace_s: how long a message may take before its rate is judged.
    """

    def __init__(self, limits: Limits, grace_s: float) -> None:
        self._limits = limits
        self._grace_s = grace_s
        self._pdu_s = self._message_s = 0.0
        self._message_bytes = self._last_bytes = 0

    def pdu(self, length: int) -> None:
        """The header of a PDU came."""
        self._pdu_s = 0.0
        if length > self._limits.pdu_bytes:
            raise Breach(
                f"a pdu claims {length} bytes, more than node.limits.pdu_bytes ({int(self._limits.pdu_bytes)})"
            )

    def message_ended(self) -> None:
        """What was read behind its end belongs to the next message: all of the last read is counted for that one."""
        self._message_s, self._message_bytes = 0.0, self._last_bytes

    def waited(self, seconds: float, count: int, *, in_pdu: bool, in_message: bool) -> None:
        """The node waited so long for so many bytes, in the middle of a PDU or a message, or between them."""
        limits = self._limits
        self._last_bytes = count
        self._pdu_s = self._pdu_s + seconds if in_pdu else 0.0
        if self._pdu_s > limits.pdu_timeout_s:
            raise Late(f"a pdu took longer than node.limits.pdu_timeout_s ({limits.pdu_timeout_s:g} s)")
        if not in_message:
            self._message_s, self._message_bytes = 0.0, count
            return
        self._message_s += seconds
        self._message_bytes += count
        if self._message_bytes > limits.message_bytes:
            raise Breach(f"a message is larger than node.limits.message_bytes ({int(limits.message_bytes)})")
        if self._message_s > limits.message_timeout_s:
            raise Late(f"a message took longer than node.limits.message_timeout_s ({limits.message_timeout_s:g} s)")
        if self._message_s > self._grace_s and self._message_bytes < self._message_s * limits.min_bytes_per_s:
            raise Late(f"a message comes slower than node.limits.min_bytes_per_s ({limits.min_bytes_per_s})")


class Gate:
    """How many connections are open, in all and from each address. Shared by all listeners of a process.

    occupancy: where they are counted, together with those of other processes.
    """

    def __init__(self, limits: Limits, occupancy: Occupancy) -> None:
        self._limits = limits
        self._occupancy = occupancy
        self._lock = threading.Lock()
        self._open: defaultdict[str, weakref.WeakSet[socket.socket]] = defaultdict(weakref.WeakSet)
        self._counted: Counter[str] = Counter()

    def use(self, limits: Limits) -> None:
        """Judge who comes from now on by these."""
        self._limits = limits

    def admit(self, address: str, connection: socket.socket) -> str | None:
        """None where the connection may stay, and is counted until it is closed; else why not."""
        source, limits = _counted_as(address), self._limits
        with self._lock:
            self._settle()
            refusal = self._occupancy.connect(
                source, per_address=limits.connections_per_address, in_all=limits.connections
            )
            if refusal is None:
                self._counted[source] += 1
                self._open[source].add(connection)
                return None
        if refusal.of_address:
            return f"more than node.limits.connections_per_address ({limits.connections_per_address}) at once"
        return f"more than node.limits.connections ({limits.connections}) at once"

    def instead(self, address: str, connection: socket.socket) -> None:
        """A connection that was admitted goes on in another object: TLS wraps it."""
        with self._lock:
            self._open[_counted_as(address)].add(connection)

    def settle(self) -> None:
        """Count those no more that were closed, however that happened; called whenever one may have been."""
        with self._lock:
            self._settle()

    def _settle(self) -> None:
        for source, connections in tuple(self._open.items()):
            there = sum(connection.fileno() >= 0 for connection in connections)
            while self._counted[source] > there:
                self._counted[source] -= 1
                self._occupancy.disconnect(source)
            if not there:
                del self._open[source], self._counted[source]


def read_pdu(connection: socket.socket, most_bytes: int, deadline: float) -> bytes:
    """The next PDU, whole by a time of the monotonic clock; memory grows with what came, not with what is claimed.

    Raises Breach, Late, Gone, and OSError of the connection.
    """
    header = _read(connection, _HEADER.size, deadline, began=False)
    kind, length = _HEADER.unpack(header)
    if kind not in _PDU_TYPES:
        raise Breach(f"a pdu of the unknown type 0x{kind:02x}", UNRECOGNIZED_PDU)
    if length > most_bytes:
        raise Breach(f"a pdu of type {kind} claims {length} bytes, {most_bytes} are allowed")
    return bytes(header + _read(connection, length, deadline, began=True))


def abort_pdu(reason: int) -> bytes:
    """A-ABORT by the service provider (PS3.8 9.3.8)."""
    return struct.pack(">BxIxxBB", 7, 4, 2, reason)


def _read(connection: socket.socket, count: int, deadline: float, *, began: bool) -> bytearray:
    read = bytearray()
    while len(read) < count:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise Late("a pdu took too long to come")
        connection.settimeout(left_s)
        try:
            chunk = connection.recv(min(count - len(read), _CHUNK_BYTES))
        except TimeoutError:
            continue
        if not chunk:
            raise Gone(began=began or bool(read))
        read += chunk
    return read


def _counted_as(address: str) -> str:
    """One peer under one name: an IPv4 address on an IPv6 listener is itself, an IPv6 host is its network of 64 bits."""
    source = ip_address(address.partition("%")[0])
    if source.version == 4:
        return str(source)
    return str(source.ipv4_mapped or source.exploded[:19])
