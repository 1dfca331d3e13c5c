"""What would be different: decisions and jobs of two configurations on the same series, side by side. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from dicom_node.replay import Judged, RecordedSeries
from dicom_node.routing import Routing
from storage.records.jobs import NewJob
from storage.records.received import Study

# Less than that is no difference that anybody meets.
LEAST_S = 0.05
_RUNS = ("ready", "waiting")


@dataclass(frozen=True, slots=True)
class Course:
    """What one configuration makes of a series: each decision, and what is queued at the last one.

    routing: None while nothing is decided.
    """

    judgements: tuple[Judged, ...]
    routing: Routing | None

    @property
    def last(self) -> Judged | None:
        return self.judgements[-1] if self.judgements else None

    @property
    def wrong(self) -> tuple[Judged, ...]:
        """Decisions after which more images came: jobs ran on a part of the series."""
        return self.judgements[:-1]

    @property
    def jobs(self) -> dict[str, NewJob]:
        """Those that run, by model."""
        found = self.routing.jobs if self.routing else ()
        return {job.model: job for job in found if job.state in _RUNS}


@dataclass(frozen=True, slots=True)
class JobChange:
    """words: why it is queued, or is not, or in what it differs."""

    kind: Literal["queued", "not queued", "changed"]
    model: str
    words: str


@dataclass(frozen=True, slots=True)
class Subject:
    """A series without its images, of which there may be many."""

    study: Study
    series_instance_uid: str
    calling_ae_title: str
    instance_count: int
    last_received_at: float


@dataclass(frozen=True, slots=True)
class Difference:
    """A series that the new configuration treats in another way. earlier_s: below 0 where it is decided later."""

    subject: Subject
    old: Course
    new: Course
    jobs: tuple[JobChange, ...]

    @property
    def earlier_s(self) -> float | None:
        """By how much the last decision is earlier; None where only one of them decides, or neither."""
        if self.old.last is None or self.new.last is None:
            return None
        return self.old.last.at - self.new.last.at

    @property
    def is_earlier(self) -> bool:
        return (self.earlier_s or 0.0) > LEAST_S or (self.old.last is None and self.new.last is not None)

    @property
    def is_later(self) -> bool:
        return (self.earlier_s or 0.0) < -LEAST_S or (self.new.last is None and self.old.last is not None)

    @property
    def newly_wrong(self) -> bool:
        return len(self.new.wrong) > len(self.old.wrong)

    @property
    def no_longer_wrong(self) -> bool:
        return len(self.new.wrong) < len(self.old.wrong)


def difference(series: RecordedSeries, old: Course, new: Course) -> Difference | None:
    """None where both come to the same."""
    jobs = tuple(_job_changes(old, new))
    found = Difference(_subject(series), old, new, jobs)
    same_end = (old.last is None) == (new.last is None) and (
        old.last is None or new.last is None or old.last.verdict.state == new.last.verdict.state
    )
    if same_end and not jobs and not (found.is_earlier or found.is_later or found.newly_wrong or found.no_longer_wrong):
        return None
    return found


def _subject(series: RecordedSeries) -> Subject:
    return Subject(
        series.study,
        series.series_instance_uid,
        series.calling_ae_title,
        len(series.instances),
        series.instances[-1].received_at,
    )


def _job_changes(old: Course, new: Course) -> Iterable[JobChange]:
    if old.routing is None or new.routing is None:
        return
    for model in {**old.jobs, **new.jobs}:
        before, after = old.jobs.get(model), new.jobs.get(model)
        if before is None and after is not None:
            why_not = _why_not(model, (), old.routing)
            yield JobChange("queued", model, f"{_as_queued(after)}; not before: {why_not}")
        elif after is None and before is not None:
            yield JobChange("not queued", model, _why_not(model, before.route.split(", "), new.routing))
        elif before is not None and after is not None and (words := _changed(before, after)):
            yield JobChange("changed", model, words)


def _as_queued(job: NewJob) -> str:
    return f"by route {job.route}, {job.priority}, for {', '.join(job.destinations)}"


def _why_not(model: str, routes: Sequence[str], routing: Routing) -> str:
    """Why a model does not run, as routing says it. routes: that named it elsewhere."""
    skipped = [job.reason for job in routing.jobs if job.model == model and job.reason]
    if skipped:
        return skipped[0]
    name = model.partition("@")[0]
    told = [words for words in routing.passed_over if any(words.startswith(f"route {route}:") for route in routes)]
    told = told or [words for words in routing.passed_over if f": {name} " in words or f": {model} " in words]
    if told:
        return "; ".join(told)
    other = [job.model for job in routing.jobs if job.model.partition("@")[0] == name]
    if other:
        return f"{other[0]} in its place"
    return "; ".join(routing.passed_over) or "no route names it"


def _changed(before: NewJob, after: NewJob) -> str:
    """In what two jobs of one model differ; empty where nobody would notice."""
    pairs = {
        "priority": (before.priority, after.priority),
        "destinations": (", ".join(before.destinations), ", ".join(after.destinations)),
        "route": (before.route, after.route),
        "report when not analysed": (_yes(before.report_not_analysed), _yes(after.report_not_analysed)),
        "not analysed": (before.give_up_reason or "no", after.give_up_reason or "no"),
        "remark": (before.remark or "none", after.remark or "none"),
        "longest run": (f"{before.timeout_s:g} s", f"{after.timeout_s:g} s"),
    }
    return "; ".join(f"{name} {one} → {other}" for name, (one, other) in pairs.items() if one != other)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts over all series; times in seconds, over those that both configurations decide."""

    studies: int
    series: int
    differing: int
    earlier: int
    later: int
    median_earlier_s: float | None
    median_later_s: float | None
    newly_wrong: int
    no_longer_wrong: int
    wrong_before: int
    wrong_after: int
    jobs_queued: int
    jobs_not_queued: int
    jobs_changed: int


def summary(studies: int, wrong: Sequence[tuple[bool, bool]], differences: Sequence[Difference]) -> Summary:
    """wrong: of every series, whether the old configuration would decide too early, and whether the new one would."""
    earlier = [item for item in differences if item.is_earlier]
    later = [item for item in differences if item.is_later]
    kinds = [job.kind for item in differences for job in item.jobs]
    return Summary(
        studies=studies,
        series=len(wrong),
        differing=len(differences),
        earlier=len(earlier),
        later=len(later),
        median_earlier_s=_median([item.earlier_s for item in earlier]),
        median_later_s=_median([-item.earlier_s for item in later if item.earlier_s is not None]),
        newly_wrong=sum(item.newly_wrong for item in differences),
        no_longer_wrong=sum(item.no_longer_wrong for item in differences),
        wrong_before=sum(old for old, _ in wrong),
        wrong_after=sum(new for _, new in wrong),
        jobs_queued=kinds.count("queued"),
        jobs_not_queued=kinds.count("not queued"),
        jobs_changed=kinds.count("changed"),
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
