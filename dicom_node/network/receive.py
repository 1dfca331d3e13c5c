"""The fast path of C-STORE: on an established association, from the socket to the door in without detours.

The library negotiates. From then on its upper-layer thread runs this instead of its own reading: large reads into one
buffer that is used again, presentation data values handed on as they come, however a peer cuts them, and an answer that
is a few bytes put together. Whatever is not a C-STORE request goes back to the library, as PDUs that it reads as if they
had come so: echoes, releases, aborts, and requests that are not as they should be.

While this waits for the peer, the library's association thread is parked, which would ask a thousand times a second.
"""

from __future__ import annotations

import math
import mmap
import socket
import ssl
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from dicom_node import logs
from dicom_node.network.acknowledge import acknowledge_now
from dicom_node.network.guard import Breach, Pace
from dicom_node.network.listening import timeval
from dicom_node.network.store_message import StoreRequest, StoreRequests, data_pdu, response

BUFFER_BYTES = 512 * 1024
_LEAST_READ_BYTES = 64 * 1024  # for less room than this in the buffer, it is begun anew
_WRITE_BYTES = 128 * 1024  # so much of a data set is written before more is read: the peer goes on sending meanwhile
_MOST_FRAGMENTS = 512  # written at once; the system takes 1024
MAX_COMMAND_BYTES = 16 * 1024
# Of a message that the library takes, which holds it in memory; and of a PDU that is no P-DATA-TF.
MAX_OTHER_MESSAGE_BYTES = 16 * 1024 * 1024
MAX_OTHER_PDU_BYTES = 64 * 1024
_TICK_S = 0.25  # how long a wait for the peer may keep this from what the library wants sent
_ATTENTIVE_S = 1.0  # after something was handed back, its answer is waited for in short ticks
_ATTENTIVE_TICK_S = 0.001
_COARSE_S = 0.01  # the system counts the time that a socket waits in steps of some milliseconds
_HEADER_BYTES = 6
_PDU_HEADER = struct.Struct(">2xI")
_PDV_HEADER = struct.Struct(">IBB")
_P_DATA_TF = 4
_IS_COMMAND, _IS_LAST = 1, 2
_ESTABLISHED = "Sta6"  # the library's names are those of PS3.8 9.2
_CLOSED, _INVALID_PDU = "Evt17", "Evt19"

log = logs.get("receive")


class Reception(Protocol):
    """One instance on its way in. Errors of storage are part of the answer, never raised."""

    def write(self, fragments: Sequence[memoryview], /) -> None:
        """The next bytes of the data set; they are gone when this returns."""
        ...

    def finish(self) -> tuple[int, str]:
        """The data set is whole. Status and Error Comment; a success is durable."""
        ...

    def abandon(self) -> None:
        """The rest will not come."""
        ...


class Door(Protocol):
    """Where one association's instances go in."""

    def begin(self, request: StoreRequest) -> Reception: ...

    def answered(self, status: int) -> None:
        """The peer is being given an answer that is no plain success."""
        ...

    def patience_s(self) -> float:
        """How long the peer may send nothing before `idle` should be told."""
        ...

    def idle(self) -> None:
        """The peer sent nothing for a moment."""
        ...


class _Malformed(Exception):
    """What came breaks the rules of PDUs; the association cannot go on."""


