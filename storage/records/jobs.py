"""Jobs: one model on one revision of a series; the attempts at it, and the shadows beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from storage.records.json_object import Json

JobState = Literal["waiting", "ready", "running", "done", "failed", "skipped", "superseded"]
Priority = Literal["stat", "routine"]
AttemptOutcome = Literal["running", "done", "failed", "killed", "timeout", "interrupted"]
JobRole = Literal["active", "canary", "shadow"]


@dataclass(frozen=True, slots=True)
class Companion:
    """Another series that a job reads, under the name that the model's input contract gives it.

    series_id: None while none is known, and the others with it; `absent` then says why, in words.
    """

    name: str
    series_id: int | None = None
    revision: int | None = None
    series_instance_uid: str | None = None
    study_instance_uid: str | None = None
    absent: str | None = None


@dataclass(frozen=True, slots=True)
class NewJob:
    """One model on one revision of a series; or, with state skipped, the reason why that model does not apply."""

    model: str
    route: str
    state: Literal["waiting", "ready", "skipped"]
    priority: Priority
    destinations: tuple[str, ...]
    report_not_analysed: bool
    timeout_s: float
    reason: str | None = None
    give_up_reason: str | None = None
    # What every report of it must say besides.
    remark: str | None = None
    companions: tuple[Companion, ...] = ()
    # When its results should be with their destinations.
    deadline_at: float | None = None
    # Why it has its priority, in words for its history.
    priority_reason: str | None = None
    role: JobRole = "active"


@dataclass(frozen=True, slots=True)
class NewShadow:
    """Another version of a model (name@version) that is to run on what a job analysed, to be compared with it."""

    model: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Job:
    job_id: int
    series_id: int
    series_instance_uid: str
    study_instance_uid: str
    revision: int
    model: str
    route: str
    state: JobState
    priority: Priority
    destinations: tuple[str, ...]
    report_not_analysed: bool
    timeout_s: float
    attempt: int
    # Attempts up to this number ended before a person queued the job again.
    forgiven: int
    created_at: float
    started_at: float | None
    finished_at: float | None
    reason: str | None
    # Set once the job is given up: what remains is to report "not analysed" for this reason.
    give_up_reason: str | None
    # What every report of it must say besides.
    remark: str | None = None
    companions: tuple[Companion, ...] = ()
    # When its results should be with their destinations, when it was noticed that they are not, and since when nothing
    # is left to be delivered.
    deadline_at: float | None = None
    deadline_missed_at: float | None = None
    deadline_closed_at: float | None = None
    # The series had changed by the time it ended.
    stale: bool = False
    # Since when it stands in the queue, for its turn.
    queued_at: float = 0.0
    # As which version of its model it runs; of a shadow, the job that it is compared with, and how they differ.
    role: JobRole = "active"
    compared_with: int | None = None
    comparison: Json | None = None
    # Object that holds what its results were made of and with.
    provenance_key: str | None = None


@dataclass(frozen=True, slots=True)
class ComparedJob:
    """A shadow that ended: its job and version, and the job and version that it is compared with. comparison: the figures."""

    job_id: int
    model: str
    beside_model: str
    compared_with: int
    comparison: Json
    finished_at: float
    revision: int
    series_instance_uid: str
    study_instance_uid: str
    accession_number: str


@dataclass(frozen=True, slots=True)
class Attempt:
    job_id: int
    number: int
    started_at: float
    ended_at: float | None
    outcome: AttemptOutcome
    reason: str | None
