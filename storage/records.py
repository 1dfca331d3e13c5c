"""What storage hands out: frozen dataclasses. Rows of the database never leave this package.

Times are seconds since the epoch (UTC).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Json = Mapping[str, Any]
InstanceOutcome = Literal["stored", "same", "conflict"]
SeriesState = Literal["arriving", "whole", "incomplete"]
JobState = Literal["waiting", "ready", "running", "done", "failed", "skipped", "superseded"]
Priority = Literal["stat", "routine"]
AttemptOutcome = Literal["running", "done", "failed", "killed", "timeout", "interrupted"]
OutboxState = Literal["waiting", "delivered", "refused", "substituted", "withdrawn"]
AnnouncementKind = Literal["mpps", "ian", "c-find"]
AnnouncementState = Literal["in progress", "completed", "discontinued"]
Severity = Literal["info", "warning", "alarm"]
JobRole = Literal["active", "canary", "shadow"]


@dataclass(frozen=True, slots=True)
class Association:
    association_id: str
    acceptor: str
    calling_ae_title: str
    called_ae_title: str
    address: str
    opened_at: float
    closed_at: float | None = None
    # How it ended: released, aborted, or lost (the acceptor process ended under it). None while it is open.
    ending: Literal["released", "aborted", "lost"] | None = None


@dataclass(frozen=True, slots=True)
class NewInstance:
    """An instance whose object is already durable; `facts` are the header attributes that later stages decide on.

    content_sum: see `storage.objects.pack.content_sum`.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    content_sum: str
    object_key: str
    size_bytes: int
    association_id: str
    received_at: float
    patient_id: str
    patient_name: str
    accession_number: str
    study_date: str
    study_description: str
    facts: Json


@dataclass(frozen=True, slots=True)
class Added:
    """What became of an instance: stored; the same as one that is kept; or another content under a known UID."""

    outcome: InstanceOutcome
    object_key: str


@dataclass(frozen=True, slots=True)
class Instance:
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    content_sum: str
    object_key: str
    size_bytes: int
    received_at: float
    facts: Json
    # The association that brought it.
    association_id: str = ""


@dataclass(frozen=True, slots=True)
class StoredContent:
    """Where the data set of an instance is, its length, and the sum over it."""

    sop_instance_uid: str
    content_sum: str
    object_key: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class KeyObject:
    """A Key Object Selection document that came and was not read yet: its instance, and who sent it."""

    instance: Instance
    study_instance_uid: str
    series_instance_uid: str
    calling_ae_title: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """Instances of one series that a key object rejected: how many, and how many it left to analyse.

    series: as it is since, in a later revision where it had been judged already (reopened).
    """

    series: Series
    instance_count: int
    reopened: bool


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Instances of a series that are not analysed, since they were rejected, and as what (DCM)."""

    instances: tuple[Instance, ...]
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Emptied:
    """A series that arrives and of which nothing is left to analyse: how many instances were rejected, and as what (DCM)."""

    series: Series
    instance_count: int
    codes: tuple[str, ...]
    last_received_at: float


@dataclass(frozen=True, slots=True)
class Study:
    study_instance_uid: str
    patient_id: str
    patient_name: str
    accession_number: str
    study_date: str
    study_description: str
    first_received_at: float


@dataclass(frozen=True, slots=True)
class Series:
    series_id: int
    series_instance_uid: str
    study_instance_uid: str
    state: SeriesState
    # Counts from 1; an instance that comes after the series was judged whole opens the next one.
    revision: int
    instance_count: int
    first_received_at: float
    last_received_at: float
    evidence: str | None
    # How many instances the evidence spoke of, where it gave a number.
    expected_count: int | None = None
    # Since when what was announced and what came contradict each other; None where they do not.
    held_at: float | None = None


@dataclass(frozen=True, slots=True)
class SeriesPart:
    """What one association brought to one series."""

    association: Association
    stored: int
    repeated: int


@dataclass(frozen=True, slots=True)
class Announcement:
    """What somebody says of a series, or of a study (series_instance_uid None).

    key: who or what says it, and of what; a later announcement of the same kind and key replaces this one.
    instance_count, sop_instance_uids: what the series consists of, where that is said.
    """

    kind: AnnouncementKind
    key: str
    source: str
    study_instance_uid: str
    series_instance_uid: str | None
    state: AnnouncementState
    at: float
    instance_count: int | None = None
    sop_instance_uids: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """An announcement without its list: what is said of which series, or of the study (series_instance_uid None)."""

    kind: AnnouncementKind
    series_instance_uid: str | None
    state: AnnouncementState
    instance_count: int | None
    at: float


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another association that is open, of a source that brought images of a series.

    brings_study: it brought something of the same study; else it brought nothing at all yet.
    """

    association_id: str
    calling_ae_title: str
    opened_at: float
    brings_study: bool


