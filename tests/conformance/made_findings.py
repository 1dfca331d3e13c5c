"""Findings of every kind, and very many of them, on a made volume."""

from __future__ import annotations

import colorsys

import numpy as np

from inference.findings import (
    Box,
    Classification,
    Code,
    Contour,
    Detection,
    Findings,
    HeatMap,
    Labelled,
    Landmark,
    Measurement,
    Point,
    Remark,
    Segment,
    Text,
)
from inference.volume import Volume
from tests.conformance.kinds import CARINA, DIAMETER, EFFUSION, MM, ONE, PNEUMOTHORAX
from tests.conformance.reports import ABNORMAL, ANATOMY, LEFT, LUNG, ML, NODULE, RIGHT, VOLUME, findings_on


def every_kind(volume: Volume) -> Findings:
    """One of each at least: segments, a box, a contour and a point, a landmark, a heat map, and words."""
    slices, rows, columns = volume.voxels.shape
    z, y, x = slices // 2, rows / 2, columns / 2
    box = Box((z - 1.0, y - 6, x - 5), (z + 1.0, y + 6, x + 5))
    contour = Contour(z, ((y - 9, x - 9), (y - 9, x - 2), (y - 3, x - 2), (y - 3, x - 9)))
    detections = (
        Detection("box", "Nodule", ABNORMAL, NODULE, box, 0.9, finding_site=LUNG, laterality=RIGHT),
        Detection("contour", "Nodule", ABNORMAL, NODULE, contour, 0.6, finding_site=LUNG, laterality=LEFT),
        Detection("point", "Nodule", ABNORMAL, NODULE, Point((1.0, 4.0, 5.0)), 0.3),
    )
    away = (
        ((np.arange(size, dtype=np.float32) - at) / (size / 5)) ** 2
        for size, at in zip((slices, rows, columns), (z, y, x), strict=True)
    )
    along_z, along_y, along_x = (np.exp(-squares) for squares in away)
    values = along_z[:, None, None] * along_y[:, None] * along_x
    basis = findings_on(volume)
    return Findings(
        segments=basis.segments,
        measurements=(
            *basis.measurements,
            Measurement(DIAMETER, 12.34, MM, "box", uncertainty=0.81),
            Measurement(Code("T1", "99T", "Quality of the images"), 41, Code("%", "UCUM", "percent"), None),
        ),
        classifications=(
            Classification("effusion", "Effusion", EFFUSION, "absent", 0.001, 0.5),
            Classification("air", "Air", PNEUMOTHORAX, "present", 0.87, 0.5),
        ),
        detections=detections,
        landmarks=(Landmark("carina", "Carina", CARINA, Point((z, y - 7, x + 3)), 2.5, LUNG),),
        heat_maps=(HeatMap("p", "Likelihood", Code("T2", "99T", "Probability"), ONE, values, (0, 1), 0.2),),
        texts=(Text("said", Code("121106", "DCM", "Comment"), "Three nodules; größer als zuvor."),),
        remarks=(Remark(Code("112225", "DCM", "Slice Thickness"), "Slices are thicker than 2.5 mm."),),
    )


def many_segments(volume: Volume, count: int) -> Findings:
    """Blocks in one label map, the 51st of them abnormal, each with its volume."""
    labels = np.zeros(volume.voxels.shape, np.uint8)
    blocks = np.array_split(np.arange(labels[0].size), count)
    for value, where in enumerate(blocks, start=1):
        labels.reshape(len(labels), -1)[1:-1, where[: max(1, len(where) // 2)]] = value
    segments, measurements = [], []
    for index in range(count):
        red, green, blue = (int(255 * part) for part in colorsys.hsv_to_rgb(index * 0.618 % 1, 0.7, 0.95))
        category = ABNORMAL if index == 50 else ANATOMY
        region = Labelled(labels, index + 1)
        segments.append(Segment(f"s{index}", f"Structure {index + 1}", category, LUNG, region, (red, green, blue)))
        ml = float(np.count_nonzero(labels == index + 1)) * volume.voxel_volume_ml
        measurements.append(Measurement(VOLUME, ml, ML, f"s{index}"))
    return Findings(tuple(segments), tuple(measurements))


def many_detections(volume: Volume, count: int) -> Findings:
    """Boxes, points and contours everywhere, with scores in no order."""
    random = np.random.default_rng(count)
    made = []
    for index in range(count):
        z, y, x = (float(at) for at in random.uniform(0.2, 0.8, 3) * volume.voxels.shape)
        place = (
            Point((z, y, x)),
            Box((z - 1, y - 3, x - 3), (z + 1, y + 3, x + 3)),
            Contour(int(z), ((y - 2, x - 2), (y - 2, x + 2), (y + 2, x))),
        )[index % 3]
        made.append(Detection(f"d{index}", "Nodule", ABNORMAL, NODULE, place, float(random.uniform(0, 1))))
    return Findings(detections=tuple(made))
