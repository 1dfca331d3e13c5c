"""Findings of segments for tests of Segmentations: as masks, as probabilities, and as many of one label map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.result_kinds import ResultKind
from inference.findings import Findings, Labelled, Segment
from inference.volume import Volume
from tests.conformance.reports import ANATOMY, LUNG, findings_on

EMPTY_LABEL = 7
"""A label that no voxel has: from there on, labels are not Segment Numbers."""


def masks(volume: Volume) -> Findings:
    """Three that overlap, and an empty one."""
    return Findings(findings_on(volume).segments)


def apart(volume: Volume) -> Findings:
    """Two that share no voxel, and an empty one."""
    right, left, _, none = findings_on(volume).segments
    return Findings((right, replace(left, region=left.mask & ~right.mask), none))


def probabilities(volume: Volume) -> Findings:
    """The masks with soft borders."""
    return Findings(
        tuple(
            replace(one, region=np.clip(ndimage.gaussian_filter(one.mask.astype(np.float32), 1), 0, 1))
            for one in masks(volume).segments
        )
    )


def many(volume: Volume, count: int = 120) -> Findings:
    """Blocks of one label map, each of another size, in a grid over the volume; one of the labels is nowhere."""
    labels = np.zeros(volume.voxels.shape, np.uint8 if count < 256 else np.uint16)
    across = [6, int(np.ceil(count / 24)), 4]
    cells = [size / parts for size, parts in zip(labels.shape, across, strict=True)]
    random = np.random.default_rng(count)
    for value, place in enumerate(list(np.ndindex(*across))[:count], start=1):
        first = [int(at * cell) for at, cell in zip(place, cells, strict=True)]
        size = [int(random.integers(1, max(2, int(cell)) + 1)) for cell in cells]
        labels[tuple(slice(a, a + n) for a, n in zip(first, size, strict=True))] = value
    labels[labels == EMPTY_LABEL] = 0
    return Findings(tuple(labelled(labels, value) for value in range(1, count + 1)))


def labelled(labels: NDArray[np.unsignedinteger], value: int) -> Segment:
    color = (40 + value * 37 % 200, 40 + value * 91 % 200, 40 + value * 53 % 200)
    return Segment(f"part_{value}", f"Part {value}", ANATOMY, LUNG, Labelled(labels, value), color)


SUITED: dict[ResultKind, tuple[Callable[[Volume], Findings], ...]] = {
    "seg": (masks, probabilities, many),
    "seg_fractional": (masks, probabilities),
    "seg_labelmap": (apart, many),
}
"""What each type can hold."""
