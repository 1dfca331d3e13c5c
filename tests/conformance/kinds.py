"""Findings of every kind on a volume of any number of slices, and each kind alone."""

from __future__ import annotations

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
    Point,
    Text,
)
from inference.volume import Volume
from tests.conformance.reports import ABNORMAL, HU, LEFT, LUNG, MEAN, ML, NODULE, RIGHT, VOLUME, findings_on

PNEUMOTHORAX = Code("36118008", "SCT", "Pneumothorax")
EFFUSION = Code("60046008", "SCT", "Pleural effusion")
CARINA = Code("28700002", "SCT", "Carina")
DIAMETER = Code("81827009", "SCT", "Diameter")
MM = Code("mm", "UCUM", "millimeter")
ONE = Code("1", "UCUM", "no units")
IMPRESSION = Code("121073", "DCM", "Impression")
PROBABILITY = Code("122157", "DCM", "Probability")
ATTENUATION = Code("112031", "DCM", "Attenuation Coefficient")
THRESHOLDING = Code("113068", "DCM", "Threshold")

KINDS = ("segments", "detections", "classifications", "landmarks", "heat_maps", "texts", "measurements", "nothing")


def findings_of_every_kind(volume: Volume) -> Findings:
    """At least one of every kind, and of every way to be placed, with all that each may say.

    Places in a slice are fractions of its extent.
    """
    slices, rows, columns = volume.voxels.shape
    middle = slices // 2
    segments = findings_on(volume)
    row, column = rows - 1, columns - 1
    near, far = (row * 0.2, column * 0.5), (row * 0.4, column * 0.75)
    dot, flat_box = Point((middle, row * 0.3, column * 0.4)), Box((middle, *near), (middle, *far))
    deep_box = Box((max(middle - 5, 0), *near), (max(middle - 2, 0), *far))
    ring = Contour(middle, tuple((row * r, column * c) for r, c in ((0.6, 0.2), (0.6, 0.35), (0.75, 0.4), (0.7, 0.25))))
    detections = (
        Detection("point", "Nodule at a point", ABNORMAL, NODULE, dot, 0.91, finding_site=LUNG),
        Detection("flat", "Nodule in a box", ABNORMAL, NODULE, flat_box, 0.5, laterality=LEFT),
        Detection("deep", "Nodule in a deep box", ABNORMAL, NODULE, deep_box, None, (0, 90, 200)),
        Detection("drawn", "Nodule in a contour", ABNORMAL, NODULE, ring, 0.125, (0, 0, 0), LUNG, RIGHT),
    )
    classifications = (
        Classification("pneumothorax", "Pneumothorax", PNEUMOTHORAX, "present", 0.875, 0.5, LUNG, RIGHT),
        Classification("effusion", "Effusion", EFFUSION, "absent", 0.0625, 0.5),
        Classification("nodules", "Nodules", NODULE, "indeterminate", laterality=LEFT),
    )
    landmarks = (Landmark("carina", "Carina", CARINA, Point((min(2.0, slices - 1), rows / 2, columns / 2)), 1.5),)
    ramp = np.linspace(0, 1, volume.voxels.size, dtype=np.float32).reshape(volume.voxels.shape)
    measurements = (
        *segments.measurements,
        Measurement(DIAMETER, 6.5, MM, "flat", uncertainty=0.75),
        Measurement(VOLUME, 0.125, ML, "deep", method=THRESHOLDING),
        Measurement(ATTENUATION, -701.25, HU, None, MEAN, THRESHOLDING, 12.5),
    )
    return Findings(
        segments=segments.segments,
        measurements=measurements,
        classifications=classifications,
        detections=detections,
        landmarks=landmarks,
        heat_maps=(HeatMap("saliency", "What drew attention", PROBABILITY, ONE, ramp, (0.0, 1.0), 0.5),),
        texts=(Text("impression", IMPRESSION, "One nodule, größer als 6 mm."),),
        remarks=segments.remarks,
        parameters={"threshold": "-950"},
    )


def findings_of(kind: str, volume: Volume) -> Findings:
    """Those of one kind alone, with their measurements; "measurements": those of no finding; "nothing": none at all."""
    every = findings_of_every_kind(volume)
    if kind == "nothing":
        return Findings()
    if kind == "measurements":
        return Findings(measurements=tuple(item for item in every.measurements if item.finding_key is None))
    found = getattr(every, kind)
    keys = {item.key for item in found}
    return Findings(**{kind: found}, measurements=tuple(m for m in every.measurements if m.finding_key in keys))
