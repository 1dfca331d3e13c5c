"""Lets jobs that read several series start once these are there, or tell that they did not come.

Every such job begins as waiting. It is looked at whenever a series was judged whole, and once a second for those that have
waited long enough.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from dicom_node import logs
from dicom_node.companions import IDENTITY, Candidate, choose
from dicom_node.series_facts import series_facts
from inference.contract import CompanionContract, InputContract
from storage.event_about import event_about
from storage.instances import Instances
from storage.jobs import Jobs
from storage.records.jobs import Companion, Job
from storage.records.received import Series
from storage.studies import Studies

LOOK_S = 1.0
_REMEMBERED = 512

log = logs.get("companions")

# What a choice rests on: while it stands, only time can change what is to be done.
_Standing = tuple[tuple[int, int, str], ...]


class CompanionWatch:
    def __init__(
        self,
        jobs: Jobs,
        studies: Studies,
        instances: Instances,
        contract_of: Callable[[str], InputContract | None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """contract_of: the input contract of a model by name@version; None where it is not configured any more."""
        self._jobs = jobs
        self._studies = studies
        self._instances = instances
        self._contract_of = contract_of
        self._clock = clock
        self._looked_at = 0.0
        self._chosen: dict[int, tuple[_Standing, tuple[Companion, ...]]] = {}
        self._read: dict[tuple[int, int], Candidate] = {}

    def step(self, *, settled: bool) -> None:
        """settled: whether a series was found whole since the last call."""
        now = self._clock()
        if not settled and 0 <= now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        waiting = self._jobs.waiting()
        known = {job.job_id for job in waiting}
        self._chosen = {job_id: seen for job_id, seen in self._chosen.items() if job_id in known}
        for job in waiting:
            self._consider(job, now)

    def _consider(self, job: Job, now: float) -> None:
        contract = self._contract_of(job.model)
        if contract is None:  # whoever starts it says what is wrong
            self._jobs.accompany(job.job_id, job.companions, events=())
            return
        companions = self._choose(job, contract.companions)
        missing = [
            (rule, one)
            for rule, one in zip(contract.companions, companions, strict=True)
            if rule.required and one.series_id is None
        ]
        if any(now < job.queued_at + rule.wait_s for rule, _ in missing):
            self._wait(job, "; ".join(f"waits for {one.name}: {one.absent}" for _, one in missing))
        else:
            self._go_on(job, companions, [one for _, one in missing])

    def _wait(self, job: Job, reason: str) -> None:
        if reason != job.reason:
            self._jobs.wait_on(job.job_id, reason, events=[event_about(job, "job_waits", f"{job.model} {reason}")])

    def _go_on(self, job: Job, companions: Sequence[Companion], missing: Sequence[Companion]) -> None:
        log.info("companions looked up", job_id=job.job_id, model=job.model, count=len(companions) - len(missing))
        reason = "; ".join(f"no {one.name}: {one.absent}" for one in missing)
        # Where an older revision was reported, silence would leave that report standing as if it still held.
        if missing and not job.report_not_analysed and not self._jobs.predecessors(job):
            event = event_about(job, "job_skipped", f"{job.model} is not run, {reason}")
            self._jobs.skip(job.job_id, reason, events=[event])
            return
        events = [
            event_about(job, "companion_found", f"{job.model} reads {one.name} {one.series_instance_uid}")
            for one in companions
            if one.series_id is not None
        ]
        events += [
            event_about(job, "companion_missing", f"{job.model} goes on without {one.name}: {one.absent}")
            for one in companions
            if one.series_id is None
        ]
        self._jobs.accompany(job.job_id, companions, events=events)

    def _choose(self, job: Job, rules: Sequence[CompanionContract]) -> tuple[Companion, ...]:
        """As chosen before, while the series that there are to choose from are the same."""
        own = self._studies.series_of(job.study_instance_uid)
        here = list(own)
        if any(rule.scope == "prior" for rule in rules):
            patient = self._studies.study(job.study_instance_uid).patient_id
            uids = (study.study_instance_uid for study in self._studies.of_patient(patient))
            here += [one for uid in uids if uid != job.study_instance_uid for one in self._studies.series_of(uid)]
        standing = tuple(sorted((one.series_id, one.revision, one.state) for one in here))
        seen = self._chosen.get(job.job_id)
        if seen is None or seen[0] != standing:
            seen = standing, self._choose_anew(job, rules, here)
            self._chosen[job.job_id] = seen
        return seen[1]

    def _choose_anew(
        self, job: Job, rules: Sequence[CompanionContract], here: Sequence[Series]
    ) -> tuple[Companion, ...]:
        candidates = [self._candidate(one) for one in here]
        subject = next(item for item in candidates if item.series.series_id == job.series_id)
        return tuple(choose(rule, subject, candidates) for rule in rules)

    def _candidate(self, series: Series) -> Candidate:
        """What the headers of a series say; kept, since it is asked again for every job that waits."""
        key = series.series_id, series.revision
        kept = self._read.get(key)
        if kept is None or not kept.is_whole:
            if len(self._read) >= _REMEMBERED:
                self._read.clear()
            instances = self._instances.of_series(series.series_id, up_to_revision=series.revision)
            facts = [item.facts for item in instances]
            first = facts[0] if facts else {}
            kept = Candidate(
                series=series,
                facts=series_facts(facts, {item.sop_class_uid for item in instances}),
                identity={keyword: first.get(keyword) for keyword in IDENTITY},
                taken=(str(first.get("StudyDate") or ""), str(first.get("StudyTime") or "")),
            )
            self._read[key] = kept
        return replace(kept, series=series)
