"""What all results need to know of the segments: which hold anything, where, and on which image each shows best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dicom_node.results.contour import outline
from dicom_node.results.sources import ResultRefused
from inference.findings import Findings, Labelled, Segment
from inference.transforms import Cut, cuts
from inference.volume import Volume

ALL_ROWS = slice(None)


@dataclass(frozen=True, slots=True, eq=False)
class Numbered:
    """A segment with its Segment Number, 0 for an empty one, as it lies on the planes as acquired.

    pixels: int (planes,), how many it has in each. rows: int (planes, 2), the first row that holds one and the row after
    the last.
    """

    segment: Segment
    number: int
    pixels: NDArray[np.int64]
    rows: NDArray[np.int64]
    cuts: tuple[Cut, ...]
    _outlines: dict[int, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    @property
    def key_plane(self) -> int:
        """The plane with the largest area, the first of equals."""
        return int(self.pixels.argmax())

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a plane."""
        rows, columns = self.array_on(0).shape
        return rows, columns

    def on(self, plane: int, rows: slice = ALL_ROWS) -> NDArray[np.bool_]:
        """bool (rows, columns): the mask in one acquired plane. Cheap; a whole mask is never made."""
        return self.segment.of(self.array_on(plane)[rows])

    def outline_on(self, plane: int) -> NDArray[np.float64]:
        """The outline of the mask in one acquired plane, as `contour` makes it; only once, since several reports ask for it."""
        if plane not in self._outlines:
            self._outlines[plane] = outline(self.on(plane))
        return self._outlines[plane]

    def array_on(self, plane: int) -> NDArray[np.generic]:
        """(rows, columns): what the model gave, labels or probabilities or the mask itself, in one acquired plane."""
        return self.cuts[plane](self.segment.array)


def numbered(findings: Findings, volume: Volume) -> tuple[Numbered, ...]:
    """The segments in the model's order. Those that hold a voxel are numbered from 1; empty ones have number 0.

    A Segmentation has no way to show a segment without pixels, and some readers reject one that is described and has
    no frame; its measurements stay in the report.
    Raises ResultRefused where a segment has another shape than the volume.
    """
    planes = cuts(volume)
    places = _places(findings.segments, planes)
    found, number = [], 0
    for segment in findings.segments:
        if segment.shape != volume.voxels.shape:
            raise ResultRefused(
                f"segment {segment.label!r} has the shape {segment.shape}, the volume {volume.voxels.shape}: its voxels"
                " have no place"
            )
        pixels, rows = places[segment.key]
        number += bool(pixels.any())
        found.append(Numbered(segment, number if pixels.any() else 0, pixels, rows, planes))
    return tuple(found)


def key_plane(segments: Sequence[Numbered], planes: int) -> int:
    """The plane on which the segments together show best; the middle one where none holds anything."""
    total = sum((item.pixels for item in segments), np.zeros(planes, np.int64))
    return int(total.argmax()) if total.any() else planes // 2


Places = tuple[NDArray[np.int64], NDArray[np.int64]]


def _places(segments: Sequence[Segment], planes: Sequence[Cut]) -> dict[str, Places]:
    """Pixels and rows of each segment on each plane, by its key. A label map is read once for all that share it."""
    found: dict[str, Places] = {}
    maps: dict[int, Places] = {}
    for segment in segments:
        value = 1
        if isinstance(segment.region, Labelled):
            value, labels = segment.region.value, segment.region.labels
            if id(labels) not in maps:
                maps[id(labels)] = _runs((cut(labels) for cut in planes), len(planes), int(np.iinfo(labels.dtype).max))
            pixels, rows = maps[id(labels)]
        else:
            pixels, rows = _runs((segment.of(cut(segment.array)).view(np.uint8) for cut in planes), len(planes), 1)
        found[segment.key] = pixels[:, value], rows[:, value]
    return found


def _runs(planes: Iterable[NDArray[np.unsignedinteger]], count: int, largest: int) -> Places:
    """Of each value in each plane: how many pixels (planes, values), and between which rows (planes, values, 2)."""
    pixels = np.zeros((count, largest + 1), np.int64)
    rows = np.zeros((count, largest + 1, 2), np.int64)
    for plane, counted, between in zip(planes, pixels, rows, strict=True):
        flat = plane.ravel()
        starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
        values, ends = flat[starts], np.append(starts[1:], flat.size)
        counted[:] = np.bincount(values, weights=ends - starts, minlength=largest + 1)
        # Where an index occurs again, the last assignment stays: hence from behind for the first pixel.
        between[values[::-1], 0] = starts[::-1]
        between[values, 1] = ends - 1 + plane.shape[1]
        between[:] = between // plane.shape[1]
    return pixels, rows
