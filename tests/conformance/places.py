"""Findings that have a place: points, boxes, contours, landmarks and heat maps beside the segments of `reports`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from inference.findings import Box, Code, Contour, Detection, Findings, HeatMap, Landmark, Point
from inference.volume import Volume
from tests.conformance.reports import ABNORMAL, ANATOMY, DENSITY, HU, LUNG, NODULE, findings_on

BIFURCATION = Code("28700002", "SCT", "Bifurcation of trachea")
ACTIVATION = Code("130403", "DCM", "Class activation")
NO_UNITS = Code("1", "UCUM", "no units")


def placed_findings(volume: Volume) -> Findings:
    """Findings of every kind that has a place, each off the middle along every axis."""
    slices, rows, columns = volume.voxels.shape
    first, last = (2, rows * 0.5, columns * 0.2), (5, rows * 0.7, columns * 0.35)
    ring = ((0.2, 0.6), (0.2, 0.8), (0.35, 0.85), (0.4, 0.65))
    detections = (
        Detection("dot", "Dot", ABNORMAL, NODULE, Point((2.2, rows * 0.3, columns * 0.4)), 0.87),
        Detection("box", "Box", ABNORMAL, NODULE, Box(first, last), 0.5, (0, 114, 178)),
        Detection(
            "ring",
            "Ring",
            ABNORMAL,
            NODULE,
            Contour(4, tuple((r * rows, c * columns) for r, c in ring)),
            None,
            (0, 158, 115),
        ),
    )
    landmarks = (
        Landmark("carina", "Carina", BIFURCATION, Point((slices - 2, rows * 0.35, columns * 0.45)), 4.0, LUNG),
    )
    return replace(findings_on(volume), detections=detections, landmarks=landmarks, heat_maps=heat_maps(volume))


def heat_maps(volume: Volume) -> tuple[HeatMap, ...]:
    """Two, that differ at each voxel; the first slices of the first hold nothing, and so does a corner of each other."""
    rising = np.linspace(0, 1, volume.voxels.size, dtype=np.float32).reshape(volume.voxels.shape)
    sparse = rising.copy()
    sparse[:2] = np.nan
    sparse[2:, :5, :3] = np.nan
    return (
        HeatMap("saliency", "Saliency", ACTIVATION, NO_UNITS, sparse, (0.0, 1.0), 0.3),
        HeatMap("density", "Density", DENSITY, HU, rising * 100 - 50, (-50.0, 50.0), finding_site=ANATOMY),
    )
