"""Carries out what key objects reject: reads each once, and has its instances left out of what is analysed.

A series that changes by it is judged and analysed anew. Where nothing of it is left, each model that had a job on it
reports just that, in place of what it reported before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from dicom_node import logs
from dicom_node.refusals import Unparsable
from dicom_node.rejection import Rejection, nothing_left, read_rejection, reason_of
from storage.errors import StorageError, UnknownObject
from storage.event_about import event_about
from storage.jobs import Jobs
from storage.objects.pack import is_sum_of
from storage.objects.protocol import ObjectStore
from storage.records.events import Event
from storage.records.jobs import Job, NewJob
from storage.records.rejected import Emptied, KeyObject, Rejected
from storage.rejections import RejectionNotes
from storage.studies import Studies

# How long a key object waits after the object store failed to give it.
STORAGE_PAUSE_S = 30.0
_AT_ONCE = 16

log = logs.get("reject")


class Reject:
    """settle_s: how long nothing may have come of a series of which everything is rejected, before it is done with."""

    def __init__(
        self,
        notes: RejectionNotes,
        objects: ObjectStore,
        studies: Studies,
        jobs: Jobs,
        *,
        settle_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._notes = notes
        self._objects = objects
        self._studies = studies
        self._jobs = jobs
        self._settle_s = settle_s
        self._clock = clock
        self._held_until: dict[str, float] = {}

    def step(self) -> int:
        """Read what came; returns how many key objects rejected something, whether it is here or not."""
        now = self._clock()
        self._held_until = {uid: until for uid, until in self._held_until.items() if until > now}
        unread = self._notes.unread(_AT_ONCE + len(self._held_until))
        carried_out = sum(self._read(note) for note in unread if note.instance.sop_instance_uid not in self._held_until)
        for emptied in self._notes.emptied():
            if now >= emptied.last_received_at + self._settle_s:
                self._conclude(emptied)
        return carried_out

    def _read(self, note: KeyObject) -> bool:
        try:
            rejection = read_rejection(self._data_set(note), note.instance.transfer_syntax_uid)
        except (Unparsable, UnknownObject) as error:
            log.error("key object cannot be read", error=error, sop_instance_uid=note.instance.sop_instance_uid)
            self._notes.set_aside(note, [_unreadable(note, error)])
            return False
        except StorageError as error:
            log.error("key object cannot be read now", error=error, sop_instance_uid=note.instance.sop_instance_uid)
            self._held_until[note.instance.sop_instance_uid] = self._clock() + STORAGE_PAUSE_S
            return False
        if rejection is None:
            self._notes.set_aside(note)
            return False
        changed = self._notes.reject(
            note, rejection.code, rejection.sop_instance_uids, lambda series: _events(note, rejection, series)
        )
        log.info(
            "instances rejected",
            sop_instance_uid=note.instance.sop_instance_uid,
            instances=sum(item.instance_count for item in changed),
            series=len(changed),
        )
        return True

    def _data_set(self, note: KeyObject) -> bytes:
        """Raises Unparsable where the stored bytes are not those that came, else as ObjectStore.get."""
        kept = note.instance
        payload = self._objects.get(kept.object_key)[-kept.size_bytes :]
        if not is_sum_of(kept.content_sum, payload):
            raise Unparsable("the stored key object is damaged")
        return payload

    def _conclude(self, emptied: Emptied) -> None:
        """Of a series of which nothing is left: each model that had a job on it says so."""
        series = emptied.series
        words = nothing_left(emptied.instance_count, emptied.codes)
        of_series = [job for job in self._jobs.of_study(series.study_instance_uid) if job.series_id == series.series_id]
        jobs = [_telling(job, words) for job in _latest(of_series)]
        whole = event_about(
            series, "series_whole", f"whole with 0 instances: {words}", data={"revision": series.revision}
        )
        queued = [
            event_about(series, "job_queued", f"{job.model} queued to report that nothing is left to analyse")
            for job in jobs
        ]
        self._studies.settle(series, evidence=words, jobs=jobs, events=[whole, *queued])


def _latest(jobs: Sequence[Job]) -> list[Job]:
    """Of each model the jobs on the latest revision that it applied to, but for shadows, which tell nobody anything."""
    applied = [job for job in jobs if job.state != "skipped" and job.role != "shadow"]
    latest: dict[str, int] = {}
    for job in applied:
        name = job.model.partition("@")[0]
        latest[name] = max(job.revision, latest.get(name, 0))
    return [job for job in applied if job.revision == latest[job.model.partition("@")[0]]]


def _telling(job: Job, words: str) -> NewJob:
    return NewJob(
        model=job.model,
        route=job.route,
        state="ready",
        priority=job.priority,
        destinations=job.destinations,
        report_not_analysed=job.report_not_analysed,
        timeout_s=job.timeout_s,
        give_up_reason=words,
    )


def _events(note: KeyObject, rejection: Rejection, changed: Sequence[Rejected]) -> list[Event]:
    reason, listed = reason_of(rejection.code), len(rejection.sop_instance_uids)
    here = sum(item.instance_count for item in changed)
    told = Event(
        "rejection_note",
        f"key object of {note.calling_ae_title} rejects {listed} instances ({reason}): {here} of them are here and were not"
        " rejected before",
        study_instance_uid=note.study_instance_uid,
        series_instance_uid=note.series_instance_uid,
        data={"code": rejection.code, "sop_instance_uid": note.instance.sop_instance_uid},
    )
    return [told, *(_rejected(note, item, rejection.code) for item in changed)]


def _rejected(note: KeyObject, item: Rejected, code: str) -> Event:
    series, left = item.series, item.series.instance_count
    which = f"{item.instance_count} of {item.instance_count + left}" if left else f"all {item.instance_count}"
    then = f"revision {series.revision} begins without them" if item.reopened else "they are left out"
    return event_about(
        series,
        "instances_rejected",
        f"{which} images rejected by a key object of {note.calling_ae_title} ({reason_of(code)}): {then}",
        "warning",
        {"code": code, "instances": item.instance_count, "key_object": note.instance.sop_instance_uid},
    )


def _unreadable(note: KeyObject, error: Exception) -> Event:
    why = str(error) if isinstance(error, Unparsable) else "its stored object is gone"
    return Event(
        "key_object_unreadable",
        f"a key object of {note.calling_ae_title} may reject images, but cannot be read, and nothing was rejected: {why}",
        severity="alarm",
        study_instance_uid=note.study_instance_uid,
        series_instance_uid=note.series_instance_uid,
        data={"sop_instance_uid": note.instance.sop_instance_uid},
    )
