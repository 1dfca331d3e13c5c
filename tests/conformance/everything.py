"""Findings to make objects of every kind of: everything that can be found, and segments apart, on a volume of any size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from inference.findings import Code, Findings, HeatMap, NotAnalysed, Segment
from inference.volume import Volume
from tests.conformance.kinds import ONE, findings_of_every_kind
from tests.conformance.reports import ABNORMAL, LUNG, NODULE, ellipsoid, findings_on

ACTIVATION = Code("130403", "DCM", "Class activation")

TOO_SHORT = NotAnalysed(Code("130576", "DCM", "Anatomy coverage incomplete"), "the images end above the diaphragm")


def everything_on(volume: Volume) -> Findings:
    """As `findings_of_every_kind`, with a segment and a heat map of chances."""
    every = findings_of_every_kind(volume)
    chances = np.where(ellipsoid(volume, (0.5, 0.5, 0.5), (0.9, 0.3, 0.2)), np.float32(0.75), np.float32(0.125))
    soft = Segment("soft", "Likely shape", ABNORMAL, NODULE, chances, (0, 158, 115), LUNG, threshold=0.5)
    saliency = HeatMap("saliency", "Saliency", ACTIVATION, ONE, chances, (0.0, 1.0), 0.5, LUNG)
    return replace(every, segments=(*every.segments, soft), heat_maps=(saliency,))


def apart_on(volume: Volume) -> Findings:
    """Three segments of which no two share a voxel, as a label map needs them, with their numbers."""
    findings = findings_on(volume)
    right, left, within, none = findings.segments
    cut = replace(right, region=right.mask & ~within.mask)
    beside = replace(left, region=left.mask & ~right.mask)
    return Findings(
        (cut, beside, within, none),
        tuple(m for m in findings.measurements if m.finding_key in {"within", "none"}),
        remarks=findings.remarks,
    )
