"""What all results need to know of the segments: which hold anything, and on which slice each shows best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.findings import Findings, Segment


@dataclass(frozen=True, slots=True, eq=False)
class Numbered:
    """A segment with its Segment Number, 0 for an empty one; pixels: int (slices,), how many the mask has in each."""

    segment: Segment
    number: int
    pixels: NDArray[np.int64]

    @property
    def key_slice(self) -> int:
        """The slice with the largest area, the first of equals."""
        return int(self.pixels.argmax())


def numbered(findings: Findings) -> tuple[Numbered, ...]:
    """The segments in the model's order. Those that hold a voxel are numbered from 1; empty ones have number 0.

    A Segmentation has no way to show a segment without pixels, and some readers reject one that is described and has
    no frame; its measurements stay in the report.
    """
    found, number = [], 0
    for segment in findings.segments:
        counts = np.array([np.count_nonzero(plane) for plane in segment.mask], np.int64)
        number += bool(counts.any())
        found.append(Numbered(segment, number if counts.any() else 0, counts))
    return tuple(found)


def key_slice(segments: Sequence[Numbered], slices: int) -> int:
    """The slice on which the segments together show best; the middle one where none holds anything."""
    total = sum((item.pixels for item in segments), np.zeros(slices, np.int64))
    return int(total.argmax()) if total.any() else slices // 2
