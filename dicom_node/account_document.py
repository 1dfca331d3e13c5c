"""What `explain --json` prints: one object, as docs/explain.schema.json says. Times are ISO 8601 in UTC."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from dicom_node.completeness import Verdict
from dicom_node.history import JobAccount, SeriesAccount, StudyAccount
from dicom_node.revisions import RevisionAccount
from storage.records.announced import Announcement
from storage.records.events import Event
from storage.records.jobs import Attempt
from storage.records.received import SeriesPart
from storage.records.results import Delivery, KeptResult

# Grows by one where a key is taken away or gets another meaning; new keys may come without.
SCHEMA_VERSION = 1


def iso(at: float | None) -> str | None:
    """2026-01-31T12:00:00.000Z; None for what has not happened."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def document(key: str, accounts: Iterable[StudyAccount], now: float) -> dict[str, Any]:
    """The studies that `key` names, newest first, as of `now` (seconds since the epoch)."""
    return {"version": SCHEMA_VERSION, "at": iso(now), "key": key, "studies": [_study(item) for item in accounts]}


def _study(item: StudyAccount) -> dict[str, Any]:
    study = item.study
    return {
        "study_instance_uid": study.study_instance_uid,
        "accession_number": study.accession_number,
        "patient_id": study.patient_id,
        "patient_name": study.patient_name,
        "study_date": study.study_date,
        "study_description": study.study_description,
        "first_received_at": iso(study.first_received_at),
        "standing": item.standing,
        "settled": item.is_settled,
        "announcements": [_announcement(one) for one in item.announcements],
        "series": [_series(one) for one in item.details],
        "jobs": [_job(one) for one in item.jobs],
        "results": [_result(one, item.deliveries) for one in item.results],
        "timeline": [_line(one) for one in item.timeline],
    }


def _series(item: SeriesAccount) -> dict[str, Any]:
    series = item.series
    return {
        "series_instance_uid": series.series_instance_uid,
        "state": series.state,
        "revision": series.revision,
        "instance_count": series.instance_count,
        "expected_count": series.expected_count,
        "first_received_at": iso(series.first_received_at),
        "last_received_at": iso(series.last_received_at),
        "held_at": iso(series.held_at),
        "verdict": _verdict(item.verdict) if item.verdict else None,
        "revisions": [_revision(one) for one in item.revisions],
        "associations": [_part(one) for one in item.parts],
        "announcements": [_announcement(one) for one in item.announcements],
        "rejections": [
            {"revision": one.revision, "code": one.code, "instance_count": one.instance_count}
            for one in item.rejections
        ],
    }


def _verdict(item: Verdict) -> dict[str, Any]:
    return {
        "state": item.state,
        "evidence": list(item.evidence),
        "until": iso(item.until),
        "expected_count": item.expected,
        "held": item.held,
    }


def _revision(item: RevisionAccount) -> dict[str, Any]:
    return {
        "revision": item.number,
        "began_at": iso(item.began_at),
        "instance_count": item.instance_count,
        "decision": item.decision,
        "decided_at": iso(item.decided_at),
        "evidence": item.evidence,
    }


def _part(item: SeriesPart) -> dict[str, Any]:
    association = item.association
    return {
        "association_id": association.association_id,
        "acceptor": association.acceptor,
        "calling_ae_title": association.calling_ae_title,
        "called_ae_title": association.called_ae_title,
        "address": association.address,
        "opened_at": iso(association.opened_at),
        "closed_at": iso(association.closed_at),
        "ending": association.ending,
        "stored": item.stored,
        "repeated": item.repeated,
    }


def _announcement(item: Announcement) -> dict[str, Any]:
    return {
        "kind": item.kind,
        "source": item.source,
        "state": item.state,
        "at": iso(item.at),
        "instance_count": item.instance_count,
        "names_instances": item.sop_instance_uids is not None,
    }


def _job(item: JobAccount) -> dict[str, Any]:
    job = item.job
    return {
        "job_id": job.job_id,
        "series_instance_uid": job.series_instance_uid,
        "revision": job.revision,
        "model": job.model,
        "route": job.route,
        "destinations": list(job.destinations),
        "state": job.state,
        "stale": job.stale,
        "priority": job.priority,
        "queued": item.queued,
        "waits": item.waits,
        "reason": job.reason,
        "give_up_reason": job.give_up_reason,
        "remark": job.remark,
        "role": job.role,
        "compared_with_job_id": job.compared_with,
        "comparison": dict(job.comparison) if job.comparison is not None else None,
        "provenance_key": job.provenance_key,
        "companions": [
            {
                "name": one.name,
                "series_instance_uid": one.series_instance_uid,
                "study_instance_uid": one.study_instance_uid,
                "revision": one.revision,
                "absent": one.absent,
            }
            for one in job.companions
        ],
        "created_at": iso(job.created_at),
        "started_at": iso(job.started_at),
        "finished_at": iso(job.finished_at),
        "deadline_at": iso(job.deadline_at),
        "deadline_missed_at": iso(job.deadline_missed_at),
        "deadline_closed_at": iso(job.deadline_closed_at),
        "attempts": [_attempt(one) for one in item.attempts],
    }


def _attempt(item: Attempt) -> dict[str, Any]:
    return {
        "number": item.number,
        "started_at": iso(item.started_at),
        "ended_at": iso(item.ended_at),
        "outcome": item.outcome,
        "reason": item.reason,
    }


def _result(item: KeptResult, deliveries: Iterable[Delivery]) -> dict[str, Any]:
    uid = item.result.sop_instance_uid
    return {
        "sop_instance_uid": uid,
        "sop_class_uid": item.result.sop_class_uid,
        "series_instance_uid": item.result.series_instance_uid,
        "kind": item.result.kind,
        "description": item.result.description,
        "size_bytes": item.result.size_bytes,
        "job_id": item.job_id,
        "created_at": iso(item.created_at),
        "superseded_at": iso(item.superseded_at),
        "superseded_by_job_id": item.superseded_by,
        "faults": list(item.result.faults),
        "object_key": item.result.object_key,
        "deliveries": [_delivery(one) for one in deliveries if one.result.sop_instance_uid == uid],
    }


def _delivery(item: Delivery) -> dict[str, Any]:
    return {
        "destination": item.destination,
        "state": item.state,
        "attempts": item.attempts,
        "created_at": iso(item.created_at),
        "next_at": iso(item.next_at) if item.state == "waiting" else None,
        "delivered_at": iso(item.delivered_at),
        "last_error": item.last_error,
        "in_place_of": item.in_place_of,
    }


def _line(item: Event) -> dict[str, Any]:
    return {
        "at": iso(item.at),
        "kind": item.kind,
        "severity": item.severity,
        "text": item.text,
        "series_instance_uid": item.series_instance_uid,
        "association_id": item.association_id,
        "job_id": item.job_id,
        "data": dict(item.data),
    }
