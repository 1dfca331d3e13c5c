"""What comes first where there is not room for all: what changes what a reader does next."""

from __future__ import annotations

from inference.findings import Classification, Detection, Findings, Landmark, Segment

ABNORMAL = ("49755003", "SCT")
"""Morphologically Abnormal Structure (CID 7150): lesions, as against organs."""

_STATES = ("present", "indeterminate", "absent")


def classifications_by_importance(findings: Findings) -> list[Classification]:
    """What is there, then what may be, then what is not; each by its probability."""
    return sorted(findings.classifications, key=lambda one: (_STATES.index(one.state), -(one.probability or 0)))


def detections_by_importance(findings: Findings) -> list[Detection]:
    """By score; those without one last, in the model's order."""
    return sorted(findings.detections, key=lambda one: -1 if one.score is None else one.score, reverse=True)


def placed(findings: Findings) -> list[Detection | Landmark]:
    """What lies at a place: detections by importance, then landmarks."""
    return [*detections_by_importance(findings), *findings.landmarks]


def segments_by_importance(findings: Findings) -> list[Segment]:
    """Abnormal ones, then those that something was measured of, in the model's order."""
    measured = {measurement.finding_key for measurement in findings.measurements}
    return sorted(findings.segments, key=lambda one: (not is_abnormal(one), one.key not in measured))


def is_abnormal(segment: Segment) -> bool:
    return (segment.category.value, segment.category.scheme) == ABNORMAL
