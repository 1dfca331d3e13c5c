"""Plays a timeline on a clock: the node's own rules with what is known at each moment, and those of its peers."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from benchmarks.timelines import Link, Sent, Timeline
from dicom_node.arrival_facts import Contribution, Facts, Image
from dicom_node.asking import Asking, answered, begun, is_due, noticed, worth
from dicom_node.completeness import Rules, judge
from dicom_node.config_sources import Find
from dicom_node.evidence import HABIT_SERIES
from dicom_node.evidence_announced import announced, may_decide
from dicom_node.evidence_images import in_images
from dicom_node.evidence_wire import longest_silences, on_the_wire
from storage.records.announced import Announcement, Said
from storage.records.arriving import Elsewhere, Ended, Silence
from storage.records.received import Series

# The dispatcher looks at all series that arrive so often, and asks so often whom it can ask.
ROUND_S, POLL_S = 0.1, 0.05
# From the question to what is written of its answer.
ANSWER_S = 0.05
PEER = "PACS1"

Kind = Literal["list", "count", "closing", "rest"]


@dataclass(frozen=True, slots=True)
class Start:
    """A job on a series started: when, on how many of its images, and by what kind of evidence."""

    at: float
    images: int
    kind: Kind | None = None


@dataclass(frozen=True, slots=True)
class Played:
    """A series, and when jobs on it started; the last of them had all images.

    told_at: when all was said of it that was announced; not later than the last image where nothing was.
    """

    timeline: Timeline
    series_instance_uid: str
    images: int
    last_sent_at: float
    told_at: float
    starts: tuple[Start, ...]

    @property
    def kind(self) -> Kind:
        kind = self.starts[-1].kind
        assert kind
        return kind

    @property
    def wrong(self) -> int:
        """How many jobs started while images were still to come."""
        return sum(start.images < self.images for start in self.starts)

    @property
    def waited_s(self) -> float:
        """From the last C-STORE response to the job that has all images."""
        return next(start.at for start in self.starts if start.images == self.images) - self.last_sent_at

    @property
    def waited_since_told_s(self) -> float:
        return self.waited_s - max(0.0, self.told_at - self.last_sent_at)


@dataclass
class _Arriving:
    """A series as the node knows it; asking is of the peer that can be asked."""

    uid: str
    images: dict[str, Image] = field(default_factory=dict)
    brought: Counter[str] = field(default_factory=Counter)
    last_at: float = 0.0
    is_judged: bool = True
    look_at: float = math.inf
    asking: Asking | None = None
    starts: list[Start] = field(default_factory=list)


class Node:
    """What the node learned of each source, study after study."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._silences: dict[str, dict[str, Silence]] = {}

    def habit(self, calling_ae_title: str) -> tuple[Silence, ...]:
        known = sorted(self._silences.get(calling_ae_title, {}).values(), key=lambda one: -one.at)
        return tuple(known[:HABIT_SERIES])

    def learn(self, series_instance_uid: str, silence: Silence) -> None:
        """As storage keeps it: a late image makes the silence of a series longer, never shorter."""
        known = self._silences.setdefault(silence.calling_ae_title, {})
        before = known.get(series_instance_uid, silence)
        known[series_instance_uid] = replace(
            silence,
            longest_gap_s=max(silence.longest_gap_s, before.longest_gap_s),
            longest_pause_s=max(silence.longest_pause_s, before.longest_pause_s),
            longest_end_s=max(silence.longest_end_s, before.longest_end_s),
        )

    def play(self, timeline: Timeline) -> list[Played]:
        starts = _Play(self, timeline).run()
        return [_played(timeline, uid, sent, starts[uid]) for uid, sent in timeline.by_series().items()]


