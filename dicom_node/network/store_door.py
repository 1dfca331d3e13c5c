"""From one association's C-STORE requests to the door in: what `receive` hands on, and what the peer is answered."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from dicom_node.arrival_record import Announced
from dicom_node.arrivals import Arrival, Arrivals
from dicom_node.network.store_message import StoreRequest

Failed = Callable[[Exception], tuple[int, str]]


class StoreDoor:
    """open_arrivals: where this association's instances go in. failed: status and comment of an error.

    answered: told of each status that is not 0x0000.
    """

    def __init__(self, open_arrivals: Callable[[], Arrivals], failed: Failed, answered: Callable[[int], None]) -> None:
        self._open_arrivals = open_arrivals
        self._failed = failed
        self.answered = answered
        self._arrivals: Arrivals | None = None

    def begin(self, request: StoreRequest) -> _Incoming | _TurnedAway:
        announced = Announced(request.sop_class_uid, request.sop_instance_uid, request.transfer_syntax_uid)
        try:
            if self._arrivals is None:
                self._arrivals = self._open_arrivals()
            return _Incoming(self._arrivals.begin(announced), self._failed)
        except Exception as error:  # noqa: BLE001 - the last place where a peer can be told
            return _TurnedAway(*self._failed(error))

    def patience_s(self) -> float:
        return math.inf if self._arrivals is None else self._arrivals.patience_s()

    def idle(self) -> None:
        if self._arrivals is not None:
            self._arrivals.flush()


class _Incoming:
    def __init__(self, arrival: Arrival, failed: Failed) -> None:
        self._arrival = arrival
        self._failed = failed
        self.write = arrival.write
        self.abandon = arrival.abandon

    def finish(self) -> tuple[int, str]:
        try:
            self._arrival.finish()
        except Exception as error:  # noqa: BLE001 - the last place where a peer can be told
            return self._failed(error)
        return 0x0000, ""


class _TurnedAway:
    """An instance that cannot be begun: it comes all the same, and is answered with the reason at its end."""

    def __init__(self, status: int, comment: str) -> None:
        self._answer = status, comment

    def write(self, _fragments: Sequence[memoryview]) -> None:
        return

    def abandon(self) -> None:
        return

    def finish(self) -> tuple[int, str]:
        return self._answer
