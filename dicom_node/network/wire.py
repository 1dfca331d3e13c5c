"""An established association's connection, as the requestor drives it: whole messages out, whole answers in.

Nothing here polls: each wait is for the socket, and each has an end that no peer can put off by a byte now and then.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from math import ceil

from dicom_node.network.framing import (
    ABORT,
    LARGEST_PDU_BYTES,
    P_DATA_TF,
    PDU_HEADER_BYTES,
    RELEASE_RP,
    RELEASE_RQ,
    BadPdu,
    Piece,
    command_fragments,
)

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux alone has it
_READ_BYTES = 64 * 1024
_MOST_COMMAND_BYTES = 64 * 1024
_ABORTED, _LOST = "association aborted by the peer", "connection lost"
# How often a write that waits is interrupted, to see whether the peer has aborted.
_LOOK_UP_S = 0.5
_AT_ONCE = struct.pack("ii", 1, 0)  # struct linger: on, 0 s


class Broken(Exception):
    """The association is over; the reason, in words. The peer may well take another one."""


class Late(Exception):
    """The peer did not read, or did not answer, in its time; the reason, in words."""


class Wire:
    """network_s: how long the peer may take no byte of what is written. The socket stays its owner's to close."""

    def __init__(self, connection: socket.socket, network_s: float) -> None:
        self._connection = connection
        self._network_s = network_s
        self._poll = select.poll()
        self._read = bytearray()
        self._inside_pdu = False
        self._is_over = False
        if connection.fileno() >= 0:  # else it ended already: the first write says so
            # The kernel waits for room in one long write, which costs half of what one does that returns for each part.
            connection.setblocking(True)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(min(network_s, _LOOK_UP_S)))
            self._poll.register(connection, select.POLLIN)

    def write(self, message: Iterable[list[Piece]]) -> None:
        """Write a message; ends when the kernel has it all. Raises Broken and Late."""
        for pieces in message:
            self._inside_pdu = True
            self._write(pieces)
        self._inside_pdu = False

    def command(self, deadline: float, none_yet: str) -> bytes:
        """The next command set, whole by a time of the monotonic clock.

        Raises Broken, BadPdu, and Late, whose reason is `none_yet`.
        """
        command = b""
        while True:
            kind, pdu = self._pdu(deadline, none_yet)
            if kind != P_DATA_TF:
                raise _end_by(kind)
            for fragment, is_last in command_fragments(memoryview(pdu)):
                command += fragment
                if len(command) > _MOST_COMMAND_BYTES:
                    raise BadPdu(f"a command of more than {_MOST_COMMAND_BYTES} bytes")
                if is_last:
                    return command

    def release(self, within_s: float) -> None:
        """End the association in order (PS3.8 section 7.2), unless it is over. The peer's part in it is no condition."""
        if self._is_over:
            return
        deadline = time.monotonic() + within_s
        with suppress(Broken, Late, BadPdu):
            self.write([[_pdu(RELEASE_RQ)]])
            kind = P_DATA_TF
            while kind not in {RELEASE_RP, ABORT}:
                kind, _ = self._pdu(deadline, "no answer to the release")
                if kind == RELEASE_RQ:  # both sides asked at once (PS3.8 section 7.2.2)
                    self.write([[_pdu(RELEASE_RP)]])

    def abort(self) -> None:
        """End the association without waiting for anything."""
        self._is_over = True
        with suppress(OSError):
            if self._inside_pdu:
                # An A-ABORT would count as data. What the kernel still holds for a peer that does not read is dropped.
                self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            else:
                self._connection.send(_pdu(ABORT), socket.MSG_DONTWAIT)
                self._connection.shutdown(socket.SHUT_WR)

    def _write(self, pieces: list[Piece]) -> None:
        stalls_at = time.monotonic() + self._network_s
        while pieces:
            try:
                sent = self._connection.sendmsg(pieces)
            except BlockingIOError:
                self._heed_an_abort()
                if time.monotonic() >= stalls_at:
                    raise Late(f"the peer read nothing for {self._network_s:g} s") from None
                continue
            except OSError as error:
                raise self._why_lost() from error
            pieces = _after(pieces, sent)
            stalls_at = time.monotonic() + self._network_s

    def _heed_an_abort(self) -> None:
        """A peer that aborts while it is written to need not read the rest. An early answer is read in its turn."""
        with suppress(BlockingIOError):
            if not self._fill():
                raise Broken(_LOST)
        if self._read[:1] == bytes([ABORT]):
            raise Broken(_ABORTED)

    def _why_lost(self) -> Broken:
        """A write failed. Had the peer said that it aborts?"""
        with suppress(Broken, BlockingIOError):
            while self._fill():
                continue
        return Broken(_ABORTED if self._read[:1] == bytes([ABORT]) else _LOST)

    def _pdu(self, deadline: float, none_yet: str) -> tuple[int, bytes]:
        while True:
            if len(self._read) >= PDU_HEADER_BYTES:
                kind, length = struct.unpack_from(">BxL", self._read)
                if length > LARGEST_PDU_BYTES:
                    raise BadPdu(f"a PDU of {length} bytes in answer to a C-STORE")
                end = PDU_HEADER_BYTES + length
                if len(self._read) >= end:
                    pdu = bytes(self._read[PDU_HEADER_BYTES:end])
                    del self._read[:end]
                    return kind, pdu
            acknowledge_now(self._connection)
            left_s = max(0.0, deadline - time.monotonic())
            if not self._poll.poll(ceil(left_s * 1000)):
                raise Late(none_yet)
            with suppress(BlockingIOError):
                if not self._fill():
                    raise Broken(_LOST)

    def _fill(self) -> int:
        """Read what there is; 0 where the peer closed. Raises BlockingIOError where there is nothing."""
        try:
            chunk = self._connection.recv(_READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            raise
        except OSError as error:
            raise Broken(_LOST) from error
        self._read += chunk
        return len(chunk)


def acknowledge_now(connection: socket.socket) -> None:
    """DCMTK writes a response in two parts and, with Nagle on, holds the second until the first is acknowledged.

    A kernel may delay that by 40 ms. The option falls back by itself, so it is set for each response.
    """
    if _QUICKACK is not None:
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)


def _timeval(seconds: float) -> bytes:
    whole = int(seconds)
    return struct.pack("ll", whole, int((seconds - whole) * 1e6))


def _pdu(kind: int) -> bytes:
    """An A-RELEASE or A-ABORT PDU: four reserved bytes, all zero, are its field (source 0: the service user)."""
    return struct.pack(">BxL4x", kind, 4)


def _end_by(kind: int) -> Broken:
    if kind == ABORT:
        return Broken(_ABORTED)
    if kind == RELEASE_RQ:
        return Broken("association released by the peer before it answered")
    raise BadPdu(f"a PDU of type 0x{kind:02X} in answer to a C-STORE")


def _after(pieces: list[Piece], sent: int) -> list[Piece]:
    """What remains of pieces of which `sent` bytes are gone."""
    for position, piece in enumerate(pieces):
        if sent < len(piece):
            return [memoryview(piece)[sent:], *pieces[position + 1 :]]
        sent -= len(piece)
    return []
