"""Golden cases that were run, as they are kept."""

from __future__ import annotations

from collections.abc import Sequence

from inference.golden_verdict import Verdict
from inference.package import Package
from storage.records.models import GoldenCheck


def golden_check(package: Package, device: str, verdicts: Sequence[Verdict], at: float) -> GoldenCheck:
    """How golden cases went, to be kept."""
    failed = [verdict for verdict in verdicts if not verdict.passed]
    words = "; ".join(f"{item.case}: {item.words}" for item in failed) or f"{len(verdicts)} of {len(verdicts)} passed"
    return GoldenCheck(
        package.content_sha256,
        device,
        at,
        not failed,
        words,
        tuple(
            {"case": item.case, "passed": item.passed, "words": item.words, "seconds": round(item.seconds, 3)}
            for item in verdicts
        ),
    )