class _Play:
    """One study. Moments are rounds of the dispatcher: those in which something may have changed."""

    def __init__(self, node: Node, timeline: Timeline) -> None:
        self._node, self._timeline = node, timeline
        self._series: dict[str, _Arriving] = {}
        self._said: dict[str, Announcement] = {}
        self._brought_at: dict[str, dict[str, float]] = {}  # by association, then by series, the last time
        self._sent, self._told = list(timeline.sent), list(timeline.announcements)
        self._moments: list[float] = []
        for at in [
            *(one.at for one in timeline.sent),
            *(at for link in timeline.links for at in (link.opened_at, link.closed_at)),
            *(one.at for one in timeline.announcements),
        ]:
            self._look(at)

    def run(self) -> dict[str, list[Start]]:
        before = -math.inf
        while self._moments:
            now = heapq.heappop(self._moments)
            if now > before:
                self._round(now)
                before = now
        return {uid: series.starts for uid, series in self._series.items()}

    def _look(self, at: float) -> None:
        """In the first round that is not before."""
        heapq.heappush(self._moments, math.ceil(round(at / ROUND_S, 6)) * ROUND_S)

    def _round(self, now: float) -> None:
        while self._sent and self._sent[0].at <= now:
            self._take(self._sent.pop(0))
        while self._told and self._told[0].at <= now:
            said = self._told.pop(0)
            self._said[said.key] = said
        for series in self._series.values():
            if not series.is_judged:
                self._ask(series, now)
                self._judge(series, now)

    def _take(self, sent: Sent) -> None:
        uid = sent.picture.sop_instance_uid
        series = self._series.setdefault(sent.picture.series_instance_uid, _Arriving(sent.picture.series_instance_uid))
        series.brought[sent.association_id] += 1
        self._brought_at.setdefault(sent.association_id, {})[series.uid] = sent.at
        if uid not in series.images:
            series.images[uid] = Image(uid, sent.picture.header, sent.at, sent.association_id)
            series.last_at, series.is_judged = sent.at, False

    def _ask(self, series: _Arriving, now: float) -> None:
        """Ask the peer what is due, by the rules of `dicom_node.asking`; the answer counts from a round on."""
        if self._timeline.asked == "nobody":
            return
        links = [link for link in self._timeline.links if link.association_id in series.brought]
        if not links or any(link.closed_at > now for link in links):
            return
        find = Find(
            ae_title=PEER,
            address="127.0.0.1",
            port=104,
            has_whole_series=self._timeline.asked == "has whole series",
        )
        known = Series(
            0,
            series.uid,
            self._timeline.study_instance_uid,
            "arriving",
            1,
            len(series.images),
            0.0,
            series.last_at,
            None,
        )
        ended = Ended(known, self._timeline.calling_ae_title, max(link.closed_at for link in links))
        asking = noticed(series.asking, ended) if series.asking else begun(ended)
        if is_due(asking, find, now):
            answered_at = now + POLL_S + ANSWER_S
            held = sum(self._timeline.peer_has[uid] <= answered_at for uid in self._of(series.uid))
            asking = answered(asking, held, find, answered_at, jitter=0.5)
            said = Announcement(
                "c-find",
                f"{PEER} {series.uid}",
                PEER,
                self._timeline.study_instance_uid,
                series.uid,
                worth(asking, find, answered_at),
                answered_at,
                held,
            )
            self._told = sorted([*self._told, said], key=lambda one: one.at)
            self._look(answered_at)
        series.asking = asking
        if asking.next_at < asking.ended_at + find.for_s:
            self._look(asking.next_at)

    def _of(self, series_instance_uid: str) -> set[str]:
        pictures = (one.picture for one in self._timeline.sent)
        return {one.sop_instance_uid for one in pictures if one.series_instance_uid == series_instance_uid}

    def _judge(self, series: _Arriving, now: float) -> None:
        """As `dicom_node.settle`: what comes without a pause is not read over and over."""
        said = [
            Said(one.kind, one.series_instance_uid, one.state, one.instance_count, one.at)
            for one in self._said.values()
            if one.series_instance_uid in {None, series.uid}
        ]
        study_count = sum(len(one.images) for one in self._series.values())
        settled_at = series.last_at + self._node.rules.settle_s
        if now < settled_at and not may_decide(said, len(series.images), study_count):
            self._look(settled_at)
            return
        facts = self._facts(series, study_count, now)
        verdict = judge(facts, self._node.rules, now)
        if verdict.state == "not_yet":
            if verdict.until is not None and verdict.until > now:
                self._look(verdict.until)
            return
        self._conclude(series, facts, now)

    def _facts(self, series: _Arriving, study_count: int, now: float) -> Facts:
        links = [link for link in self._timeline.links if link.opened_at <= now]
        own = [link for link in links if link.association_id in series.brought]
        others = [link for link in links if link.association_id not in series.brought and link.closed_at > now]
        return Facts(
            images=tuple(series.images.values()),
            contributions=tuple(self._contribution(link, series, now) for link in own),
            last_received_at=series.last_at,
            series_instance_uid=series.uid,
            announcements=tuple(self._said.values()),
            elsewhere=tuple(
                Elsewhere(
                    link.association_id,
                    self._timeline.calling_ae_title,
                    link.opened_at,
                    brings_study=link.association_id in self._brought_at,
                )
                for link in others
            ),
            study_instance_count=study_count,
            habit=self._node.habit(self._timeline.calling_ae_title),
        )

    def _contribution(self, link: Link, series: _Arriving, now: float) -> Contribution:
        closed = link.closed_at <= now
        return Contribution(
            self._timeline.calling_ae_title,
            link.ending if closed else None,
            link.opened_at,
            series.brought[link.association_id],
            link.closed_at if closed else None,
            link.association_id,
            went_on=not closed and max(self._brought_at[link.association_id].values()) > series.last_at,
        )

    def _conclude(self, series: _Arriving, facts: Facts, now: float) -> None:
        series.is_judged = True
        series.starts.append(Start(now, len(series.images), _kind(facts, now)))
        most_s, title = self._node.rules.habit_max_s, self._timeline.calling_ae_title
        self._node.learn(series.uid, longest_silences(facts, most_s, title, now))


