"""What all results need to know of the segments: which hold anything, and on which image each shows best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.findings import Findings, Segment
from inference.transforms import mask_on_acquired
from inference.volume import Volume


@dataclass(frozen=True, slots=True, eq=False)
class Numbered:
    """A segment with its Segment Number, 0 for an empty one.

    mask: bool (planes, rows, columns) on the planes as acquired. pixels: int (planes,), how many it has in each.
    """

    segment: Segment
    number: int
    mask: NDArray[np.bool_]
    pixels: NDArray[np.int64]

    @property
    def key_plane(self) -> int:
        """The plane with the largest area, the first of equals."""
        return int(self.pixels.argmax())


def numbered(findings: Findings, volume: Volume) -> tuple[Numbered, ...]:
    """The segments in the model's order. Those that hold a voxel are numbered from 1; empty ones have number 0.

    A Segmentation has no way to show a segment without pixels, and some readers reject one that is described and has
    no frame; its measurements stay in the report.
    """
    found, number = [], 0
    for segment in findings.segments:
        mask = mask_on_acquired(segment.mask, volume)
        counts = np.array([np.count_nonzero(plane) for plane in mask], np.int64)
        number += bool(counts.any())
        found.append(Numbered(segment, number if counts.any() else 0, mask, counts))
    return tuple(found)


def key_plane(segments: Sequence[Numbered], planes: int) -> int:
    """The plane on which the segments together show best; the middle one where none holds anything."""
    total = sum((item.pixels for item in segments), np.zeros(planes, np.int64))
    return int(total.argmax()) if total.any() else planes // 2
