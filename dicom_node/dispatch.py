"""The one writer of job state: ready -> running -> done or failed, results and outbox in one transaction.

The engine runs attempts; what an attempt's end means is decided here. A job that kills its worker or overruns its time is
tried again until `attempts` such ends; then, and when the model itself failed, one last attempt only writes the report that
says why the series was not analysed, so that a reader never meets silence. A job whose series has moved on when it is to
start is superseded; one that runs then ends, and its results are stale.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol

from dicom_node import logs
from dicom_node.attempt import JobOutcome, JobSpec
from dicom_node.engine import Ended, Engine, Key
from dicom_node.errors import NodeError
from dicom_node.patience import Patience
from dicom_node.profiles import Demand
from dicom_node.sharing import shared
from storage.event_about import event_about
from storage.jobs import Jobs
from storage.records.jobs import AttemptOutcome, Job, NewShadow
from storage.records.results import Predecessor

# How long a job waits after storage could not take its results; nothing else holds a ready job back.
STORAGE_PAUSE_S = 30.0
KEPT_FINDINGS = "findings/"
# An attempt that ends its model in time by itself, and its worker lives on, gets so much longer; its process takes time to start.
OWN_TIMEOUT_GRACE_S = 150.0
_COUNTED = ("killed", "timeout")

log = logs.get("dispatch")


@dataclass(frozen=True, slots=True)
class Switched:
    """off: models that are disabled, by their names, with the words for it. reporting: of these, those whose jobs report that
    nothing is analysed; the others wait.

    is_moved: whether a job is of a version whose place another one took, and was given to that one.
    """

    off: Mapping[str, str]
    reporting: frozenset[str]
    is_moved: Callable[[Job], bool]


NOTHING_OFF = Switched(MappingProxyType({}), frozenset(), lambda _: False)


class Beside(Protocol):
    """What the engine runs besides jobs."""

    def take(self, ended: Ended) -> None:
        """One of its attempts ended."""

    def step(self) -> None:
        """Start what is to be started now, and stop what took too long."""


@dataclass(frozen=True, slots=True)
class _Running:
    """demands, send_stale, shadow: as they were when the attempt began; what is configured since is for later ones."""

    job: Job
    demands: Mapping[str, Demand]
    send_stale: bool
    shadow: NewShadow | None = None


class Dispatch:
    def __init__(
        self,
        jobs: Jobs,
        engine: Engine,
        *,
        attempts: int,
        demands: Mapping[str, Demand],
        spec_of: Callable[[Job], JobSpec],
        routine_waits: Callable[[], bool] = lambda: False,
        send_stale: bool = False,
        stat_head_start_s: float = math.inf,
        switched: Switched = NOTHING_OFF,
        beside: Beside | None = None,
        shadow_of: Callable[[Job], NewShadow | None] = lambda _job: None,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """demands: what each destination takes, by its name.

        switched: which models are disabled, and which jobs are of versions that are not active any more. beside: what else the
        engine runs.

        routine_waits: whether routine jobs are not to be started now; those that run go on, and STAT jobs start.
        send_stale: whether results of a series that changed while its job ran are sent all the same.
        stat_head_start_s: see `Jobs.ready`. shadow_of: the version that is to run on the same images after a job.
        patience: how long attempts are waited for that may have to wait for each other; without it, each for its own time.
        """
        self._jobs = jobs
        self._engine = engine
        self._attempts = attempts
        self._demands = demands
        self._spec_of = spec_of
        self._routine_waits = routine_waits
        self._send_stale = send_stale
        self._stat_head_start_s = stat_head_start_s
        self._switched = switched
        self._beside = beside
        self._shadow_of = shadow_of
        self._patience = patience or Patience(0)
        self._clock = clock
        self._running: dict[Key, _Running] = {}
        self._held_until: dict[int, float] = {}

    def recover(self) -> int:
        """Put back what a dispatcher that ended left running. Its engine ended with it, and results are idempotent."""
        left = self._jobs.running()
        for job in left:
            self._jobs.put_back(
                job, outcome="interrupted", reason="the node was stopped", give_up_reason=job.give_up_reason
            )
        return len(left)

    def go_on_from(self, before: Dispatch) -> None:
        """Take over what runs, of one that went by another configuration and makes no step any more."""
        self._running, self._held_until, self._patience = before._running, before._held_until, before._patience

    def step(self, wait_s: float) -> None:
        """One round: end what ended, stop what overran, start what fits. Waits up to wait_s for an attempt to end."""
        for ended in self._engine.ended(wait_s):
            running = self._running.pop(ended.key, None)
            self._patience.ends(ended.key, self._clock())
            if running is not None:
                self._conclude(running, ended)
            elif self._beside is not None:
                self._beside.take(ended)
        self._stop_overrun()
        self._stop_disabled()
        if self._beside is not None:
            self._beside.step()
        self._start_ready()

    def release(self) -> None:
        """Before the process ends: running jobs go back to ready, to be run by the next dispatcher."""
        for running in self._running.values():
            self._put_back(running.job, "interrupted", "the node was stopped", running.job.give_up_reason)
        self._running.clear()

    def _start_ready(self) -> None:
        free = self._engine.free()
        if not free:
            return
        now = self._clock()
        self._held_until = {job_id: until for job_id, until in self._held_until.items() if until > now}
        found = self._jobs.ready(
            free + len(self._held_until) + len(self._running),
            stat_head_start_s=self._stat_head_start_s,
            stat_only=self._routine_waits(),
            without=self._switched.off,
        )
        busy = {_subject(running.job) for running in self._running.values()}
        waiting = [job for job in found if job.job_id not in self._held_until and _subject(job) not in busy]
        for job in waiting[:free]:
            self._start(job, now)

    def _start(self, job: Job, now: float) -> None:
        if self._switched.is_moved(job):
            return
        attempt = self._jobs.start(job.job_id)
        if attempt is None:
            return
        started = replace(job, state="running", attempt=attempt)
        shadow = self._shadow_of(started) if job.role == "active" and job.give_up_reason is None else None
        try:
            spec = self._spec_of(started)
            spec = replace(spec, is_withheld=spec.is_withheld or self._is_withheld(started))
            spec = replace(spec, findings_key=kept_findings_key(job.job_id) if shadow else None)
            if job.compared_with is not None:
                spec = replace(spec, compare_with=kept_findings_key(job.compared_with))
        except NodeError as error:
            self._fail(started, "failed", str(error))
            return
        key = (job.job_id, attempt)
        grace_s = 0.0 if spec.timeout_s is None else OWN_TIMEOUT_GRACE_S
        self._running[key] = _Running(started, self._demands, self._send_stale, shadow)
        self._patience.begins(key, job.timeout_s + grace_s, now)
        self._engine.submit(key, spec)
        log.info("job started", job_id=job.job_id, attempt=attempt, model=job.model)

    def _stop_overrun(self) -> None:
        now = self._clock()
        for key, running in list(self._running.items()):
            if not self._patience.is_over(key, now):
                continue
            self._stop(key)
            reason = f"took longer than {running.job.timeout_s:g} s; its worker was restarted"
            self._try_again(running.job, "timeout", reason)

    def _stop_disabled(self) -> None:
        """The kill switch: what runs a model that is off is stopped, and what it would do is told where that is wanted."""
        off = self._switched.off
        for key, running in list(self._running.items()):
            why = off.get(running.job.model.partition("@")[0])
            if why is None or running.job.give_up_reason is not None:
                continue
            self._stop(key)
            self._put_back(running.job, "interrupted", f"the model is {why}", None)
        for job in self._jobs.held(self._switched.reporting):
            if job.report_not_analysed:
                reason = f"the model is {off[job.model.partition('@')[0]]}"
                event = event_about(
                    job, "job_withheld", f"{job.model} is not run, and reports that: {reason}", "warning"
                )
                self._jobs.give_up(job.job_id, reason, events=[event])

    def _stop(self, key: Key) -> None:
        del self._running[key]
        self._patience.ends(key, self._clock(), was_stopped=True)
        self._engine.stop_attempt(key)

    def _conclude(self, running: _Running, ended: Ended) -> None:
        job = running.job
        if ended.outcome == "done":
            self._take(running, ended.value)
        elif ended.outcome == "killed":
            self._try_again(job, "killed", ended.reason)
        else:
            self._give_up(job, "failed", ended.reason)

    def _take(self, running: _Running, outcome: JobOutcome) -> None:
        """What the worker returned: results to send, or a failure that it could still report itself."""
        job = running.job
        if outcome.storage_error:
            self._held_until[job.job_id] = self._clock() + STORAGE_PAUSE_S
            self._put_back(job, "failed", outcome.storage_error, job.give_up_reason)
            return
        if outcome.error and outcome.ended:
            self._try_again(job, outcome.ended, outcome.error)
            return
        if outcome.error:
            self._give_up(job, "failed", outcome.error)
            return
        if job.role == "shadow":
            self._take_comparison(job, outcome)
            return
        sharing = shared(job, running.demands, outcome)
        failed = sharing.failure is not None or (job.give_up_reason is not None and not self._is_withheld(job))
        reason = job.give_up_reason or outcome.not_analysed or sharing.failure
        summary = f"{outcome.summary}; {sharing.failure}" if sharing.failure else outcome.summary
        event = event_about(job, "job_failed" if failed else "job_done", summary, "alarm" if failed else "info")
        event = replace(event, data={"stage_s": outcome.stage_s})
        self._jobs.finish(
            job,
            state="failed" if failed else "done",
            outcome="done",
            reason=reason,
            results=sharing.results,
            recipients=sharing.recipients,
            not_analysed=reason is not None or bool(outcome.instead),
            send_stale=running.send_stale,
            provenance_key=outcome.provenance_key,
            provenance_bytes=outcome.provenance_bytes,
            shadow=running.shadow if not failed else None,
            events=[event, *sharing.events],
        )
        log.info("job ended", job_id=job.job_id, state="failed" if failed else "done", model=job.model)

    def _take_comparison(self, job: Job, outcome: JobOutcome) -> None:
        """Of a shadow, of which nothing is sent."""
        event = event_about(job, "shadow_compared", f"{outcome.summary}, as shadow of job {job.compared_with}")
        self._jobs.finish(
            job,
            state="done",
            outcome="done",
            reason=outcome.not_analysed,
            provenance_key=outcome.provenance_key,
            provenance_bytes=outcome.provenance_bytes,
            comparison=outcome.comparison,
            events=[replace(event, data={"stage_s": outcome.stage_s})],
        )
        log.info("job ended", job_id=job.job_id, state="done", model=job.model)

    def _is_withheld(self, job: Job) -> bool:
        """Whether it was queued only to report why nothing is analysed, rather than given up after it had been tried."""
        given_up = job.give_up_reason
        return given_up is not None and all(item.reason != given_up for item in self._jobs.attempts(job.job_id))

    def _try_again(self, job: Job, outcome: AttemptOutcome, reason: str) -> None:
        # The attempt that just ended is still written as running.
        attempts = [attempt for attempt in self._jobs.attempts(job.job_id) if attempt.number > job.forgiven]
        spent = 1 + sum(attempt.outcome in _COUNTED for attempt in attempts)
        if spent >= self._attempts:
            self._give_up(job, outcome, f"{reason}, {spent} times")
            return
        self._put_back(job, outcome, reason, job.give_up_reason)

    def _give_up(self, job: Job, outcome: AttemptOutcome, reason: str) -> None:
        """Fail a job; first, where its route says so, with one more attempt that writes the report of the failure."""
        log.error("job given up", job_id=job.job_id, model=job.model, attempt=job.attempt)
        if job.role == "shadow":
            self._fail(job, outcome, reason)
            return
        is_wanted = job.report_not_analysed or replaces_another(job, self._jobs.predecessors(job))
        if is_wanted and job.give_up_reason is None:
            self._put_back(job, outcome, reason, give_up_reason=reason)
            return
        self._fail(job, outcome, job.give_up_reason or reason)

    def _fail(self, job: Job, outcome: AttemptOutcome, reason: str) -> None:
        event = event_about(job, "job_failed", f"{job.model} failed: {reason}", "alarm")
        if job.role == "shadow":  # nobody waits for it
            event = event_about(job, "shadow_failed", f"{job.model} failed as shadow: {reason}", "warning")
        self._jobs.finish(job, state="failed", outcome=outcome, reason=reason, events=[event])

    def _put_back(self, job: Job, outcome: AttemptOutcome, reason: str, give_up_reason: str | None) -> None:
        text = f"{job.model}, attempt {job.attempt}: {reason}"
        event = event_about(job, "job_attempt_ended", text, "info" if outcome == "interrupted" else "warning")
        self._jobs.put_back(job, outcome=outcome, reason=reason, give_up_reason=give_up_reason, events=[event])
        log.warning("job put back", job_id=job.job_id, attempt=job.attempt, outcome=outcome)


def kept_findings_key(job_id: int) -> str:
    """The object that what a job found is kept in, until its shadow is compared with it."""
    return f"{KEPT_FINDINGS}{job_id}.kept"


def replaces_another(job: Job, predecessors: Sequence[Predecessor]) -> bool:
    """Whether a report of this job takes the place of one on an older revision, which must not stand if it does not hold."""
    return any(found.revision < job.revision for found in predecessors)


def _subject(job: Job) -> tuple[int, str]:
    """What only one job at a time is run on, so that what comes of the older one is there when the newer one ends."""
    return job.series_id, job.model.partition("@")[0]
