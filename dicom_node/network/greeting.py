"""A connection until it has asked for an association: TLS, and the whole request, before the library has any part in it.

The library has two threads for a connection that ask a thousand times a second whether something came, and reads as much as a
header claims. Here an idle connection costs one thread that sleeps, and is closed at its deadline.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pynetdicom import evt
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RQ
from pynetdicom.transport import RequestHandler

from dicom_node import logs
from dicom_node.config_node import Limits
from dicom_node.network.guard import (
    INVALID_PARAMETER_VALUE,
    MAX_REQUEST_BYTES,
    UNEXPECTED_PDU,
    Breach,
    Gone,
    Late,
    abort_pdu,
    read_pdu,
)
from dicom_node.network.tls import ServerTls, why_failed

if TYPE_CHECKING:
    from dicom_node.network.sockets import Listener

_ASSOCIATE_RQ = 1
# The library's names are those of PS3.8 9.2.
_UNANSWERED, _CLOSING = frozenset({"Sta1", "Sta2", "Sta3"}), "Sta13"
_REQUESTED, _CLOSED, _INVALID_PDU = "Evt6", "Evt17", "Evt19"
_CHUNK_BYTES = 64 * 1024
_MOST_DISCARDED_BYTES = 4 * 1024 * 1024
_LAST_WORD_S = 0.1
_LIBRARY_SLEEP_S = 0.0002

log = logs.get("acceptor")


@dataclass(frozen=True, slots=True)
class Manners:
    """How connections of one listener are met. refused: told of an address, and why it was turned away."""

    limits: Limits
    acse_timeout_s: float
    network_timeout_s: float
    tls: ServerTls | None
    refused: Callable[[str, str], None]


class Greeter(RequestHandler):
    """Runs in a thread of its own for each connection, and ends when the association's threads begin."""

    server: Listener

    def handle(self) -> None:
        manners, address = self.server.manners, str(self.client_address[0])
        deadline = time.monotonic() + manners.acse_timeout_s
        accepted: socket.socket = self.request
        with self.server.waiting(accepted):
            if manners.tls is not None:
                try:
                    accepted = manners.tls.accept(accepted, deadline, partial(self.server.gate.instead, address))
                except OSError as error:
                    self._turn_away(accepted, address, why_failed(error))
                    return
        with self.server.waiting(accepted):
            try:
                request = _association_request(accepted, deadline)
            except Late:
                self._turn_away(
                    accepted, address, f"no association request in node.acse_timeout_s ({manners.acse_timeout_s:g} s)"
                )
                return
            except Breach as breach:
                self._turn_away(accepted, address, str(breach), abort_pdu(breach.reason))
                return
            except (Gone, OSError) as error:
                # To connect and leave without a word is what health checks do.
                began = isinstance(error, Gone) and error.began
                self._turn_away(accepted, address, "closed in the middle of its association request" if began else None)
                return
        accepted.settimeout(manners.network_timeout_s)
        self.request = accepted
        self._associate(request, manners)

    def _associate(self, request: A_ASSOCIATE_RQ, manners: Manners) -> None:
        association: Any = self._create_association()
        provider = association.dul
        # The connection was announced to the library already; this is what comes next.
        provider._recv_pdu.put(request)
        provider.event_queue.put(_REQUESTED)
        # The library sleeps between looks only while an association begins or ends: else `receive` waits for the peer.
        provider._run_loop_delay = _LIBRARY_SLEEP_S
        _Reader(provider, manners).install()
        association.acse.negotiate_association = partial(
            _negotiate_or_abort, association, association.acse.negotiate_association
        )
        provider.socket._shutdown_socket = self._close
        evt.trigger(association, evt.EVT_CONN_OPEN, {"address": self.client_address})
        association.start()

    def _close(self) -> None:
        _close(self.request)
        self.server.gate.settle()

    def _turn_away(self, accepted: socket.socket, address: str, why: str | None, last_word: bytes = b"") -> None:
        if last_word:
            with suppress(OSError):
                accepted.settimeout(_LAST_WORD_S)
                accepted.send(last_word)
        _close(accepted)
        self.server.gate.settle()
        if why is not None and not self.server.is_stopping:
            self.server.manners.refused(address, why)


