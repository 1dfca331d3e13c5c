"""From one association's C-STORE requests to the door in: what `receive` hands on, and what the peer is answered."""

from __future__ import annotations

import math
from collections.abc import Callable

from dicom_node.content import Received
from dicom_node.intake import Intake
from dicom_node.network.store_message import StoreRequest

Failed = Callable[[Exception], tuple[int, str]]


class StoreDoor:
    """association_id: of the association's row, which the first call writes. failed: status and comment of an error."""

    def __init__(self, intake: Intake, association_id: Callable[[], str], failed: Failed) -> None:
        self._intake = intake
        self._association_id = association_id
        self._failed = failed

    def begin(self, request: StoreRequest) -> _Incoming:
        return _Incoming(self, request)

    def patience_s(self) -> float:
        return math.inf

    def idle(self) -> None:
        return

    def rest(self) -> None:
        return

    def take(self, request: StoreRequest, payload: bytearray) -> tuple[int, str]:
        try:
            self._intake.receive(
                Received(
                    payload=memoryview(payload),
                    sop_class_uid=request.sop_class_uid,
                    sop_instance_uid=request.sop_instance_uid,
                    transfer_syntax_uid=request.transfer_syntax_uid,
                    association_id=self._association_id(),
                )
            )
        except Exception as error:  # noqa: BLE001 - the last place where a peer can be told
            return self._failed(error)
        return 0x0000, ""


class _Incoming:
    def __init__(self, door: StoreDoor, request: StoreRequest) -> None:
        self._door = door
        self._request = request
        self._payload = bytearray()

    def write(self, fragment: memoryview) -> None:
        self._payload += fragment

    def finish(self) -> tuple[int, str]:
        return self._door.take(self._request, self._payload)

    def abandon(self) -> None:
        self._payload = bytearray()
