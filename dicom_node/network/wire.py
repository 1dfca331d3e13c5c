"""An association's connection, as the requestor drives it: whole messages out, whole answers in, over TLS or without.

Nothing here polls: each wait is for the socket, and each has an end that no peer can put off by a byte now and then.
Nor can it make memory follow what it sends.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from math import ceil

from dicom_node.network.acknowledge import acknowledge_now
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
from dicom_node.network.tls_channel import Channel, why_not_secured

_READ_BYTES = 64 * 1024
# Of an answer: its command, which is a hundred bytes and a comment, and all of the PDUs that it comes in.
_MOST_COMMAND_BYTES, _MOST_ANSWER_BYTES = 64 * 1024, LARGEST_PDU_BYTES
# Of what came and was not asked for yet: one PDU, and what was read with it.
_MOST_UNREAD_BYTES = 2 * LARGEST_PDU_BYTES
_ABORTED, LOST = "association aborted by the peer", "connection lost"
# How often a write that waits is interrupted, to see whether the peer has aborted.
_LOOK_UP_S = 0.5
# How often is read what comes after the time is over. What was there by then counts, a peer that never ends does not.
_OVERDUE_READS = _MOST_UNREAD_BYTES // _READ_BYTES
# Who takes less is no slow line but a peer that holds the sender.
_LEAST_BYTES_PER_S = 1024
_TLS_ALERT = 0x15  # the first byte of what a peer that speaks TLS answers to one that does not
_AT_ONCE = struct.pack("ii", 1, 0)  # struct linger: on, 0 s


class Broken(Exception):
    """The association is over; the reason, in words. The peer may well take another one.

    needs_a_person: it will not, before somebody changes something.
    """

    def __init__(self, reason: str, *, needs_a_person: bool = False) -> None:
        super().__init__(reason)
        self.needs_a_person = needs_a_person


class Late(Exception):
    """The peer did not read, or did not answer, in its time; the reason, in words."""


class Wire:
    """The socket stays its owner's to close.

    network_s: how long the peer may take nothing worth the name of what is written. channel: TLS over the connection.
    """

    def __init__(self, connection: socket.socket, network_s: float, channel: Channel | None = None) -> None:
        self._connection = connection
        self._network_s = network_s
        self._channel = channel
        self._least_bytes = max(1, int(network_s * _LEAST_BYTES_PER_S))
        self._end: Broken | None = None
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
            if self._channel is None:
                self._write(pieces)
            else:
                for sealed in self._sealed(self._channel, pieces):
                    self._write([sealed])
        self._inside_pdu = False

    def pdu(self, deadline: float, none_yet: str) -> tuple[int, bytes]:
        """The next PDU, whole by a time of the monotonic clock: its type and what follows its six bytes.

        Raises Broken, BadPdu, and Late, whose reason is `none_yet`.
        """
        overdue = 0
        while True:
            if len(self._read) >= PDU_HEADER_BYTES:
                kind, length = struct.unpack_from(">BxL", self._read)
                if length > LARGEST_PDU_BYTES:
                    hint = ": that port speaks TLS, name tls" if kind == _TLS_ALERT else ""
                    raise BadPdu(f"a PDU of {length} bytes came for an answer{hint}")
                end = PDU_HEADER_BYTES + length
                if len(self._read) >= end:
                    pdu = bytes(self._read[PDU_HEADER_BYTES:end])
                    del self._read[:end]
                    return kind, pdu
            if self._end is not None:
                raise self._end
            acknowledge_now(self._connection)
            left_s = max(0.0, deadline - time.monotonic())
            overdue += left_s == 0
            if overdue > _OVERDUE_READS or not self._poll.poll(ceil(left_s * 1000)):
                raise Late(none_yet)
            with suppress(BlockingIOError):
                self._fill()

    def command(self, deadline: float, none_yet: str) -> bytes:
        """The next command set, whole by a time of the monotonic clock.

        Raises Broken, BadPdu, and Late, whose reason is `none_yet`.
        """
        command, count = b"", 0
        while True:
            kind, pdu = self.pdu(deadline, none_yet)
            if kind != P_DATA_TF:
                raise end_by(kind)
            count += PDU_HEADER_BYTES + len(pdu)
            if count > _MOST_ANSWER_BYTES:
                raise BadPdu(f"an answer of more than {_MOST_ANSWER_BYTES} bytes")
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
        with suppress(Broken, Late, BadPdu, OSError):
            self.write([[_pdu(RELEASE_RQ)]])
            kind = P_DATA_TF
            while kind not in {RELEASE_RP, ABORT} and time.monotonic() < deadline:
                kind, _ = self.pdu(deadline, "no answer to the release")
                if kind == RELEASE_RQ:  # both sides asked at once (PS3.8 section 7.2.2)
                    self.write([[_pdu(RELEASE_RP)]])
            if self._channel is not None:
                self._connection.send(self._channel.farewell(), socket.MSG_DONTWAIT)

    def abort(self) -> None:
        """End the association without waiting for anything."""
        self._is_over = True
        with suppress(OSError):
            if self._inside_pdu:
                # An A-ABORT would count as data. What the kernel still holds for a peer that does not read is dropped.
                self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            else:
                self._connection.send(self._last_words(_pdu(ABORT)), socket.MSG_DONTWAIT)
                self._connection.shutdown(socket.SHUT_WR)

    def _write(self, pieces: list[Piece]) -> None:
        stalls_at, taken = time.monotonic() + self._network_s, 0
        while pieces:
            sent = 0
            try:
                sent = self._connection.sendmsg(pieces)
            except BlockingIOError:
                self._heed_an_abort()
            except OSError as error:
                raise self._why_lost() from error
            pieces, taken = _after(pieces, sent), taken + sent
            if taken >= self._least_bytes:
                stalls_at, taken = time.monotonic() + self._network_s, 0
            elif pieces and time.monotonic() >= stalls_at:
                raise Late(f"the peer read {'next to ' if taken else ''}nothing for {self._network_s:g} s")

    def _heed_an_abort(self) -> None:
        """A peer that aborts while it is written to need not read the rest. An early answer is read in its turn."""
        with suppress(BlockingIOError):
            self._fill()
        if self._read[:1] == bytes([ABORT]):
            raise Broken(_ABORTED)
        if self._end is not None:
            raise self._end

    def _why_lost(self) -> Broken:
        """A write failed. Had the peer said that it aborts, or what was wrong with TLS?"""
        reason = Broken(LOST)
        try:
            while True:
                self._fill()
        except Broken as told:
            reason = told
        except (BlockingIOError, BadPdu):
            pass
        return Broken(_ABORTED) if self._read[:1] == bytes([ABORT]) else reason

    def _fill(self) -> None:
        """Read what there is. Raises BlockingIOError where there is nothing, Broken where nothing more will come."""
        if self._end is not None:
            raise self._end
        if len(self._read) > _MOST_UNREAD_BYTES:
            raise BadPdu(f"the peer sent more than {_MOST_UNREAD_BYTES} bytes that nothing asked for")
        try:
            chunk = self._connection.recv(_READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            raise
        except OSError as error:
            raise Broken(LOST) from error
        if not chunk:
            raise Broken(LOST)
        if self._channel is None:
            self._read += chunk
            return
        try:
            self._channel.open(chunk, self._read)
        except ssl.SSLZeroReturnError:
            self._end = Broken(LOST)  # what came before it counts
        except ssl.SSLError as error:
            self._end = _unsecured(error)

    def _sealed(self, channel: Channel, pieces: list[Piece]) -> Iterator[Piece]:
        """Raises Broken: TLS that has failed in one direction takes nothing for the other one either."""
        try:
            yield from channel.sealed(pieces)
        except ssl.SSLError as error:
            raise self._end or _unsecured(error) from error

    def _last_words(self, pdu: bytes) -> bytes:
        if self._channel is None:
            return pdu
        return b"".join(self._channel.sealed([pdu])) + self._channel.farewell()


def _unsecured(error: ssl.SSLError) -> Broken:
    why = why_not_secured(error)
    return Broken(str(why), needs_a_person=why.needs_a_person)


def _timeval(seconds: float) -> bytes:
    whole = int(seconds)
    return struct.pack("ll", whole, int((seconds - whole) * 1e6))


def _pdu(kind: int) -> bytes:
    """An A-RELEASE or A-ABORT PDU: four reserved bytes, all zero, are its field (source 0: the service user)."""
    return struct.pack(">BxL4x", kind, 4)


def end_by(kind: int) -> Broken:
    """What a PDU means where another was due. Raises BadPdu for one that the standard does not have there."""
    if kind == ABORT:
        return Broken(_ABORTED)
    if kind == RELEASE_RQ:
        return Broken("association released by the peer before it answered")
    raise BadPdu(f"a PDU of type 0x{kind:02X} came for an answer")


def _after(pieces: list[Piece], sent: int) -> list[Piece]:
    """What remains of pieces of which `sent` bytes are gone."""
    for position, piece in enumerate(pieces):
        if sent < len(piece):
            return [memoryview(piece)[sent:], *pieces[position + 1 :]]
        sent -= len(piece)
    return []
