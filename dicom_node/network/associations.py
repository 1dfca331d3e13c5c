"""Which associations are being served, and their rows: opened at the first C-STORE, closed with how they ended.

An association that only echoes leaves no row: monitoring asks every few seconds for years.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Thread
from typing import Literal

from dicom_node import logs
from dicom_node.arrivals import Arrivals
from dicom_node.refusals import OutOfResources
from storage.errors import StorageUnavailable
from storage.records import Association
from storage.studies import Studies

Ending = Literal["released", "aborted"]
log = logs.get("associations")


@dataclass(slots=True)
class _Live:
    record: Association
    arrivals: Arrivals | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    written: bool = False
    ended: bool = False


class Associations:
    """acceptor: the name under which a later process finds what this one left open."""

    def __init__(
        self,
        studies: Studies,
        open_arrivals: Callable[[Association], Arrivals],
        acceptor: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._studies = studies
        self._open_arrivals = open_arrivals
        self._acceptor = acceptor
        self._clock = clock
        self._live: dict[Thread, _Live] = {}
        self._unclosed: dict[str, tuple[Ending, float, Arrivals | None]] = {}
        self._lock = threading.Lock()

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
        with self._lock:
            if len(self._live) >= limit:
                return False
            self._live[thread] = _Live(record)
            return True

    def association_id(self, thread: Thread) -> str:
        """The id of a live association; from now on it has a row. Raises OutOfResources where it has ended."""
        live = self._of(thread)
        with live.lock:
            if live.ended:
                raise _ended()
            if not live.written:
                self._studies.open_association(live.record)
                live.written = True
        return live.record.association_id

    def arrivals(self, thread: Thread) -> Arrivals:
        """Where what a live association brings goes in. As `association_id`, and raises StorageUnavailable."""
        self.association_id(thread)
        live = self._of(thread)
        with live.lock:
            if live.ended:
                raise _ended()
            if live.arrivals is None:
                live.arrivals = self._open_arrivals(live.record)
            return live.arrivals

    def _of(self, thread: Thread) -> _Live:
        with self._lock:
            live = self._live.get(thread)
        if live is None:
            raise _ended()
        return live

    def end(self, thread: Thread, ending: Ending) -> None:
        """Close an association's row, if it has one. Only the first ending counts."""
        with self._lock:
            live = self._live.pop(thread, None)
        if live is None:
            return
        with live.lock:
            live.ended = True
        if live.written:
            with self._lock:
                self._unclosed[live.record.association_id] = (ending, self._clock(), live.arrivals)
            self._close_rows()

    def tidy(self) -> None:
        """End what ended without a word, and close rows that could not be closed before. Called every now and then."""
        with self._lock:
            dead = [thread for thread in self._live if thread.ident is not None and not thread.is_alive()]
        for thread in dead:
            self.end(thread, "aborted")
        self._close_rows()

    def __len__(self) -> int:
        with self._lock:
            return len(self._live)

    def _close_rows(self) -> None:
        with self._lock:
            unclosed = tuple(self._unclosed.items())
        for association_id, (ending, closed_at, arrivals) in unclosed:
            try:
                if arrivals is not None:
                    arrivals.close()  # the rows of what it brought come before the row of its end
                self._studies.close_association(association_id, ending=ending, closed_at=closed_at)
            except StorageUnavailable as error:
                log.error("end of an association could not be recorded yet", error=error, association=association_id)
                return
            with self._lock:
                self._unclosed.pop(association_id, None)


def _ended() -> OutOfResources:
    """What a peer sent last and what ended its association may be taken up in either order: nobody need be told."""
    return OutOfResources("the association has ended")