@dataclass(frozen=True, slots=True)
class Arriving:
    """A series that is not judged yet, and all that may make it whole but its instances, read at one moment.

    parts: the associations that brought it, in the order in which they were opened.
    went_on: those that are open and brought another series since its last image.
    """

    series: Series
    parts: tuple[SeriesPart, ...]
    elsewhere: tuple[Elsewhere, ...]
    said: tuple[Said, ...]
    study_instance_count: int
    went_on: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Silence:
    """The longest silences inside a series, in seconds: between any two images; while nothing that brings it was open; and
    of these the longest that looked like its end, since all images seemed to be there."""

    calling_ae_title: str
    longest_gap_s: float
    longest_pause_s: float
    at: float
    longest_end_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PerformedStep:
    """A modality performed procedure step (PS3.4 annex F): its SOP Instance UID, who created it, and how far it is."""

    sop_instance_uid: str
    calling_ae_title: str
    status: str
    created_at: float
    changed_at: float
    study_instance_uids: tuple[str, ...]


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
class Ended:
    """A series that arrives and all of whose associations have ended: who brought it last, and when that ended."""

    series: Series
    calling_ae_title: str
    ended_at: float


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


@dataclass(frozen=True, slots=True)
class Result:
    """kind: as ordered, such as "sr-alone". faults: what our own checks found wrong; it is in quarantine where there are any."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    kind: str
    description: str
    object_key: str
    content_sha256: str
    size_bytes: int
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Placed:
    """A result and its delivery to one destination; without state where it was not to go there."""

    result: Result
    delivery_id: int | None
    state: OutboxState | None


@dataclass(frozen=True, slots=True)
class Substitution:
    """A delivery that the destination does not take, and the results that go in its place. error: why, in words."""

    delivery_id: int
    sop_instance_uids: tuple[str, ...]
    error: str


@dataclass(frozen=True, slots=True)
class Predecessor:
    """A report that a later one takes the place of. revision: of the series, that it is about. kind: as ordered."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    revision: int
    kind: str = "sr"


@dataclass(frozen=True, slots=True)
class KeptResult:
    """A result with the job that made it; superseded_by: the job whose results took the place of this one.

    provenance_key: the object that says what it was made of; None where an older version made it.
    """

    result: Result
    job_id: int
    created_at: float
    superseded_at: float | None
    superseded_by: int | None
    provenance_key: str | None = None


@dataclass(frozen=True, slots=True)
class Arrivals:
    """How many instances came in one revision of a series, and when the first of them."""

    series_id: int
    revision: int
    instance_count: int
    first_received_at: float


@dataclass(frozen=True, slots=True)
class Rejections:
    """How many instances of a series are not analysed from a revision on, and the code of the rejection (DCM)."""

    series_id: int
    revision: int
    code: str
    instance_count: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One result on its way to one destination."""

    delivery_id: int
    destination: str
    state: OutboxState
    attempts: int
    next_at: float
    created_at: float
    delivered_at: float | None
    last_error: str | None
    job_id: int
    result: Result
    # The SOP Instance UID of what was not taken, where this goes in its place alone.
    in_place_of: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """How often peers of one AE title were given one answer that was no success.

    kind: C-STORE and so on, with the DIMSE status; or what became of an association or connection, with result, source
    and reason as one number, a byte each.
    """

    kind: str
    status: int
    calling_ae_title: str
    count: int
    # Of these, those of the last day (YYYY-MM-DD) on which there was one.
    day: str
    day_count: int
    last_at: float


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version of a model that was ever taken up. built_in: of the installation; source: the folder it was copied from.

    removed_at: when its files were removed; None while they are kept.
    """

    content_sha256: str
    name: str
    version: str
    built_in: bool
    added_at: float
    source: str
    removed_at: float | None = None

    @property
    def key(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class ModelRole:
    """Which versions of a model do what, by the digests of their contents.

    active_by: whether the configuration brought it, when there was none, or a person activated it. canary_share: 0 to 1.
    disabled_by: a person, or golden cases that failed.
    """

    name: str
    active_sha256: str | None = None
    active_by: Literal["configuration", "command"] | None = None
    active_since: float | None = None
    previous_sha256: str | None = None
    shadow_sha256: str | None = None
    shadow_since: float | None = None
    canary_sha256: str | None = None
    canary_share: float | None = None
    canary_since: float | None = None
    disabled_at: float | None = None
    disabled_by: Literal["command", "golden"] | None = None
    disabled_reason: str | None = None

    @property
    def disabled(self) -> bool:
        return self.disabled_at is not None


@dataclass(frozen=True, slots=True)
class GoldenCheck:
    """Golden cases of a version as they were run once.

    device: "cpu", or the name of the GPU. cases: of each what came of it, {"case", "passed", "words", "seconds"}.
    """

    content_sha256: str
    device: str
    at: float
    passed: bool
    words: str
    cases: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """A line of history. `kind` is a stable word for machines, `text` a sentence for people."""

    kind: str
    text: str
    severity: Severity = "info"
    at: float = 0.0
    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    association_id: str | None = None
    job_id: int | None = None
    data: Json = field(default_factory=dict)
