"""Watches series that still arrive: gathers facts, asks whether they are whole, and queues what routing decides.

Where completeness and routing are pure, this is what reads for them and writes what they say, in one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from dicom_node import logs
from dicom_node.arrival_facts import Facts
from dicom_node.completeness import Rules, Verdict, judge
from dicom_node.evidence import Evidence, RulesOf, source_of
from dicom_node.evidence_announced import may_decide
from dicom_node.evidence_wire import longest_silences
from dicom_node.routing import Routing
from storage.event_about import event_about
from storage.records.arriving import Arriving, Elsewhere
from storage.records.events import Event, Severity
from storage.records.jobs import NewJob
from storage.records.received import Instance, SeriesPart

# How soon it is seen that another association of a source has ended.
ELSEWHERE_S = 1.0

log = logs.get("settle")

Route = Callable[[tuple[Instance, ...], SeriesPart, str], Routing]


@dataclass(frozen=True, slots=True)
class _Judged:
    """What a verdict rested on: while that stands, nothing but time can change it.

    elsewhere: associations that may have been in its way; one that is new never makes a series whole.
    study_instance_count: where the verdict depends on it.
    """

    rests_on: tuple[object, ...]
    elsewhere: frozenset[Elsewhere]
    study_instance_count: int | None
    at: float
    until: float

    def stands(self, known: Arriving, rules: Rules, now: float) -> bool:
        if now >= self.until or self.rests_on != _rests_on(known, rules):
            return False
        if self.study_instance_count not in {None, known.study_instance_count}:
            return False
        # A source that opens and ends associations all the time must not have large series read anew all the time.
        return now < self.at + ELSEWHERE_S or self.elsewhere <= frozenset(known.elsewhere)


class Settle:
    def __init__(
        self, evidence: Evidence, route: Route, rules_of: RulesOf, *, clock: Callable[[], float] = time.time
    ) -> None:
        """route: what to do with a whole series, from its instances, the association that brought it last, and its Study
        Instance UID.

        rules_of: how long to wait for what, by calling AE title.
        """
        self._evidence = evidence
        self._studies = evidence.studies
        self._route = route
        self._rules_of = rules_of
        self._clock = clock
        self._judged: dict[int, _Judged] = {}

    def step(self) -> int:
        """Judge every series that arrives; returns of how many it is decided that they are whole, or never will be."""
        arriving = self._studies.known_of_arriving()
        ids = {known.series.series_id for known in arriving}
        self._judged = {series_id: seen for series_id, seen in self._judged.items() if series_id in ids}
        return sum(self._settle(known) for known in arriving)

    def look_anew(self) -> None:
        """Something changed that is not seen in what is known of each series: judge all that arrive again."""
        self._judged.clear()

    def _settle(self, known: Arriving) -> bool:
        series, now, rules = known.series, self._clock(), self._rules_of(source_of(known))
        seen = self._judged.get(series.series_id)
        if seen and seen.stands(known, rules, now):
            return False
        may_be_over = may_decide(known.said, series.instance_count, known.study_instance_count)
        if now < series.last_received_at + rules.settle_s and not may_be_over:
            return False  # while images come, they are not read over and over
        instances, facts = self._evidence.gather(known)
        verdict = judge(facts, rules, now)
        if verdict.state == "not_yet":
            if verdict.held and series.held_at is None:
                self._hold(known, verdict, now)
            self._judged[series.series_id] = _Judged(
                _rests_on(known, rules),
                frozenset(known.elsewhere),
                known.study_instance_count if _counts_study(facts) else None,
                now,
                verdict.until or now,
            )
            return False
        return self._conclude(known, instances, facts, verdict, rules)

    def _hold(self, known: Arriving, verdict: Verdict, now: float) -> None:
        text = f"held, no job starts: {'; '.join(verdict.evidence)}"
        event = _event(known, "series_held", text, "alarm")
        if self._studies.hold(known.series, expected_count=verdict.expected, at=now, event=event):
            log.warning(
                "series held",
                study_instance_uid=known.series.study_instance_uid,
                series_instance_uid=known.series.series_instance_uid,
            )

    def _conclude(
        self, known: Arriving, instances: tuple[Instance, ...], facts: Facts, verdict: Verdict, rules: Rules
    ) -> bool:
        routing = self._route(instances, known.parts[-1], known.series.study_instance_uid)
        if verdict.state == "never":
            routing = replace(routing, jobs=tuple(of_incomplete(job, verdict, rules) for job in routing.jobs))
        if not self._evidence.instances.came_in(known.series.series_id, known.series.revision):
            # Nothing came: images were rejected, maybe days after the last one, and deadlines count from now.
            passed_s = self._clock() - max(item.received_at for item in instances)
            routing = replace(routing, jobs=tuple(_postponed(job, passed_s) for job in routing.jobs))
        evidence = "; ".join(verdict.evidence)
        settled = self._studies.settle(
            known.series,
            evidence=evidence,
            jobs=routing.jobs,
            events=_events(known, evidence, verdict, routing),
            state="whole" if verdict.whole else "incomplete",
            expected_count=verdict.expected,
            silence=longest_silences(facts, rules.habit_max_s, source_of(known), self._clock()),
        )
        if settled:
            log.info(
                "series judged",
                state="whole" if verdict.whole else "incomplete",
                study_instance_uid=known.series.study_instance_uid,
                series_instance_uid=known.series.series_instance_uid,
                revision=known.series.revision,
                instances=known.series.instance_count,
                jobs=sum(job.state == "ready" for job in routing.jobs),
            )
        return settled


def _rests_on(known: Arriving, rules: Rules) -> tuple[object, ...]:
    endings = tuple((part.association.association_id, part.association.ending) for part in known.parts)
    return known.series.revision, known.series.instance_count, endings, known.went_on, known.said, rules


def _counts_study(facts: Facts) -> bool:
    asked = any(item.kind == "c-find" and item.series_instance_uid is None for item in facts.announcements)
    return asked or any("NumberOfStudyRelatedInstances" in image.header for image in facts.images)


def of_incomplete(job: NewJob, verdict: Verdict, rules: Rules) -> NewJob:
    """A job on a series that is never whole: it says so in its report, or says there why nothing was analysed."""
    if job.state == "skipped":
        return job
    told = replace(job, remark=verdict.incomplete)  # also for when somebody queues it again
    if rules.on_missing == "analyse":
        return told
    if job.report_not_analysed:
        return replace(told, state="ready", give_up_reason=verdict.lacking)
    return replace(told, state="skipped", reason=verdict.lacking)


def _postponed(job: NewJob, by_s: float) -> NewJob:
    return job if job.deadline_at is None else replace(job, deadline_at=job.deadline_at + by_s)


def _event(known: Arriving, kind: str, text: str, severity: Severity = "info") -> Event:
    return event_about(known.series, kind, text, severity, {"revision": known.series.revision})


def _events(known: Arriving, evidence: str, verdict: Verdict, routing: Routing) -> list[Event]:
    if verdict.whole:
        begins = f"whole with {known.series.instance_count} instances: {evidence}"
        events = [_event(known, "series_whole", begins)]
    else:
        begins = f"will not be whole, {known.series.instance_count} instances came: {evidence}"
        events = [_event(known, "series_incomplete", begins, "warning")]
    events += [_event(known, "route_passed_over", text) for text in routing.passed_over]
    for job in routing.jobs:
        if job.state == "skipped":
            events.append(_event(known, "job_skipped", f"{job.model} does not apply: {job.reason}"))
        else:
            urgency = job.priority if job.priority_reason is None else f"{job.priority}: {job.priority_reason}"
            role = "" if job.role == "active" else f" as {job.role}"
            events.append(_event(known, "job_queued", f"{job.model} queued{role} by route {job.route}, {urgency}"))
    if not routing.jobs:
        events.append(_event(known, "no_job", "no route applies: nothing will be analysed"))
    return events