class Receiver:
    """The receiving half of one association of the library's; `install` it while the association is requested.

    contexts: of those that are accepted, which may go the fast path, by context ID: abstract syntax, transfer syntax.
    pace: the limits of what the peer may send, and how slowly.
    """

    def __init__(
        self, association: Any, door: Door, contexts: Callable[[], dict[int, tuple[str, str]]], pace: Pace
    ) -> None:
        self._association = association
        self._provider = association.dul
        self._library_event: Callable[[], bool] = association.dul._is_transport_event
        self._door = door
        self._read_contexts = contexts
        self._pace = pace
        self._contexts: dict[int, tuple[str, str]] | None = None
        self._view = memoryview(b"")
        self._fragments: list[memoryview] = []  # of a data set, in the buffer and not written yet
        self._unwritten_bytes = 0
        self._at = self._end = 0
        self._pdu_left = self._pdv_left = 0
        self._context_id = self._control = 0
        self._command = b""
        self._requests = StoreRequests()
        self._request: StoreRequest | None = None
        self._reception: Reception | None = None
        self._inside_other = False
        self._other_bytes = 0
        self._active_at = time.monotonic()
        self._attentive_until = 0.0
        self._waiting_s = 0.0

    def install(self) -> None:
        self._provider._is_transport_event = self._transport_event

    def _transport_event(self) -> bool:
        """What the library asks again and again: did anything come? True where it finds an event to act on."""
        if self._provider.state_machine.current_state != _ESTABLISHED:
            self._drop()
            return self._library_event()
        if not self._association.is_established:
            return False  # accepted a moment ago: what the contexts are is not known yet
        if self._contexts is None:
            self._contexts = self._read_contexts()
            # Pages of its own: copies to memory just behind a page's begin are several times as slow on some processors.
            self._view = memoryview(mmap.mmap(-1, BUFFER_BYTES))
            self._active_at = time.monotonic()
        checkpoint = self._association._reactor_checkpoint
        attentive = time.monotonic() < self._attentive_until
        if not attentive and not self._is_wanted():
            checkpoint.clear()
        try:
            return self._serve(attentive)
        except (_Malformed, Breach) as error:
            log.warning("association aborted", reason=str(error))
            self._provider.event_queue.put(_INVALID_PDU)
        except OSError:  # reset, or closed by another thread
            self._provider.event_queue.put(_CLOSED)
        finally:
            checkpoint.set()
        return True

    def _serve(self, attentive: bool) -> bool:
        """Take in what comes until the library has to act (True) or may have something to do (False)."""
        timeout_s = self._association.network_timeout or math.inf
        longest_s = min(_ATTENTIVE_TICK_S if attentive else _TICK_S, timeout_s)
        begun_at = self._active_at
        while not self._take():
            if self._is_wanted():
                break
            if self._fill(min(longest_s, self._door.patience_s())):
                continue
            self._door.idle()
            if attentive or time.monotonic() - self._active_at > timeout_s:
                break
        else:
            return True
        if self._active_at != begun_at:
            self._provider._idle_timer.restart()
        return False

    def _is_wanted(self) -> bool:
        """Whether the library ends this association, or has something to send."""
        association, provider = self._association, self._provider
        return bool(association._kill or provider._kill_thread or provider.to_provider_queue.queue)

    def _fill(self, wait_s: float) -> bool:
        """Read what the peer sent; False where it sent nothing in that time. OSError where the connection is over."""
        if self._unwritten_bytes >= _WRITE_BYTES:
            self._write()
        if self._at == self._end and not self._fragments:
            self._at = self._end = 0
        elif len(self._view) - self._end < _LEAST_READ_BYTES:
            self._write()
            rest = bytes(self._view[self._at : self._end])  # less than a header, or a PDU that is no P-DATA-TF
            self._view[: len(rest)] = rest
            self._at, self._end = 0, len(rest)
        connection = self._connection()
        self._wait_at_most(connection, wait_s)
        if self._is_inside_pdu() or self._is_inside_message():  # else the answer acknowledges it
            acknowledge_now(connection)
        began_at, count = time.monotonic(), 0
        try:
            count = connection.recv_into(self._view[self._end :])
        except (TimeoutError, BlockingIOError):
            return False
        finally:
            now = time.monotonic()
            self._pace.waited(now - began_at, count, in_pdu=self._is_inside_pdu(), in_message=self._is_inside_message())
        if not count:
            raise ConnectionError("closed by the peer")
        self._end += count
        self._active_at = now
        return True

    def _wait_at_most(self, connection: socket.socket, wait_s: float) -> None:
        """For what is read next. A time limit of Python's asks the system twice for each reading, the socket's own once."""
        if wait_s < _COARSE_S or isinstance(connection, ssl.SSLSocket):
            if connection.gettimeout() != wait_s:
                connection.settimeout(wait_s)
        elif wait_s != self._waiting_s or connection.gettimeout() is not None:
            connection.settimeout(None)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval(wait_s))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval(_TICK_S))
            self._waiting_s = wait_s

    def _is_inside_pdu(self) -> bool:
        """Also where all of it that came was consumed."""
        return bool(self._pdu_left or self._pdv_left or self._end)

    def _is_inside_message(self) -> bool:
        of_other = self._inside_other and self._other_bytes
        return bool(self._reception is not None or self._command or of_other)

    def _take(self) -> bool:
        """Consume what was read. True where something was handed back to the library, False where more must come."""
        while True:
            there = self._end - self._at
            if self._pdv_left:
                if not there:
                    return False
                if self._fragment(min(there, self._pdv_left)):
                    return True
            elif there < _HEADER_BYTES:
                return False
            elif self._pdu_left:
                if self._value_header():
                    return True
            elif self._view[self._at] == _P_DATA_TF:
                (self._pdu_left,) = _PDU_HEADER.unpack_from(self._view, self._at)
                self._pace.pdu(self._pdu_left)
                self._at += _HEADER_BYTES
            else:
                return self._other_pdu(there)

    def _value_header(self) -> bool:
        length, self._context_id, self._control = _PDV_HEADER.unpack_from(self._view, self._at)
        if length < 2 or length + 4 > self._pdu_left:
            raise _Malformed("a presentation data value is longer than its pdu, or too short for its own header")
        self._at += _HEADER_BYTES
        self._pdu_left -= length + 4
        self._pdv_left = length - 2
        return self._pdv_left == 0 and self._fragment(0)

    def _fragment(self, count: int) -> bool:
        """The next bytes of a command or a data set, and what is due where they are the last ones."""
        fragment = self._view[self._at : self._at + count]
        self._at += count
        self._pdv_left -= count
        is_last = self._pdv_left == 0 and bool(self._control & _IS_LAST)
        if self._control & _IS_COMMAND:
            self._command += bytes(fragment)
            if len(self._command) > MAX_COMMAND_BYTES:
                raise _Malformed(f"a command is longer than {MAX_COMMAND_BYTES} bytes")
            return is_last and self._command_is_whole()
        if self._request is not None and self._reception is not None:
            if self._context_id != self._request.context_id:
                raise _Malformed("a data set comes in another presentation context than its command")
            self._fragments.append(fragment)
            self._unwritten_bytes += count
            if is_last:
                self._write()
                self._answer(self._request, self._reception)
            elif len(self._fragments) == _MOST_FRAGMENTS:
                self._write()
            return False
        self._other_bytes += count
        if not self._inside_other or self._other_bytes > MAX_OTHER_MESSAGE_BYTES:
            raise _Malformed(f"a data set without a command, or one of more than {MAX_OTHER_MESSAGE_BYTES} bytes")
        self._inside_other = not is_last
        return self._hand_back(data_pdu(self._context_id, fragment, is_command=False, is_last=is_last))

    def _write(self) -> None:
        fragments, self._fragments, self._unwritten_bytes = self._fragments, [], 0
        if fragments and self._reception is not None:
            self._reception.write(fragments)

    def _command_is_whole(self) -> bool:
        command, self._command = self._command, b""
        if self._reception is not None:
            raise _Malformed("a command comes before the data set of the one before it is whole")
        if self._contexts is not None and self._context_id in self._contexts:
            request = self._requests.read(command, self._context_id, *self._contexts[self._context_id])
            if request is not None:
                self._reception = self._door.begin(request)
                self._request = request
                return False
        self._inside_other, self._other_bytes = True, 0
        return self._hand_back(data_pdu(self._context_id, command, is_command=True, is_last=True))

    def _answer(self, request: StoreRequest, reception: Reception) -> None:
        self._request = self._reception = None
        self._pace.message_ended()
        status, comment = reception.finish()
        if status:
            self._door.answered(status)
        rest = memoryview(response(request, status, comment))
        deadline = time.monotonic() + (self._association.network_timeout or math.inf)
        while rest:
            try:
                rest = rest[self._connection().send(rest) :]
            except (TimeoutError, BlockingIOError):
                if time.monotonic() > deadline or self._is_wanted():
                    raise
        self._active_at = time.monotonic()

    def _other_pdu(self, there: int) -> bool:
        """A PDU that is no P-DATA-TF, whole: the library acts on it."""
        (length,) = _PDU_HEADER.unpack_from(self._view, self._at)
        if length > MAX_OTHER_PDU_BYTES:
            raise _Malformed(f"a pdu that holds no data claims {length} bytes")
        if there < _HEADER_BYTES + length:
            return False
        whole = bytes(self._view[self._at : self._at + _HEADER_BYTES + length])
        self._at += len(whole)
        return self._hand_back(whole)

    def _hand_back(self, pdu: bytes) -> bool:
        self._attentive_until = time.monotonic() + _ATTENTIVE_S
        try:
            decoded, event = self._provider._decode_pdu(bytearray(pdu))
        except Exception as error:
            raise _Malformed("a pdu cannot be decoded") from error
        self._provider._recv_pdu.put(decoded)
        self._provider.event_queue.put(event)
        return True

    def _connection(self) -> socket.socket:
        transport = self._provider.socket
        connection: socket.socket | None = transport.socket if transport else None
        if connection is None:
            raise ConnectionError("closed")
        return connection

    def _drop(self) -> None:
        """The association is no longer established: of an instance that came in part nothing stays."""
        reception, self._reception, self._request = self._reception, None, None
        if reception is not None:
            reception.abandon()
        self._fragments, self._unwritten_bytes = [], 0
        self._view = memoryview(b"")
        self._at = self._end = 0
