"""Doing it again, on a person's word: analysing a study, or sending its results."""

from __future__ import annotations

from dicom_node.errors import NodeError
from dicom_node.model_words import removed_words
from dicom_node.stores import Stores
from storage.errors import NewerRevision
from storage.event_about import event_about
from storage.records.events import Event
from storage.records.jobs import Job


def analyse_again(stores: Stores, key: str, model: str | None, *, stat: bool = False) -> int:
    """Queue the ended jobs of the studies that `key` names; returns how many. Skipped jobs run when they are named.

    stat: they are STAT from now on; and so are those that still wait for their turn, which then count too.
    Raises NodeError, after the others were queued, where a series has moved on since a job on it ended, or a version was
    removed that a job is of.
    """
    count = 0
    refused: list[str] = []
    versions = stores.models.versions()
    for study in stores.studies.find(key):
        for job in _newest(stores.jobs.of_study(study.study_instance_uid)):
            if model in (job.model, job.model.partition("@")[0]) if model else job.state != "skipped":
                if removed := removed_words(versions, job.model):
                    refused.append(removed)
                    continue
                try:
                    count += _again(stores, job, stat=stat)
                except NewerRevision as reason:
                    refused.append(str(reason))
    if refused:
        raise NodeError("; ".join(refused) + (f"; {count} others were queued again" if count else ""))
    return count


def _again(stores: Stores, job: Job, *, stat: bool) -> bool:
    def event(kind: str, text: str) -> Event:
        return event_about(job, kind, f"{job.model} {text}")

    words = "queued again by hand, stat" if stat else "queued again by hand"
    if stores.jobs.requeue(job.job_id, event=event("job_requeued", words), stat=stat):
        return True
    return stat and stores.jobs.hurry(job.job_id, event=event("job_hurried", "made stat by hand, while it waits"))


def send_again(stores: Stores, key: str, destination: str | None) -> int:
    """Put delivered and refused results of the studies that `key` names back into the outbox; returns how many."""
    count = 0
    for study in stores.studies.find(key):
        text = f"results put back into the outbox by hand, for {destination or 'every destination'}"
        event = Event("delivery_requeued", text, study_instance_uid=study.study_instance_uid)
        count += stores.outbox.send_again(study.study_instance_uid, destination=destination, events=[event])
    return count


def _newest(jobs: tuple[Job, ...]) -> list[Job]:
    """Of each series and model, in any version, only the jobs on the newest revision: what they superseded stays.

    No shadows: each is run again after the job that it is compared with.
    """
    newest: dict[tuple[int, str], int] = {}
    jobs = tuple(job for job in jobs if job.role != "shadow")
    for job in jobs:
        newest[_subject(job)] = max(job.revision, newest.get(_subject(job), 0))
    return [job for job in jobs if job.revision == newest[_subject(job)]]


def _subject(job: Job) -> tuple[int, str]:
    return job.series_id, job.model.partition("@")[0]
