"""Counts every answer that is no success, and everyone who was turned away, whatever is told of them as events.

Counted in memory, added to the database about once a second. While the database cannot be written the counts stay here;
what a process that is killed counted in its last second is lost.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from dicom_node import logs
from storage.answers import Answers
from storage.errors import StorageError
from storage.records.events import Answer

REJECTED, ABORTED, ABORTED_BY_PEER = "association rejected", "association aborted", "aborted by the peer"
REFUSED_CONNECTION = "connection refused"
_FLUSH_S = 1.0
# A peer may call itself anything, each time anew. Of each kind so many titles have rows of their own, the rest one.
_MOST_TITLES = 256
OTHERS = "(others)"

log = logs.get("tally")


@dataclass(slots=True)
class _Count:
    count: int = 0
    last_at: float = 0.0


class Tally:
    """`start` and `stop` the thread that adds to the database; counting needs neither."""

    def __init__(self, answers: Answers, clock: Callable[[], float] = time.time) -> None:
        self._answers = answers
        self._clock = clock
        self._lock = threading.Lock()
        self._counted: defaultdict[tuple[str, int, str, str], _Count] = defaultdict(_Count)
        self._titles: defaultdict[str, set[str]] = defaultdict(set)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="tally", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Add what was counted last."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.flush()

    def dimse(self, service: str, status: int, calling_ae_title: str) -> None:
        """A response was given; a success is not counted. service: C-STORE, C-ECHO and so on."""
        if status:
            self._count(service, status, calling_ae_title)

    def rejected(self, result: int, source: int, reason: int, calling_ae_title: str) -> None:
        """An A-ASSOCIATE-RJ was sent (PS3.8 9.3.4)."""
        self._count(REJECTED, result << 16 | source << 8 | reason, calling_ae_title)

    def aborted(self, source: int, reason: int, calling_ae_title: str, *, by_peer: bool) -> None:
        """An A-ABORT was sent, or came (PS3.8 9.3.8)."""
        self._count(ABORTED_BY_PEER if by_peer else ABORTED, source << 8 | reason, calling_ae_title)

    def turned_away(self) -> None:
        """A connection was closed before anyone said who calls."""
        self._count(REFUSED_CONNECTION, 0, "")

    def flush(self) -> None:
        """Add what was counted to the database; what cannot be added is kept."""
        with self._lock:
            counted, self._counted = self._counted, defaultdict(_Count)
        if not counted:
            return
        rows = [
            Answer(kind, status, title, item.count, day, item.count, item.last_at)
            for (kind, status, title, day), item in counted.items()
        ]
        try:
            self._answers.add(rows)
        except StorageError as error:
            log.error("answers could not be counted in the database yet", error=error, count=len(rows))
            with self._lock:
                for key, item in counted.items():
                    self._add(key, item.count, item.last_at)

    def _count(self, kind: str, status: int, calling_ae_title: str) -> None:
        now = self._clock()
        day = datetime.fromtimestamp(now).astimezone().date().isoformat()
        title = "".join(c if c.isprintable() else "?" for c in calling_ae_title.strip()[:16])
        with self._lock:
            titles = self._titles[kind]
            if title not in titles:
                if len(titles) < _MOST_TITLES:
                    titles.add(title)
                else:
                    title = OTHERS
            self._add((kind, status, title, day), 1, now)

    def _add(self, key: tuple[str, int, str, str], count: int, last_at: float) -> None:
        item = self._counted[key]
        item.count += count
        item.last_at = max(item.last_at, last_at)

    def _run(self) -> None:
        while not self._stopping.wait(_FLUSH_S):
            try:
                self.flush()
            except Exception as error:  # noqa: BLE001 - an exception here would end the counting for good
                log.error("answers could not be counted", error=error)
