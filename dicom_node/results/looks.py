"""Which slices a picture shows: those where what was found is to be seen best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.results.importance import is_abnormal, placed
from dicom_node.results.orientation import VIEWS, Canonical, View
from inference.findings import Box, Contour, Detection, Findings, HeatMap, Landmark, Segment
from inference.volume import Volume

FEWEST_ACROSS = 8
"""With fewer slices, a view across them shows bars."""

MOST_SAMPLES = 8_000_000
SLICES_AT_ONCE = 32
"""Enough that a hundred segments cost little each, and few enough that they take little memory."""

MOST_DETAILS = 4

Place = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """A slice: the view, and its index along that view's axis of the turned volume."""

    view: View
    index: int


@dataclass(frozen=True, slots=True)
class Looks:
    """main: as acquired, and across it. details: further acquired slices, four at most."""

    main: tuple[Look, ...]
    details: tuple[Look, ...] = ()


def looks_at(volume: Volume, findings: Findings) -> Looks:
    """Across means coronal, or axial where the images are coronal; of few slices nothing is shown across.

    Details are where the next important detections and landmarks lie, if that is in other slices.
    """
    canonical = Canonical.of(volume)
    focus = focus_of(volume, canonical, findings)
    acquired, axis = canonical.acquired, VIEWS.index(canonical.acquired)
    across: View = "axial" if acquired == "coronal" else "coronal"
    main = [Look(acquired, focus[axis])]
    if volume.voxels.shape[0] >= FEWEST_ACROSS:
        main.append(Look(across, focus[VIEWS.index(across)]))
    wanted = [Look(acquired, whole(canonical, canonical.place(centre(one)), axis)) for one in placed(findings)]
    details = [look for look in dict.fromkeys(wanted) if look not in main]
    return Looks(tuple(main), tuple(details[:MOST_DETAILS]))


def focus_of(volume: Volume, canonical: Canonical, findings: Findings) -> tuple[int, ...]:
    """The place after the turn through which the main slices go.

    That of the likeliest detection; else where the abnormal segments, all segments, or the first heat map are largest; else
    that of the first landmark; else the middle.
    """
    if not findings.detections:
        abnormal = [segment for segment in findings.segments if is_abnormal(segment)]
        for layers in (abnormal, findings.segments, findings.heat_maps[:1]):
            if found := largest(volume, canonical, layers):
                return found
    first = placed(findings)[:1]
    at = canonical.place(centre(first[0])) if first else tuple((size - 1) / 2 for size in canonical.shape)
    return tuple(whole(canonical, at, axis) for axis in range(3))


def largest(volume: Volume, canonical: Canonical, layers: Sequence[Segment | HeatMap]) -> tuple[int, ...] | None:
    """In each axis after the turn the slice in which the layers together are largest; None where they hold nothing.

    Of a large volume every second to fourth row and column is looked at, and all of them where there is nothing in those.
    """
    steps = sampling(volume.voxels.shape)
    totals = [np.zeros(-(-size // step)) for size, step in zip(volume.voxels.shape, (1, *steps), strict=True)]
    for slices in some_at_once(volume.voxels.shape[0]):
        together = np.zeros([len(totals[0][slices]), len(totals[1]), len(totals[2])], np.float32)
        for layer, sample in sampled(layers, slices, steps):
            together += weights(layer, sample)
        totals[0][slices] = together.sum(axis=(1, 2))
        totals[1] += together.sum(axis=(0, 2))
        totals[2] += together.sum(axis=(0, 1))
    if not totals[0].any():
        steps, totals = (1, 1), slice_by_slice(volume.voxels.shape, layers)
    if not totals[0].any():
        return None
    voxel = [float(total.argmax() * step) for total, step in zip(totals, (1, *steps), strict=True)]
    return tuple(whole(canonical, canonical.place(voxel), axis) for axis in range(3))


def some_at_once(slices: int) -> Iterator[slice]:
    return (slice(first, first + SLICES_AT_ONCE) for first in range(0, slices, SLICES_AT_ONCE))


def sampled(
    layers: Sequence[Segment | HeatMap], slices: slice, steps: tuple[int, int]
) -> Iterator[tuple[Segment | HeatMap, NDArray[np.generic]]]:
    """Each layer with every so many of its rows and columns; those of a label map are gathered once for all its segments."""
    whose, sample = None, np.zeros((0, 0, 0))
    for layer in layers:
        array = values_of(layer)
        if array is not whose:
            whose, sample = array, np.ascontiguousarray(array[slices, :: steps[0], :: steps[1]])
        yield layer, sample


def slice_by_slice(shape: Sequence[int], layers: Sequence[Segment | HeatMap]) -> list[NDArray[np.float64]]:
    """What the layers hold in each slice, row and column; no volume is made."""
    totals = [np.zeros(size) for size in shape]
    for layer in layers:
        for index, values in enumerate(values_of(layer)):
            held = weights(layer, values)
            totals[0][index] += held.sum()
            totals[1] += held.sum(axis=1)
            totals[2] += held.sum(axis=0)
    return totals


def values_of(layer: Segment | HeatMap) -> NDArray[np.generic]:
    return layer.array if isinstance(layer, Segment) else layer.values


def sampling(shape: Sequence[int]) -> tuple[int, int]:
    """Steps along rows and columns that leave about MOST_SAMPLES voxels of all slices."""
    step = max(1, round((np.prod(shape) / MOST_SAMPLES) ** 0.5))
    return step, step


def weights(layer: Segment | HeatMap, array: NDArray[np.generic]) -> NDArray[np.float32]:
    """What counts of a layer: the voxels of a segment; how far a heat map is above what is not coloured."""
    if isinstance(layer, Segment):
        return layer.of(array).astype(np.float32)
    low = layer.shown[0] if layer.hides_below is None else layer.hides_below
    above = np.nan_to_num(np.asarray(array, np.float32) - low, nan=0, posinf=0, neginf=0)
    return np.asarray(np.clip(above, 0, layer.shown[1] - low), np.float32)


def whole(canonical: Canonical, place: Place, axis: int) -> int:
    """The slice that holds a place."""
    return int(np.clip(round(place[axis]), 0, canonical.shape[axis] - 1))


def centre(finding: Detection | Landmark) -> tuple[float, float, float]:
    """(slice, row, column)."""
    first, last = bounds(finding)
    z, y, x = ((a + b) / 2 for a, b in zip(first, last, strict=True))
    return z, y, x


def bounds(finding: Detection | Landmark) -> tuple[Place, Place]:
    """The first and the last (slice, row, column) that it reaches."""
    place = finding.at if isinstance(finding, Landmark) else finding.place
    if isinstance(place, Box):
        return place.first, place.last
    if isinstance(place, Contour):
        points = np.asarray(place.points)
        low, high = points.min(axis=0), points.max(axis=0)
        return (place.slice, *low.tolist()), (place.slice, *high.tolist())
    return place.at, place.at
