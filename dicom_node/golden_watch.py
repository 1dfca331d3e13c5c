"""Golden cases of the versions that are in use, run again: after every start, and once a day.

They run where jobs do, a case at a time and only while no job waits for its turn; one that is due for long goes first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dicom_node import logs
from dicom_node.attempt import GoldenOutcome, GoldenSpec
from dicom_node.config import Config, Model
from dicom_node.engine import Ended, Engine, Key
from dicom_node.golden_check import golden_check
from dicom_node.models import timeout_of
from dicom_node.patience import Patience
from dicom_node.routing import RoutableModel
from inference.golden_verdict import Verdict, together
from inference.package import Package
from storage.jobs import Jobs
from storage.models import Models
from storage.records.events import Event
from storage.records.models import GoldenCheck

AGAIN_S = 86400.0
# A check that is due for so long goes before jobs.
PATIENCE_S = 600.0
LOOK_S = 2.0
_LOST_AT_MOST = 3

log = logs.get("golden")


@dataclass(frozen=True, slots=True)
class _Subject:
    """A version whose cases are to be run, by the part of the configuration that has it run."""

    package: Package
    entry: Model


@dataclass(slots=True)
class _Run:
    """Cases of one version, as far as they are run. key: of the one that runs now. lost: how often its worker was."""

    subject: _Subject
    verdicts: list[Verdict] = field(default_factory=list)
    key: Key | None = None
    device: str = "cpu"
    lost: int = 0


class GoldenWatch:
    def __init__(
        self,
        engine: Engine,
        jobs: Jobs,
        models: Models,
        *,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """patience: with attempts of jobs, which a case may have to wait for."""
        self._engine = engine
        self._jobs = jobs
        self._models = models
        self._patience = patience or Patience(0)
        self._clock = clock
        self._since = clock()
        self._subjects: tuple[_Subject, ...] = ()
        self._due_since: dict[str, float] = {}
        self._ended_at: dict[str, float] = {}
        self._run: _Run | None = None
        self._number = 0
        self._looked_at = 0.0

    def use(self, config: Config, models: dict[str, RoutableModel]) -> None:
        """These versions are in use from now on. A case of one that is not any more is stopped."""
        off = self._models.disabled()
        found = []
        for entry in config.models:
            model = models.get(entry.name)
            if model is None or not entry.enabled or model.package.manifest.name in off:
                continue
            packages = [model.package, *([model.canary.package] if model.canary else [])]
            found += [_Subject(package, entry) for package in packages if package.manifest.golden]
        self._subjects = tuple(found)
        run = self._run
        if run is not None and run.subject.package.content_sha256 not in {one.package.content_sha256 for one in found}:
            # What became of it is no matter any more; a version that was removed would fail, and take the others with it.
            if run.key is not None:
                self._stop(run.key)
            self._run = None
        for check in self._models.latest_checks().values():  # what was activated since was run for that
            if check.at >= self._since:
                self._ended_at.setdefault(check.content_sha256, check.at)

    def step(self) -> None:
        """Start the next case, where there is one to start and a worker for it; stop one that takes too long."""
        now = self._clock()
        if self._run is None and now - self._looked_at >= LOOK_S:
            self._looked_at = now
            self._begin(now)
        run = self._run
        if run is None:
            return
        if run.key is not None:
            if self._patience.is_over(run.key, now):
                self._stop(run.key)
                limit_s = timeout_of(run.subject.entry, run.subject.package)
                self._told(run, f"took longer than {limit_s:g} s; its worker was restarted")
        elif self._engine.free() and (now - self._due(run.subject) >= PATIENCE_S or self._is_idle()):
            self._submit(run, now)

    def take(self, ended: Ended) -> None:
        """How a case ended."""
        run = self._run
        if run is None or ended.key != run.key:
            return
        self._patience.ends(ended.key, self._clock())
        if ended.outcome == "done" and isinstance(ended.value, GoldenOutcome):
            run.device = ended.value.device
            self._add(run, ended.value.verdict)
        elif ended.outcome == "killed" and run.lost + 1 < _LOST_AT_MOST:
            run.lost += 1
            run.key = None
        else:
            self._told(run, ended.reason)

    def _stop(self, key: Key) -> None:
        self._patience.ends(key, self._clock(), was_stopped=True)
        self._engine.stop_attempt(key)

    def _begin(self, now: float) -> None:
        for subject in self._subjects:
            sha256 = subject.package.content_sha256
            last = self._ended_at.get(sha256)
            if last is None or now - last >= AGAIN_S:
                self._due_since.setdefault(sha256, now)
                self._run = _Run(subject)
                return

    def _submit(self, run: _Run, now: float) -> None:
        package, entry = run.subject.package, run.subject.entry
        self._number += 1
        # Jobs are numbered from 1, so that these are told from them.
        run.key = (0, self._number)
        self._patience.begins(run.key, timeout_of(entry, package), now)
        spec = GoldenSpec(str(package.folder), package.content_sha256, len(run.verdicts), entry.device)
        self._engine.submit(run.key, spec)

    def _told(self, run: _Run, reason: str) -> None:
        """A case that ended without an answer."""
        case = run.subject.package.manifest.golden[len(run.verdicts)]
        self._add(run, Verdict(case.name, (reason,), 0.0))

    def _add(self, run: _Run, verdict: Verdict) -> None:
        run.verdicts.append(verdict)
        run.key, run.lost = None, 0
        manifest = run.subject.package.manifest
        if len(run.verdicts) == len(manifest.golden):
            self._run = None
            self._conclude(run, [*run.verdicts, *together(manifest, run.verdicts)])

    def _conclude(self, run: _Run, verdicts: Sequence[Verdict]) -> None:
        package, now = run.subject.package, self._clock()
        self._ended_at[package.content_sha256] = now
        self._due_since.pop(package.content_sha256, None)
        before = self._models.latest_checks().get(package.content_sha256)
        check = golden_check(package, run.device, verdicts, now)
        events = []
        if not check.passed:
            text = f"golden cases of {package.key} failed: {check.words}"
            events = [Event("golden_failed", text, "alarm", data={"content_sha256": package.content_sha256})]
        elif before is not None and not before.passed:
            events = [Event("golden_passed", f"golden cases of {package.key} pass again")]
        self._models.add_check(check, events=events)
        log.info("golden cases run", model=package.key, count=len(verdicts), state="done" if check.passed else "failed")
        if not check.passed and run.subject.entry.on_golden_failure == "disable":
            self._disable(package, check)

    def _disable(self, package: Package, check: GoldenCheck) -> None:
        name = package.manifest.name
        reason = f"its golden cases failed: {check.words}"
        text = f"{name} is disabled in all its versions, and what it found is held back: {reason}"
        self._models.disable(name, reason, by="golden", events=[Event("model_disabled", text, "alarm")])

    def _due(self, subject: _Subject) -> float:
        return self._due_since.get(subject.package.content_sha256, self._clock())

    def _is_idle(self) -> bool:
        return not self._jobs.ready(1, without=self._models.disabled())
