"""What came in: associations, the instances that they brought, and the series and studies that these make up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from storage.records.json_object import Json

InstanceOutcome = Literal["stored", "same", "conflict"]
SeriesState = Literal["arriving", "whole", "incomplete"]


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
class Arrivals:
    """How many instances came in one revision of a series, and when the first of them."""

    series_id: int
    revision: int
    instance_count: int
    first_received_at: float