def _negotiate_or_abort(association: Any, negotiate: Callable[[], None]) -> None:
    """An exception here would end the association's thread, and leave connection and upper layer behind for ever.

    A presentation context without an abstract syntax, or without a transfer syntax, brings the library to one.
    """
    try:
        negotiate()
    except Exception as error:  # noqa: BLE001 - whatever a peer can bring the library to
        log.warning("association aborted", reason="the library could not negotiate what was asked for", error=error)
        association.abort()


def _association_request(connection: socket.socket, deadline: float) -> A_ASSOCIATE_RQ:
    """Raises Breach, Late, Gone and OSError."""
    raw = read_pdu(connection, MAX_REQUEST_BYTES, deadline)
    if raw[0] != _ASSOCIATE_RQ:
        raise Breach(f"a pdu of type {raw[0]} came where an association request was due", UNEXPECTED_PDU)
    request = A_ASSOCIATE_RQ()
    try:
        request.decode(raw)
        request.to_primitive()  # the library does this where an exception ends its thread
    except Exception as error:
        raise Breach("an association request that cannot be decoded", INVALID_PARAMETER_VALUE) from error
    return request


class _Reader:
    """Instead of the library's own reading, which takes what a header claims: the same events, within the limits."""

    def __init__(self, provider: Any, manners: Manners) -> None:
        self._provider = provider
        self._manners = manners
        self._discarded_bytes = 0
        self._library_event: Callable[[], bool] = provider._is_transport_event
        self._act: Callable[[str], None] = provider.state_machine.do_action

    def install(self) -> None:
        provider = self._provider
        provider._is_transport_event, provider._read_pdu_data = self._transport_event, self._read
        provider.state_machine.do_action = self._act_or_end

    def _transport_event(self) -> bool:
        """What comes before the request is answered waits: the library would abort, and then answer all the same."""
        return self._provider.state_machine.current_state not in _UNANSWERED and self._library_event()

    def _act_or_end(self, event: str) -> None:
        """An exception here would end the library's thread, and leave connection and association behind.

        There are two kinds: commands that cannot be decoded; and what the association's thread and the peer did at the
        same time, so that it is no event of the state any more.
        """
        provider = self._provider
        try:
            self._act(event)
        except Exception as error:  # noqa: BLE001 - whatever a peer can bring the library to
            log.warning("association aborted", reason="the library could not act on what came", error=error)
            connection, last_word = provider.socket.socket, abort_pdu(INVALID_PARAMETER_VALUE)
            if connection is not None:
                with suppress(OSError):
                    connection.settimeout(_LAST_WORD_S)
                    connection.send(last_word)
            abort = A_ABORT_RQ()
            abort.decode(last_word)
            evt.trigger(provider.assoc, evt.EVT_PDU_SENT, {"pdu": abort})
            provider.socket.close()
            provider.assoc.is_aborted, provider.assoc.is_established = True, False
            provider.assoc._kill = provider._kill_thread = True

    def _read(self) -> None:
        provider, limits = self._provider, self._manners.limits
        connection = provider.socket.socket
        try:
            if provider.state_machine.current_state == _CLOSING:
                self._discard(connection)
                return
            raw = read_pdu(connection, int(limits.pdu_bytes), time.monotonic() + limits.pdu_timeout_s)
            connection.settimeout(self._manners.network_timeout_s)
        except Breach:
            provider.event_queue.put(_INVALID_PDU)
            return
        except (Gone, OSError):
            provider.event_queue.put(_CLOSED)
            return
        try:
            pdu, event = provider._decode_pdu(bytearray(raw))
        except Exception:  # noqa: BLE001 - whatever the library finds wrong with it
            provider.event_queue.put(_INVALID_PDU)
            return
        provider._recv_pdu.put(pdu)
        provider.event_queue.put(event)

    def _discard(self, connection: socket.socket) -> None:
        """The association is over, and the peer still sends: it is given a while to read that, and not for ever."""
        connection.settimeout(_LAST_WORD_S)
        with suppress(TimeoutError):
            count = len(connection.recv(_CHUNK_BYTES))
            self._discarded_bytes += count
            if not count or self._discarded_bytes > _MOST_DISCARDED_BYTES:
                raise Gone(began=False)


def _close(connection: socket.socket) -> None:
    """The library leaves a connection open that the peer closed first."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        connection.close()
