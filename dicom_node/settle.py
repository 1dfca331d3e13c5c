"""Watches series that still arrive: gathers facts, asks whether they are whole, and queues what routing decides.

Where completeness and routing are pure, this is what reads for them and writes what they say, in one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from dicom_node import logs
from dicom_node.completeness import Contribution, Facts, Verdict, judge
from dicom_node.routing import Routing
from storage.instances import Instances
from storage.records import Event, Instance, Series, SeriesPart
from storage.studies import Studies

log = logs.get("settle")

Route = Callable[[tuple[Instance, ...], SeriesPart], Routing]


@dataclass(frozen=True, slots=True)
class _Judged:
    """The facts that a verdict rested on: while they stand, nothing but time can change it."""

    revision: int
    instance_count: int
    endings: tuple[str | None, ...]
    until: float


class Settle:
    def __init__(
        self,
        studies: Studies,
        instances: Instances,
        route: Route,
        *,
        settle_s: float,
        quiet_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """route: what to do with a whole series, from its instances and the association that brought it last."""
        self._studies = studies
        self._instances = instances
        self._route = route
        self._settle_s = settle_s
        self._quiet_s = quiet_s
        self._clock = clock
        self._judged: dict[int, _Judged] = {}

    def step(self) -> int:
        """Judge every series that arrives; returns how many were found whole."""
        arriving = self._studies.arriving()
        known = {item.series_id for item in arriving}
        self._judged = {series_id: seen for series_id, seen in self._judged.items() if series_id in known}
        return sum(self._settle(item) for item in arriving)

    def _settle(self, series: Series) -> bool:
        parts = self._studies.parts(series.series_id)
        endings = tuple(part.association.ending for part in parts)
        seen = self._judged.get(series.series_id)
        now = self._clock()
        facts_stand = seen and (seen.revision, seen.instance_count, seen.endings) == (
            series.revision,
            series.instance_count,
            endings,
        )
        if seen and facts_stand and now < seen.until:
            return False
        instances = self._instances.of_series(series.series_id, up_to_revision=series.revision)
        verdict = judge(_facts(series, parts, instances), settle_s=self._settle_s, quiet_s=self._quiet_s, now=now)
        if not verdict.whole:
            self._judged[series.series_id] = _Judged(
                series.revision, series.instance_count, endings, verdict.until or now
            )
            return False
        return self._conclude(series, parts, instances, verdict)

    def _conclude(
        self, series: Series, parts: tuple[SeriesPart, ...], instances: tuple[Instance, ...], verdict: Verdict
    ) -> bool:
        routing = self._route(instances, parts[-1])
        evidence = "; ".join(verdict.evidence)
        settled = self._studies.settle(
            series, evidence=evidence, jobs=routing.jobs, events=_events(series, evidence, routing)
        )
        if settled:
            log.info(
                "series whole",
                study_instance_uid=series.study_instance_uid,
                series_instance_uid=series.series_instance_uid,
                revision=series.revision,
                instances=series.instance_count,
                jobs=sum(job.state == "ready" for job in routing.jobs),
            )
        return settled


def _facts(series: Series, parts: tuple[SeriesPart, ...], instances: tuple[Instance, ...]) -> Facts:
    contributions = tuple(
        Contribution(
            part.association.calling_ae_title,
            part.association.ending,
            part.association.opened_at,
            part.stored + part.repeated,
        )
        for part in parts
    )
    return Facts(tuple(item.facts for item in instances), contributions, series.last_received_at)


def _events(series: Series, evidence: str, routing: Routing) -> list[Event]:
    def event(kind: str, text: str) -> Event:
        return Event(
            kind, text, study_instance_uid=series.study_instance_uid, series_instance_uid=series.series_instance_uid
        )

    events = [event("series_whole", f"whole with {series.instance_count} instances: {evidence}")]
    events += [event("route_passed_over", text) for text in routing.passed_over]
    for job in routing.jobs:
        if job.state == "skipped":
            events.append(event("job_skipped", f"{job.model} does not apply: {job.reason}"))
        else:
            urgency = job.priority if job.priority_reason is None else f"{job.priority}: {job.priority_reason}"
            events.append(event("job_queued", f"{job.model} queued by route {job.route}, {urgency}"))
    if not routing.jobs:
        events.append(event("no_job", "no route applies: nothing will be analysed"))
    return events