def _kind(facts: Facts, now: float) -> Kind:
    """What made it whole."""
    said = announced(facts)
    if said.listed:
        return "list"
    if said.counted:
        return "count"
    return "closing" if on_the_wire(facts, now).is_over and in_images(facts).is_closed else "rest"


def quiet_timer(timeline: Timeline, quiet_s: float, *, by: Literal["series", "study"], round_s: float) -> list[Played]:
    """The peers' rule: a job starts in the first round after quiet_s without an image of the series, or of its study.

    A job of a study is one on those of its series that got images since the last.
    """
    found = []
    for uid, sent in timeline.by_series().items():
        over = timeline.sent if by == "study" else sent
        starts = []
        since = -math.inf
        for end in _quiet_ends([one.at for one in over], quiet_s, round_s):
            if any(since < one.at <= end for one in sent):
                came = {one.picture.sop_instance_uid for one in sent if one.at <= end}
                starts.append(Start(end, len(came)))
            since = end
        found.append(_played(timeline, uid, sent, starts))
    return found


def _quiet_ends(times: Sequence[float], quiet_s: float, round_s: float) -> Iterable[float]:
    for index, at in enumerate(times):
        end = math.ceil(round((at + quiet_s) / round_s, 6)) * round_s
        if index + 1 == len(times) or times[index + 1] > end:
            yield end


def _played(timeline: Timeline, uid: str, sent: Sequence[Sent], starts: Sequence[Start]) -> Played:
    firsts: Mapping[str, float] = {one.picture.sop_instance_uid: one.at for one in reversed(sent)}
    told = [one.at for one in timeline.announcements if one.series_instance_uid == uid]
    last = max(firsts.values())
    return Played(timeline, uid, len(firsts), last, max([last, *told]), tuple(starts))
