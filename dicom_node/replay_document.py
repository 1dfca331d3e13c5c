"""What `replay --json` prints: one object, as docs/replay.schema.json says. Times are ISO 8601 in UTC."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dicom_node.account_document import iso
from dicom_node.replay import Judged
from dicom_node.replay_compare import Course, Difference
from dicom_node.replay_run import Replay

SCHEMA_VERSION = 1


def document(item: Replay) -> dict[str, Any]:
    """The differences, with the period that they are of."""
    return {
        "version": SCHEMA_VERSION,
        "at": iso(item.period.now),
        "since": iso(item.period.since),
        "until": iso(item.period.until),
        "summary": asdict(item.summary),
        "differences": [_difference(one) for one in item.differences],
    }


def _difference(item: Difference) -> dict[str, Any]:
    subject = item.subject
    return {
        "study_instance_uid": subject.study.study_instance_uid,
        "accession_number": subject.study.accession_number,
        "series_instance_uid": subject.series_instance_uid,
        "calling_ae_title": subject.calling_ae_title,
        "instance_count": subject.instance_count,
        "last_received_at": iso(subject.last_received_at),
        "earlier_s": item.earlier_s,
        "newly_wrong": item.newly_wrong,
        "no_longer_wrong": item.no_longer_wrong,
        "before": _course(item.old),
        "then": _course(item.new),
        "jobs": [{"kind": job.kind, "model": job.model, "words": job.words} for job in item.jobs],
    }


def _course(item: Course) -> list[dict[str, Any]]:
    return [_judged(one, is_last=one is item.last) for one in item.judgements]


def _judged(item: Judged, *, is_last: bool) -> dict[str, Any]:
    return {
        "at": iso(item.at),
        "decision": "whole" if item.verdict.state == "whole" else "incomplete",
        "instance_count": item.came,
        "wrongly": not is_last,
        "evidence": list(item.verdict.evidence),
    }
