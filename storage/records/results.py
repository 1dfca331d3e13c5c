"""The objects that jobs made, and their way to destinations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OutboxState = Literal["waiting", "delivered", "refused", "substituted", "withdrawn"]


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
