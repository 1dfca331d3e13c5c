"""Where is this study, and why? Gathers what storage knows into one account; how it looks is for the command line."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.room import Room
from dicom_node.stores import Stores
from storage.records import Attempt, Delivery, Event, Job, Series, Study


@dataclass(frozen=True, slots=True)
class JobAccount:
    """waits: why a job that is ready does not run, in words; None where it waits for nothing but its turn."""

    job: Job
    attempts: tuple[Attempt, ...]
    waits: str | None = None


@dataclass(frozen=True, slots=True)
class StudyAccount:
    """A study from the first association to the last delivery, with every decision and its reason, in order."""

    study: Study
    series: tuple[Series, ...]
    jobs: tuple[JobAccount, ...]
    deliveries: tuple[Delivery, ...]
    events: tuple[Event, ...]

    @property
    def standing(self) -> str:
        """Where the study is now, in a few words."""
        jobs = {account.job.state for account in self.jobs}
        sent = {delivery.state for delivery in self.deliveries}
        standings = (
            (any(item.state == "arriving" for item in self.series), "arriving"),
            ("running" in jobs, "being analysed"),
            (any(account.waits for account in self.jobs), "waiting for room on the disk"),
            ("ready" in jobs, "waiting for a model"),
            ("waiting" in sent, "analysed, results on their way"),
            ("refused" in sent, "analysed, but a destination refused results"),
            ("failed" in jobs, "failed"),
            (bool(sent), "results delivered"),
            ("done" in jobs, "analysed, nothing to send"),
        )
        return next((words for holds, words in standings if holds), "not analysed: no model applies")

    @property
    def is_settled(self) -> bool:
        """Nothing is left to do: every series judged, every job ended, every result delivered or refused."""
        return (
            all(item.state == "whole" for item in self.series)
            and all(account.job.state in ("done", "failed", "skipped") for account in self.jobs)
            and all(delivery.state != "waiting" for delivery in self.deliveries)
        )


def account_of(stores: Stores, key: str, room: Room | None = None) -> tuple[StudyAccount, ...]:
    """The studies that an Accession Number, Study Instance UID or Patient ID names, newest first.

    room: as it is now, for what waits for it.
    """
    return tuple(_account(stores, study, room) for study in stores.studies.find(key))


def _account(stores: Stores, study: Study, room: Room | None) -> StudyAccount:
    uid = study.study_instance_uid
    jobs = tuple(
        JobAccount(job, stores.jobs.attempts(job.job_id), _why_it_waits(job, room)) for job in stores.jobs.of_study(uid)
    )
    return StudyAccount(
        study=study,
        series=stores.studies.series_of(uid),
        jobs=jobs,
        deliveries=stores.outbox.of_study(uid),
        events=stores.events.of_study(uid),
    )


def _why_it_waits(job: Job, room: Room | None) -> str | None:
    if room is None or not room.routine_waits or job.state != "ready" or job.priority == "stat":
        return None
    return f"waits for room, and runs by itself once there is some: {room.in_words()}"
