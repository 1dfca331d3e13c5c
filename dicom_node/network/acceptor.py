"""The acceptor: listens, judges who may associate, and hands each request to its service."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom.events import EventHandlerType
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RJ
from pynetdicom.pdu_primitives import A_ASSOCIATE

from dicom_node import logs
from dicom_node.config_node import Access, Node
from dicom_node.intake import Intake
from dicom_node.network import access as access_rules
from dicom_node.network import status
from dicom_node.network.access import Rejection
from dicom_node.network.associations import Associations
from dicom_node.network.greeting import Manners
from dicom_node.network.guard import Gate, Pace
from dicom_node.network.library_events import on_common_extended, on_connection_closed, on_data, on_message
from dicom_node.network.listening import Listening
from dicom_node.network.negotiation import contexts_for, service_of, storage_contexts
from dicom_node.network.receive import Receiver
from dicom_node.network.service import Answer, Call
from dicom_node.network.services import SERVICES
from dicom_node.network.sockets import Listener
from dicom_node.network.store_door import StoreDoor
from dicom_node.network.tally import Tally
from dicom_node.network.tls import ServerTls, certificate_of
from dicom_node.network.tls_context import TlsError
from dicom_node.notices import Notices
from dicom_node.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.refusals import Refused
from dicom_node.throttle import Throttle
from storage.answers import Answers
from storage.errors import StorageError, StorageUnavailable
from storage.events import Events
from storage.records.events import Event
from storage.studies import Studies

_REJECTION_EVENT_S = 60.0
_STOP_POLL_S = 0.02
_END_S = 5.0  # in which an aborted association's threads end

log = logs.get("acceptor")


class Acceptor:
    """Serves associations in threads from `start` to `stop`.

    node, access: those sections of the configuration. name: of this acceptor process; what an earlier process of the
    same name left open is closed as lost when this one starts. listening: what it shares with the other processes of
    the node, and which of them it is; without it, it listens alone, and port 0 takes any free one.
    """

    def __init__(
        self,
        node: Node,
        access: Access,
        *,
        intake: Intake,
        notices: Notices,
        studies: Studies,
        events: Events,
        answers: Answers,
        name: str = "acceptor",
        listening: Listening | None = None,
        row: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._node = node
        self._access = access
        self._intake = intake
        self._notices = notices
        self._studies = studies
        self._events = events
        self._name = name
        self._clock = clock
        self._listening = listening
        self._row = row
        self._tally = Tally(answers, clock)
        self._rejections = Throttle(_REJECTION_EVENT_S, clock)
        self._listeners: list[Listener] = []
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        """The TCP port without TLS, else the one with it; of port 0 the one that was free."""
        if self._listeners:
            return int(self._listeners[0].server_address[1])
        return self._node.tls.port if self._node.tls and self._node.tls.only else self._node.port

    @property
    def tls_port(self) -> int | None:
        """The TCP port for TLS, while there is one."""
        if self._node.tls is None or not self._listeners:
            return None
        return int(self._listeners[-1].server_address[1])

    def start(self) -> None:
        """Listen. Returns at once.

        Raises CannotListen where the address or a port cannot be had, TlsError where certificates cannot be used.
        """
        # The library's own handlers write each PDU and command out in words, at any log level.
        _config.LOG_HANDLER_LEVEL = "none"
        lost = self._studies.lose_associations(self._name)
        if lost:
            log.warning("associations of an earlier process closed as lost", associations=lost)
        listening = self._listening or Listening.open(self._node)
        self._occupancy = listening.occupancy_of(self._row)
        self._associations = Associations(
            self._studies,
            open_arrivals=self._intake.arrivals,
            end=self._intake.end,
            acceptor=self._name,
            places=self._occupancy,
            clock=self._clock,
        )
        try:
            self._listeners = self._take_connections(listening)
        except TlsError:
            listening.close()
            raise
        self._associations.start()
        self._tally.start()
        for listener in self._listeners:
            thread = threading.Thread(target=listener.serve_forever, name="listener")
            thread.start()
            self._threads.append(thread)
        log.info("listening", ae_title=self._node.ae_title, address=self._node.address, port=self.port)
        if self._node.tls is not None:
            log.info("listening for tls", address=self._node.address, port=self.tls_port)

    def use(self, node: Node, access: Access) -> None:
        """Meet who comes from now on by these; associations that are open go on as they began.

        What `node` says of ports and processes must be as it was. Raises TlsError, and then nothing has changed.
        """
        manners = [
            self._manners(node, None if listener.manners.tls is None else self._server_tls(node, listener.manners.tls))
            for listener in self._listeners
        ]
        self._node, self._access = node, access
        self._gate.use(node.limits)
        for listener, one in zip(self._listeners, manners, strict=True):
            listener.use(self._application_entity(), node.ae_title, one)

    def _server_tls(self, node: Node, now: ServerTls) -> ServerTls:
        """As it is where its settings are the same: it may go on with files that nobody can read any more."""
        return now if node.tls is None or node.tls == self._node.tls else ServerTls(node.tls)

    def _manners(self, node: Node, tls: ServerTls | None) -> Manners:
        return Manners(node.limits, node.acse_timeout_s, node.network_timeout_s, tls, self._on_refused)

    def _take_connections(self, listening: Listening) -> list[Listener]:
        """Without TLS and with it, as configured. Raises TlsError."""
        node, self._gate = self._node, Gate(self._node.limits, self._occupancy)
        sockets: list[tuple[socket.socket, ServerTls | None]] = []
        if listening.plain is not None:
            sockets.append((listening.plain, None))
        if listening.tls is not None and node.tls is not None:
            sockets.append((listening.tls, ServerTls(node.tls)))
        listeners: list[Listener] = []
        for one, tls in sockets:
            entity, handlers, manners = self._application_entity(), self._handlers(), self._manners(node, tls)
            listeners.append(Listener(entity, node.ae_title, one, handlers, manners=manners, gate=self._gate))
        return listeners

    def stop(self, grace_s: float = 10.0) -> None:
        """Take no more associations, let the running ones end for up to grace_s, then abort them."""
        if not self._listeners:
            return
        for listener in self._listeners:
            listener.shutdown()
        for thread in self._threads:
            thread.join()
        _wait_while(lambda: len(self._associations) > 0, grace_s)
        for association in self._active():
            if association.is_established:
                log.warning("association aborted at stop")
                association.abort()
            elif association.dul.socket:
                association.dul.socket.close()  # is being ended already
        _wait_while(lambda: len(self._active()) > 0, _END_S)
        self._associations.stop()
        self._tally.stop()
        self._occupancy.close()
        self._listeners, self._threads = [], []

    def _active(self) -> list[Any]:
        return [association for listener in self._listeners for association in listener.active_associations]

    def _application_entity(self) -> AE:
        entity = AE(self._node.ae_title)
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        entity.maximum_pdu_size = int(self._node.max_pdu_bytes)
        entity.acse_timeout = self._node.acse_timeout_s
        entity.dimse_timeout = self._node.dimse_timeout_s
        entity.network_timeout = self._node.network_timeout_s
        # The library counts connections that have not even asked yet; what counts here is decided in _on_requested.
        entity.maximum_associations = 2**31 - 1
        return entity

    def _handlers(self) -> list[EventHandlerType]:
        requests = {kind for service in SERVICES for kind in service.handlers}
        return [
            *((kind, self._on_request) for kind in requests),
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_SOP_COMMON, on_common_extended),
            (evt.EVT_DATA_RECV, on_data),
            (evt.EVT_DIMSE_RECV, on_message),
            (evt.EVT_DIMSE_SENT, self._on_response),
            (evt.EVT_PDU_SENT, lambda event: self._count_ending(event, by_peer=False)),
            (evt.EVT_PDU_RECV, lambda event: self._count_ending(event, by_peer=True)),
            (evt.EVT_CONN_CLOSE, on_connection_closed),
            (evt.EVT_RELEASED, lambda event: self._associations.end(event.assoc, "released")),
            (evt.EVT_ABORTED, lambda event: self._associations.end(event.assoc, "aborted")),
        ]

    def _on_refused(self, address: str, why: str) -> None:
        """A connection was closed before it came to an association."""
        self._tally.turned_away()
        if self._rejections.lets((address, re.sub(r"\d+", "", why))):  # whatever numbers a peer may claim
            log.warning("connection refused", reason=why, address=address)
            text = f"connection from {address} refused: {why}"
            self._record(Event("connection_refused", text, "warning", at=self._clock(), data={"address": address}))

    def _on_requested(self, event: evt.Event) -> None:
        """Decide on an association request; runs in the association's thread, before the library negotiates."""
        association = event.assoc
        request = association.requestor.primitive
        if not isinstance(request, A_ASSOCIATE):  # the peer closed or aborted instead of asking
            association.is_aborted = True
            association.kill()
            return
        try:
            rejection = self._judge(association, request)
        except Exception as error:  # noqa: BLE001 - the library would go on and accept
            log.error("association request could not be judged", error=error)
            rejection = access_rules.unjudged()
        if rejection is None:
            proposed = [str(context.abstract_syntax) for context in request.presentation_context_definition_list]
            association.acceptor.supported_contexts = contexts_for(proposed)
            self._receiver(association).install()
            return
        association.acse.send_reject(rejection.result, rejection.source, rejection.reason)
        self._record_rejection(association, request, rejection)
        association.kill()

    def _receiver(self, association: Any) -> Receiver:
        door = StoreDoor(
            lambda: self._associations.arrivals(association),
            lambda error: self._failed(error, "C-STORE"),
            lambda status: self._tally.dimse("C-STORE", status, _calling_ae_title(association)),
        )
        pace = Pace(self._node.limits, self._node.network_timeout_s)
        return Receiver(association, door, lambda: storage_contexts(association.accepted_contexts), pace)

    def _judge(self, association: Any, request: A_ASSOCIATE) -> Rejection | None:
        address = association.requestor.address_info.address
        calling, called = request.calling_ae_title.strip(), request.called_ae_title.strip()
        rejection = access_rules.decide(
            self._access,
            self._node.ae_title,
            calling_ae_title=calling,
            called_ae_title=called,
            address=address,
            certificate=certificate_of(association.dul.socket.socket),
        )
        limit = self._node.max_associations
        if rejection is None and not self._associations.begin(
            association, calling_ae_title=calling, called_ae_title=called, address=address, limit=limit
        ):
            return access_rules.too_many(limit)
        return rejection

    def _record_rejection(self, association: Any, request: A_ASSOCIATE, rejection: Rejection) -> None:
        address = association.requestor.address_info.address
        log.warning(
            "association rejected",
            reason=rejection.why,
            calling_ae_title=request.calling_ae_title,
            called_ae_title=request.called_ae_title,
            address=address,
        )
        if not self._rejections.lets((address, rejection.why)):
            return
        data = {
            "result": rejection.result,
            "source": rejection.source,
            "reason": rejection.reason,
            "calling_ae_title": request.calling_ae_title.strip(),
            "called_ae_title": request.called_ae_title.strip(),
            "address": address,
        }
        text = f"association from {data['calling_ae_title']} at {address} rejected: {rejection.why}"
        self._record(Event("association_rejected", text, "warning", at=self._clock(), data=data))

    def _on_request(self, event: evt.Event) -> Answer:
        """Answer one DIMSE request, as the library takes it of this kind of service."""
        answer = self._answer(event)
        if isinstance(answer, tuple) or not event.event.name.startswith("EVT_N_"):
            return answer
        return answer, None

    def _answer(self, event: evt.Event) -> Answer:
        """Whatever goes wrong, the peer is answered, and never with success."""
        try:
            service = service_of(str(event.context.abstract_syntax))
            handler = service.handlers.get(event.event) if service else None
            if handler is None:
                return status.answer(status.UNRECOGNIZED_OPERATION)
            calling = _calling_ae_title(event.assoc).strip()
            call = Call(self._intake, self._notices, lambda: self._associations.association_id(event.assoc), calling)
            return handler(event, call)
        except Exception as error:  # noqa: BLE001 - the last place where a peer can be told
            return status.answer(*self._failed(error, event.event.name))

    def _on_response(self, event: evt.Event) -> None:
        """The library sent a response, whoever made it."""
        service = type(event.message).__name__.removesuffix("_RSP").replace("_", "-")
        self._tally.dimse(service, event.message.command_set.get("Status", 0), _calling_ae_title(event.assoc))

    def _count_ending(self, event: evt.Event, *, by_peer: bool) -> None:
        """A PDU that rejects or aborts an association, from either side."""
        pdu = event.pdu
        if isinstance(pdu, A_ABORT_RQ):
            source, reason = pdu.source or 0, pdu.reason_diagnostic or 0
            self._tally.aborted(source, reason, _calling_ae_title(event.assoc), by_peer=by_peer)
        elif isinstance(pdu, A_ASSOCIATE_RJ) and not by_peer:
            result, source, reason = pdu.result or 0, pdu.source or 0, pdu.reason_diagnostic or 0
            self._tally.rejected(result, source, reason, _calling_ae_title(event.assoc))

    def _failed(self, error: Exception, kind: str) -> tuple[int, str]:
        """Status and comment of an error; of one that nobody foresaw, people are told as well."""
        if isinstance(error, StorageUnavailable):
            log.error("association could not be recorded", error=error)
        elif not isinstance(error, Refused):
            log.error("request failed", error=error, kind=kind)
            text = f"a request was answered with a failure: {type(error).__name__}"
            self._record(Event("request_failed", text, "alarm", at=self._clock()))
        return status.status_of(error)

    def _record(self, event: Event) -> None:
        try:
            self._events.record(event)
        except StorageError as error:
            log.error("event could not be recorded", error=error)


def _calling_ae_title(association: Any) -> str:
    request = association.requestor.primitive
    return request.calling_ae_title if isinstance(request, A_ASSOCIATE) else ""


def _wait_while(condition: Callable[[], bool], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while condition() and time.monotonic() < deadline:
        time.sleep(_STOP_POLL_S)
