"""A requestor that sends exactly the bytes it is given, and may lie about them in its command."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast

from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import build_context

from tests.waiting import LIMIT_S

Context = tuple[str, str]  # abstract syntax, transfer syntax


@dataclass
class RawScu:
    association: Association

    def store(
        self,
        payload: bytes | None,
        context: Context,
        *,
        sop_instance_uid: str,
        sop_class_uid: str | None = None,
    ) -> C_STORE | None:
        """The response, or None where the association ended without one."""
        request = C_STORE()
        request.MessageID = 7
        request.AffectedSOPClassUID = UID(sop_class_uid or context[0])
        request.AffectedSOPInstanceUID = UID(sop_instance_uid) if sop_instance_uid else None
        request.Priority = 0
        request.DataSet = None if payload is None else BytesIO(payload)
        return cast("C_STORE | None", self.ask(request, context))

    def ask(self, request: Any, context: Context) -> Any:
        """As `store`, with any request."""
        context_id = next(
            accepted.context_id
            for accepted in self.association.accepted_contexts
            if (accepted.abstract_syntax, accepted.transfer_syntax[0]) == context
        )
        self.association.dimse.send_msg(request, cast(int, context_id))
        return self._response()

    def _response(self) -> Any:
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            _, response = self.association.dimse.get_msg(block=False)
            if response is not None:
                return response
            if self.association.acse.is_aborted() or not self.association.dul.is_alive():
                return None
            time.sleep(0.001)
        raise TimeoutError("the acceptor did not answer")


@contextmanager
def associated(
    port: int,
    contexts: Iterable[tuple[str, str | Sequence[str]]],
    *,
    calling_ae_title: str = "RAW-SCU",
    called_ae_title: str = "DICOM-NODE",
) -> Iterator[RawScu]:
    entity = AE(calling_ae_title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = LIMIT_S
    wanted = [
        build_context(UID(abstract), [syntaxes] if isinstance(syntaxes, str) else list(syntaxes))
        for abstract, syntaxes in contexts
    ]
    association = entity.associate("127.0.0.1", port, contexts=wanted, ae_title=called_ae_title)
    transport = association.dul.socket
    plain = transport.socket if transport else None
    try:
        _pause_reactor(association)
        yield RawScu(association)
    finally:
        # The library's loop stays paused until then: it would take away what the release waits for. Of what is over, or was
        # closed by a test, nothing can be released.
        is_over = plain is None or plain.fileno() < 0 or association.acse.is_aborted()
        if association.is_established and not is_over:
            association.release()
        association._reactor_checkpoint.set()
        association.join(LIMIT_S)


def _pause_reactor(association: Association) -> None:
    """Stop the association's own loop, which would take responses away. It says that it pauses a moment too early."""
    association._reactor_checkpoint.clear()
    while association.is_established and not association._is_paused:
        time.sleep(0.001)
    time.sleep(0.02)


def read_pdu(connection: socket.socket) -> bytes:
    """The next PDU, whole. Raises ConnectionError where the acceptor closed the connection."""
    header = _read(connection, 6)
    return header + _read(connection, struct.unpack(">BxI", header)[1])


def _read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise ConnectionError("the acceptor closed the connection")
        data += more
    return data
