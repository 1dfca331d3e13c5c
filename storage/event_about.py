"""Lines of history about a job, a series or an instance that came, with the keys by which they are found again."""

from __future__ import annotations

from storage.records.events import Event, Severity
from storage.records.jobs import Job
from storage.records.json_object import Json
from storage.records.received import NewInstance, Series


def event_about(
    of: Job | Series | NewInstance, kind: str, text: str, severity: Severity = "info", data: Json | None = None
) -> Event:
    """About an instance it happened when that was received."""
    came = of if isinstance(of, NewInstance) else None
    return Event(
        kind,
        text,
        severity,
        at=came.received_at if came else 0.0,
        study_instance_uid=of.study_instance_uid,
        series_instance_uid=of.series_instance_uid,
        association_id=came.association_id if came else None,
        job_id=of.job_id if isinstance(of, Job) else None,
        data=data or {},
    )
