"""What `reproduce --json` prints: one object."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dicom_node.reproduce import Repeated, Reproduction

# Grows by one where a key is taken away or gets another meaning; new keys may come without.
SCHEMA_VERSION = 1


def document(found: Reproduction) -> dict[str, Any]:
    """verdict: of the result that was asked for, which is the first of `results`."""
    return {
        "version": SCHEMA_VERSION,
        "verdict": found.verdict,
        "reason": None,
        "job_id": found.job.job_id,
        "seconds": round(found.seconds, 3),
        "changes": {name: {"then": then, "now": now} for name, (then, now) in found.changes.items()},
        "tolerance": asdict(found.tolerance),
        "results": [_result(one) for one in found.repeated],
        "then": found.then.document(),
        "now": found.now.document(),
    }


def cannot(reason: str) -> dict[str, Any]:
    return {"version": SCHEMA_VERSION, "verdict": "cannot be run", "reason": reason}


def _result(one: Repeated) -> dict[str, Any]:
    compared = one.compared
    return {
        "sop_instance_uid": one.result.sop_instance_uid,
        "kind": one.result.kind,
        "identical": one.is_identical,
        "lacking": one.lacking,
        "findings": [asdict(pair) for pair in compared.pairs] if compared else [],
        "attributes": list(compared.others) if compared else [],
    }
