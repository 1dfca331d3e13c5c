"""What is told: lines of history, and how often peers were given an answer that was no success."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from storage.records.json_object import Json

Severity = Literal["info", "warning", "alarm"]


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
