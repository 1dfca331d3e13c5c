"""Asks one peer how many instances series have that came, and writes down what it says.

A thread of its own, so that a peer that is slow or down delays neither the others nor what the dispatcher does. One
association at a time carries all questions that are due.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import random

from dicom_node import logs
from dicom_node.asking import Asking, answered, begun, is_due, noticed, worth
from dicom_node.breaker import Breaker
from dicom_node.config_sources import Find
from dicom_node.network.find import Answer, NotAsked, Question, SeriesCount
from dicom_node.throttle import Throttle
from storage.announcements import Announcements
from storage.events import Events
from storage.records.announced import Announcement
from storage.records.arriving import Ended
from storage.records.events import Event
from storage.studies import Studies

POLL_S = 0.05
FAULT_PAUSE_S = 5.0
# Series that are asked about on one association; others that are due follow on the next.
MOST_SERIES = 100
_FAILURES, _PAUSE_S = 3, 30.0
_TOLD_EACH_S = 900.0
# A poll that takes long is made so much less often.
_POLL_SHARE = 5.0

Ask = Callable[[Sequence[Question]], Iterator[Answer]]

log = logs.get("inquiry")


@dataclass(slots=True)
class _Followed:
    """A series about which a peer is asked, and what it was last announced to have."""

    asking: Asking
    announced: tuple[object, ...] | None = None


class Inquirer:
    def __init__(
        self,
        find: Find,
        calling_ae_titles: Collection[str],
        ask: Ask,
        *,
        studies: Studies,
        announcements: Announcements,
        events: Events,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random,
    ) -> None:
        """calling_ae_titles: those whose series the peer is asked about. ask: may raise NotAsked."""
        self.calling_ae_titles = frozenset(calling_ae_titles)  # may be set anew while it runs
        # Why the peer says nothing, while it does not.
        self.remark: str | None = None
        self._find = find
        self._ask = ask
        self._studies = studies
        self._announcements = announcements
        self._events = events
        self._clock = clock
        self._jitter = jitter
        self._breaker = Breaker(_FAILURES, _PAUSE_S)
        self._tells = Throttle(_TOLD_EACH_S, clock)
        self._was_told = False
        self._followed: dict[int, _Followed] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"inquiry-{find.ae_title}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def join(self, timeout_s: float) -> None:
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def step(self) -> int:
        """Ask what is due; returns about how many series."""
        now = self._clock()
        if self._breaker.state(now) == "open":
            return 0
        due = [ended for ended in self._follow() if is_due(self._of(ended).asking, self._find, now)][:MOST_SERIES]
        if due:
            self._put(due)
        return len(due)

    def _run(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                asked = self.step()
                wait_s = POLL_S if asked else max(POLL_S, _POLL_SHARE * (time.monotonic() - began))
            except Exception as error:  # noqa: BLE001 - a thread that ends in silence would leave every series to its timer
                log.error("inquiry failed", called_ae_title=self._find.ae_title, error=error)
                wait_s = FAULT_PAUSE_S
            self._stopping.wait(wait_s)

    def _follow(self) -> tuple[Ended, ...]:
        """The series that the peer could be asked about; who is not among them any more is forgotten."""
        ended = self._studies.ended(self.calling_ae_titles)
        known = self._followed
        self._followed = {}
        for one in ended:
            series_id = one.series.series_id
            followed = known.get(series_id) or _Followed(begun(one))
            followed.asking = noticed(followed.asking, one)
            self._followed[series_id] = followed
        return ended

    def _of(self, ended: Ended) -> _Followed:
        return self._followed[ended.series.series_id]

    def _put(self, due: Sequence[Ended]) -> None:
        """Ask on one association. What was not answered by its end counts as asked, and is due again later."""
        by_study: dict[str, dict[str, Ended]] = {}
        for one in due:
            by_study.setdefault(one.series.study_instance_uid, {})[one.series.series_instance_uid] = one
        questions = [Question(study, tuple(series)) for study, series in by_study.items()]
        try:
            for answer in self._ask(questions):
                self._take(answer, by_study.pop(answer.question.study_instance_uid))
        except NotAsked as error:
            self._breaker = self._breaker.failed(self._clock())
            self._tell(str(error), needs_a_person=error.needs_a_person)
        else:
            self._breaker = self._breaker.succeeded()
        self._note((one, None) for rest in by_study.values() for one in rest.values())

    def _take(self, answer: Answer, asked: dict[str, Ended]) -> None:
        if answer.refusal is None:
            self._is_heard()
        else:
            self._tell(answer.refusal, needs_a_person=False)
        found = [(ended, answer.series.get(uid)) for uid, ended in asked.items()]
        self._note((ended, counted.instance_count if counted else None) for ended, counted in found)
        said = [self._announcement(ended, counted) for ended, counted in found if counted is not None]
        if answer.study_instance_count is not None:
            said.append(self._of_study(answer.question.study_instance_uid, answer.study_instance_count))
        news = [one for one in said if one is not None]
        if news:
            self._announcements.announce(*news)

    def _note(self, told: Iterable[tuple[Ended, int | None]]) -> None:
        now = self._clock()
        for ended, count in told:
            followed = self._of(ended)
            followed.asking = answered(followed.asking, count, self._find, now, jitter=self._jitter())

    def _announcement(self, ended: Ended, counted: SeriesCount) -> Announcement | None:
        """What is to be written, or None where that was written already."""
        followed, now = self._of(ended), self._clock()
        state = worth(followed.asking, self._find, now)
        news = (state, counted)
        if followed.announced == news:
            return None
        followed.announced = news
        return Announcement(
            kind="c-find",
            key=f"{self._find.ae_title} {ended.series.series_instance_uid}",
            source=self._find.ae_title,
            study_instance_uid=ended.series.study_instance_uid,
            series_instance_uid=ended.series.series_instance_uid,
            state=state,
            at=now,
            instance_count=counted.instance_count,
            sop_instance_uids=counted.sop_instance_uids,
        )

    def _of_study(self, study_instance_uid: str, instance_count: int) -> Announcement:
        """All that a peer says that counts neither the instances of a series nor lists them."""
        return Announcement(
            kind="c-find",
            key=f"{self._find.ae_title} {study_instance_uid}",
            source=self._find.ae_title,
            study_instance_uid=study_instance_uid,
            series_instance_uid=None,
            state="completed" if self._find.has_whole_series else "in progress",
            at=self._clock(),
            instance_count=instance_count,
        )

    def _tell(self, reason: str, *, needs_a_person: bool) -> None:
        title = self._find.ae_title
        self.remark = f"{title} could not be asked: {reason}"
        if self._tells.lets(reason):
            event = Event("source_unreachable", self.remark, severity="alarm" if needs_a_person else "warning")
            self._events.record(event)
            log.warning("source could not be asked", called_ae_title=title, reason=reason.lower())
            self._was_told = True

    def _is_heard(self) -> None:
        self.remark = None
        if self._was_told:
            self._was_told = False
            self._events.record(Event("source_reachable", f"{self._find.ae_title} answers again"))
            log.info("source answers again", called_ae_title=self._find.ae_title)
