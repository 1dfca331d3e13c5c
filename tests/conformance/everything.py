"""Findings of every kind on a volume of any size, one slice included: places are fractions of its extent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from inference.findings import (
    Box,
    Classification,
    Code,
    Contour,
    Detection,
    Findings,
    HeatMap,
    Landmark,
    Measurement,
    NotAnalysed,
    Point,
    Segment,
    Text,
)
from inference.volume import Volume
from tests.conformance.reports import (
    ABNORMAL,
    DENSITY,
    HU,
    LEFT,
    LUNG,
    MEAN,
    ML,
    NODULE,
    RIGHT,
    VOLUME,
    ellipsoid,
    findings_on,
)

PNEUMOTHORAX, EFFUSION = Code("36118008", "SCT", "Pneumothorax"), Code("60046008", "SCT", "Pleural effusion")
CARINA, DIAMETER = Code("28700002", "SCT", "Carina"), Code("81827009", "SCT", "Diameter")
ACTIVATION, IMPRESSION = Code("130403", "DCM", "Class activation"), Code("121073", "DCM", "Impression")
MM, ONE = Code("mm", "UCUM", "millimeter"), Code("1", "UCUM", "no units")
THRESHOLDING = Code("113068", "DCM", "Threshold")

TOO_SHORT = NotAnalysed(Code("130576", "DCM", "Anatomy coverage incomplete"), "the images end above the diaphragm")


def everything_on(volume: Volume) -> Findings:
    """At least one of every kind, and of every way to be placed, with all that each may say."""
    middle, row, column = (size - 1 for size in (volume.voxels.shape[0], *volume.voxels.shape[1:]))
    middle //= 2
    measured = findings_on(volume)
    chances = np.where(ellipsoid(volume, (0.5, 0.5, 0.5), (0.9, 0.3, 0.2)), np.float32(0.75), np.float32(0.125))
    soft = Segment("soft", "Likely shape", ABNORMAL, NODULE, chances, (0, 158, 115), LUNG, threshold=0.5)
    first, last = (max(middle - 1, 0), row * 0.2, column * 0.5), (middle, row * 0.4, column * 0.75)
    ring = tuple((row * r, column * c) for r, c in ((0.6, 0.2), (0.6, 0.35), (0.75, 0.4), (0.7, 0.25)))
    return replace(
        measured,
        segments=(*measured.segments, soft),
        measurements=(
            *measured.measurements,
            Measurement(DIAMETER, 6.5, MM, "flat", uncertainty=0.75),
            Measurement(VOLUME, 0.125, ML, "deep", method=THRESHOLDING),
            Measurement(DENSITY, -701.25, HU, None, MEAN, THRESHOLDING, 12.5),
        ),
        classifications=(
            Classification("pneumothorax", "Pneumothorax", PNEUMOTHORAX, "present", 0.875, 0.5, LUNG, RIGHT),
            Classification("effusion", "Effusion", EFFUSION, "absent", 0.0625, 0.5),
            Classification("nodules", "Nodules", NODULE, "indeterminate", laterality=LEFT),
        ),
        detections=(
            Detection("dot", "Nodule at a point", ABNORMAL, NODULE, Point((middle, row * 0.3, column * 0.4)), 0.91),
            Detection("flat", "Nodule in a box", ABNORMAL, NODULE, Box((middle, *first[1:]), last), 0.5, laterality=LEFT),
            Detection("deep", "Nodule in a deep box", ABNORMAL, NODULE, Box(first, last), None, (0, 90, 200), LUNG),
            Detection("ring", "Nodule in a contour", ABNORMAL, NODULE, Contour(middle, ring), 0.125, (0, 0, 0), LUNG, RIGHT),
        ),
        landmarks=(Landmark("carina", "Carina", CARINA, Point((middle, row * 0.35, column * 0.45)), 4.0),),
        heat_maps=(HeatMap("saliency", "Saliency", ACTIVATION, ONE, chances, (0.0, 1.0), 0.5, LUNG),),
        texts=(Text("impression", IMPRESSION, "One nodule, größer als 6 mm."),),
    )  # fmt: skip


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
