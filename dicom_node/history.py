"""Where is this study, and why? Gathers what storage knows into one account; how it looks is for the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dicom_node.completeness import Verdict
from dicom_node.completeness_rules import rules_by_source
from dicom_node.config import Config
from dicom_node.evidence import evidence_of
from dicom_node.model_words import held_words
from dicom_node.revisions import RevisionAccount, revisions_of
from dicom_node.room import Room
from dicom_node.stores import Stores
from dicom_node.timeline import timeline
from storage.records.announced import Announcement
from storage.records.events import Event
from storage.records.jobs import Attempt, Job
from storage.records.received import Series, SeriesPart, Study
from storage.records.rejected import Rejections
from storage.records.results import Delivery, KeptResult

_ENDED_JOBS = ("done", "failed", "skipped", "superseded")


@dataclass(frozen=True, slots=True)
class SeriesAccount:
    """verdict: what is thought of a series that still arrives, at this moment; None where that was not asked for."""

    series: Series
    revisions: tuple[RevisionAccount, ...]
    parts: tuple[SeriesPart, ...]
    announcements: tuple[Announcement, ...]
    rejections: tuple[Rejections, ...]
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class JobAccount:
    """waits: why a job that is ready does not run, in words; None where it waits for nothing but its turn.

    queued: what was said of it when it was queued, its priority and the reason for that included.
    """

    job: Job
    attempts: tuple[Attempt, ...]
    waits: str | None = None
    queued: str | None = None


@dataclass(frozen=True, slots=True)
class StudyAccount:
    """A study from the first association to the last delivery, with every decision and its reason, in order.

    details: of the series, in their order. results: those without a delivery among them. announcements: those of the
    study as a whole. timeline: the events, and with them what associations brought and what others said.
    """

    study: Study
    series: tuple[Series, ...]
    jobs: tuple[JobAccount, ...]
    deliveries: tuple[Delivery, ...]
    events: tuple[Event, ...]
    details: tuple[SeriesAccount, ...] = ()
    results: tuple[KeptResult, ...] = ()
    announcements: tuple[Announcement, ...] = ()
    timeline: tuple[Event, ...] = ()

    @property
    def answering(self) -> tuple[JobAccount, ...]:
        """Those that somebody may wait for: all but shadows, of which nothing is sent."""
        return tuple(entry for entry in self.jobs if entry.job.role != "shadow")

    @property
    def standing(self) -> str:
        """Where the study is now, in a few words; what newer revisions and results replaced does not count."""
        jobs = {entry.job.state for entry in self.answering if self._is_newest(entry.job)}
        gone = {item.result.sop_instance_uid for item in self.results if item.superseded_at is not None}
        sent = {item.state for item in self.deliveries if item.result.sop_instance_uid not in gone}
        sent -= {"withdrawn", "substituted"}
        is_quarantined = any(item.result.faults for item in self.results if item.superseded_at is None)
        standings = (
            (any(item.held_at is not None for item in self.series if item.state == "arriving"), "held"),
            (any(item.state == "arriving" for item in self.series), "arriving"),
            ("running" in jobs, "being analysed"),
            (any(account.waits for account in self.answering), "waiting for room on the disk"),
            ("ready" in jobs, "waiting for a model"),
            ("waiting" in jobs, "waiting for another series"),
            ("waiting" in sent, "analysed, results on their way"),
            ("refused" in sent, "analysed, but a destination refused results"),
            ("failed" in jobs, "failed"),
            (is_quarantined, "analysed, but a result failed its checks and is kept back"),
            (bool(sent), "results delivered"),
            ("done" in jobs, "analysed, nothing to send"),
        )
        return next((words for holds, words in standings if holds), "not analysed: no model applies")

    @property
    def is_settled(self) -> bool:
        """Nothing is left to do: every series judged, every job ended, every result delivered, refused or withdrawn."""
        return (
            all(item.state != "arriving" for item in self.series)
            and all(account.job.state in _ENDED_JOBS for account in self.answering)
            and all(delivery.state != "waiting" for delivery in self.deliveries)
        )

    def _is_newest(self, job: Job) -> bool:
        return all(other.job.revision <= job.revision for other in self.jobs if _same_work(other.job, job))


def _same_work(one: Job, other: Job) -> bool:
    return (one.series_id, one.model) == (other.series_id, other.model)


def account_of(
    stores: Stores,
    key: str,
    room: Room | None = None,
    judge_now: Callable[[Series], Verdict | None] = lambda _series: None,
) -> tuple[StudyAccount, ...]:
    """The studies that an Accession Number, Study Instance UID or Patient ID names, newest first.

    room: as it is now, for what waits for it. judge_now: what is thought of a series that still arrives.
    """
    return tuple(_account(stores, study, room, judge_now) for study in stores.studies.find(key))


def judging(config: Config, stores: Stores, now: float) -> Callable[[Series], Verdict | None]:
    """What is thought of a series at this moment, as the dispatcher would; None of one that does not arrive any more."""
    evidence, rules_of = evidence_of(stores), rules_by_source(config)
    return lambda series: evidence.verdict(series.series_id, rules_of, now)


def _account(
    stores: Stores, study: Study, room: Room | None, judge_now: Callable[[Series], Verdict | None]
) -> StudyAccount:
    uid = study.study_instance_uid
    events = stores.events.of_study(uid)
    said = stores.announcements.of_study(uid)
    details = _details(stores, uid, events, said, judge_now)
    # In this order: of a job that ends in between, deliveries would be missing, and the study would look settled.
    found, roles = stores.jobs.of_study(uid), stores.models.roles()
    deliveries = stores.outbox.of_study(uid)
    jobs = tuple(
        JobAccount(
            job,
            stores.jobs.attempts(job.job_id),
            _why_held(job, held_words(roles, job.model), deliveries) or _why_it_waits(job, room),
            _queued(job, events),
        )
        for job in found
    )
    parts = [(item.series.series_instance_uid, part) for item in details for part in item.parts]
    return StudyAccount(
        study=study,
        series=tuple(item.series for item in details),
        jobs=jobs,
        deliveries=deliveries,
        events=events,
        details=details,
        results=stores.history.results(uid),
        announcements=tuple(item for item in said if item.series_instance_uid is None),
        timeline=timeline(events, parts, said),
    )


def _details(
    stores: Stores,
    study_instance_uid: str,
    events: Sequence[Event],
    said: Sequence[Announcement],
    judge_now: Callable[[Series], Verdict | None],
) -> tuple[SeriesAccount, ...]:
    arrivals = stores.history.arrivals(study_instance_uid)
    rejections = stores.history.rejections(study_instance_uid)
    accounts = []
    for series in stores.studies.series_of(study_instance_uid):
        uid, series_id = series.series_instance_uid, series.series_id
        rejected = tuple(item for item in rejections if item.series_id == series_id)
        own = [event for event in events if event.series_instance_uid == uid]
        accounts.append(
            SeriesAccount(
                series=series,
                revisions=revisions_of(
                    series, [item for item in arrivals if item.series_id == series_id], rejected, own
                ),
                parts=stores.studies.parts(series_id),
                announcements=tuple(item for item in said if item.series_instance_uid == uid),
                rejections=rejected,
                verdict=judge_now(series) if series.state == "arriving" else None,
            )
        )
    return tuple(accounts)


def _queued(job: Job, events: Sequence[Event]) -> str | None:
    """What was told when the job was queued."""
    told = [
        event.text
        for event in events
        if event.kind == "job_queued"
        and event.series_instance_uid == job.series_instance_uid
        and event.text.startswith(f"{job.model} ")
        and event.at <= job.created_at + 1.0
    ]
    return told[-1] if told else None


def _why_held(job: Job, disabled: str | None, deliveries: Sequence[Delivery]) -> str | None:
    """Of a job whose model is disabled, as far as that keeps anything of it."""
    if disabled is None or job.give_up_reason is not None:
        return None
    if job.state in ("waiting", "ready"):
        return f"does not run, {disabled}"
    is_held = any(item.job_id == job.job_id and item.state == "waiting" for item in deliveries)
    return f"what waits to be sent is held back, {disabled}" if is_held else None


def _why_it_waits(job: Job, room: Room | None) -> str | None:
    if room is None or not room.routine_waits or job.state != "ready" or job.priority == "stat":
        return None
    return f"waits for room, and runs by itself once there is some: {room.in_words()}"
