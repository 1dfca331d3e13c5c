"""Which associations are being served, and their rows: written with what they bring, closed with how they ended.

An association that only echoes leaves no row: monitoring asks every few seconds for years. Ends are committed by a thread
of their own, those of a moment together: no peer waits for them, and where each image has an association of its own,
commits would be what takes most of the time. What a crash takes before that is in the packs.
"""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from threading import Thread
from typing import Literal, Protocol

from dicom_node import logs
from dicom_node.arrivals import Arrivals
from dicom_node.refusals import OutOfResources
from dicom_node.throttle import Throttle
from storage.errors import StorageUnavailable
from storage.records.received import Association
from storage.studies import Studies

Ending = Literal["released", "aborted"]
Ended = tuple[Association, Arrivals | None]
_GATHER_S = 0.1  # in which other associations may end, to be committed with the one that did
_OFTEN_S = 1.0  # after a commit; one that ends later than that is committed at once
_TIDY_S = 0.2
_MOST_AT_ONCE = 64
_MOST_UNCOMMITTED = 256  # ends that wait, each with a pack, before nothing more is begun
_FAILURE_TOLD_S = 10.0

log = logs.get("associations")


class Places(Protocol):
    """How many associations may be served at once, in all the processes of a node."""

    def take(self, limit: int) -> bool: ...

    def free(self) -> None: ...


@dataclass(slots=True)
class _Live:
    record: Association
    arrivals: Arrivals | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    has_row: bool = False
    ended: bool = False


class Associations:
    """acceptor: the name under which a later process finds what this one left open.

    open_arrivals: where what an association brings goes in. end: commits how associations ended, and what is left of
    their rows; raises StorageUnavailable.
    """

    def __init__(
        self,
        studies: Studies,
        *,
        open_arrivals: Callable[[Association], Arrivals],
        end: Callable[[Sequence[Ended]], None],
        acceptor: str,
        places: Places,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._studies = studies
        self._open_arrivals = open_arrivals
        self._end = end
        self._acceptor = acceptor
        self._places = places
        self._clock = clock
        self._live: dict[Thread, _Live] = {}
        self._ended: list[Ended] = []
        self._lock = threading.Lock()
        self._failures = Throttle(_FAILURE_TOLD_S, time.monotonic)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = Thread(target=self._run, name="associations", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Commit what ended so far, as far as that is possible now."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()
        self._tidy()

    def begin(self, thread: Thread, *, calling_ae_title: str, called_ae_title: str, address: str, limit: int) -> bool:
        """Count an association, served by that thread; False where `limit` are being served already."""
        record = Association(
            association_id=str(uuid.uuid4()),
            acceptor=self._acceptor,
            calling_ae_title=calling_ae_title,
            called_ae_title=called_ae_title,
            address=address,
            opened_at=self._clock(),
        )
        if not self._places.take(limit):
            return False
        with self._lock:
            self._live[thread] = _Live(record)
        return True

    def association_id(self, thread: Thread) -> str:
        """The id of a live association; from now on it has a row. Raises OutOfResources where it has ended."""
        live = self._of(thread)
        with live.lock:
            if live.ended:
                raise _ended()
            if not live.has_row:
                self._studies.open_association(live.record)
                live.has_row = True
        return live.record.association_id

    def arrivals(self, thread: Thread) -> Arrivals:
        """Where what a live association brings goes in.

        Raises OutOfResources where it has ended, or where too many that ended are not committed yet.
        """
        live = self._of(thread)
        with live.lock:
            if live.ended:
                raise _ended()
            if live.arrivals is None:
                if len(self._ended) >= _MOST_UNCOMMITTED:
                    raise OutOfResources()
                live.arrivals = self._open_arrivals(live.record)
            return live.arrivals

    def _of(self, thread: Thread) -> _Live:
        with self._lock:
            live = self._live.get(thread)
        if live is None:
            raise _ended()
        return live

    def end(self, thread: Thread, ending: Ending) -> None:
        """An association ended; its row will say so soon, if it has one. Only the first ending counts."""
        with self._lock:
            live = self._live.pop(thread, None)
        if live is None:
            return
        self._places.free()
        with live.lock:
            live.ended = True
        if live.has_row or live.arrivals is not None:
            record = replace(live.record, ending=ending, closed_at=self._clock())
            with self._lock:
                self._ended.append((record, live.arrivals))
            self._wake.set()

    def __len__(self) -> int:
        with self._lock:
            return len(self._live)

    def _run(self) -> None:
        committed_at = -math.inf
        while not self._stopping.is_set():
            if self._wake.wait(_TIDY_S):
                if time.monotonic() - committed_at < _OFTEN_S:
                    self._stopping.wait(_GATHER_S)
                self._wake.clear()
                committed_at = time.monotonic()
            try:
                self._tidy()
            except Exception as error:  # noqa: BLE001 - an exception here would end the thread
                log.error("associations could not be tidied", error=error)

    def _tidy(self) -> None:
        """End what ended without a word, and commit the ends that are not committed yet."""
        with self._lock:
            dead = [thread for thread in self._live if thread.ident is not None and not thread.is_alive()]
        for thread in dead:
            self.end(thread, "aborted")
        while True:
            with self._lock:
                ended = self._ended[:_MOST_AT_ONCE]
            if not ended:
                return
            later = self._commit(ended)
            with self._lock:
                del self._ended[: len(ended)]
                self._ended += later
            if later:
                return

    def _commit(self, ended: Sequence[Ended]) -> Sequence[Ended]:
        """Those that should be tried again later: the one that failed last of all, so that it holds up no other."""
        try:
            self._end(ended)
            return ()
        except Exception as error:  # noqa: BLE001 - the thread must go on
            if len(ended) == 1:
                return () if self._give_up(ended[0], error) else ended
        for at, one in enumerate(ended):
            if self._commit([one]):
                return *ended[at + 1 :], one
        return ()

    def _give_up(self, ended: Ended, error: Exception) -> bool:
        """Leave to the next start what can never be recorded. False where it should be tried again."""
        association, arrivals = ended
        if isinstance(error, StorageUnavailable):
            if self._failures.lets("end"):
                log.error("ends of associations could not be recorded yet", error=error)
            return False
        try:
            if arrivals is not None:
                arrivals.give_up(error)
        except Exception as again:  # noqa: BLE001 - nothing is let go of that nobody was told of
            if self._failures.lets("giving up"):
                log.error("nobody could be told of an end that cannot be recorded", error=again)
            return False
        log.error("end of an association cannot be recorded", error=error, association=association.association_id)
        return True


def _ended() -> OutOfResources:
    """What a peer sent last and what ended its association may be taken up in either order: nobody need be told."""
    return OutOfResources("the association has ended")
