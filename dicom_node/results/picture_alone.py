"""One picture of several, as if it were all there is: what is drawn of images that are taken one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dicom_node.results.importance import placed
from dicom_node.results.looks import MOST_DETAILS, Look, Looks, bounds, values_of, weights
from inference.findings import (
    Box,
    Contour,
    Detection,
    Findings,
    HeatMap,
    Labelled,
    Landmark,
    Point,
    Segment,
)
from inference.picture_series import nominal_affine
from inference.volume import Volume

_Placed = TypeVar("_Placed", Detection, Landmark)
SMALL_SERIES = MOST_DETAILS + 1
"""Of so few pictures all are drawn, whether anything was found on them or not."""


def looks_at_pictures(volume: Volume, findings: Findings) -> Looks:
    """The picture on which most was found, and smaller ones of others: places first, then areas, then words."""
    slices = list(dict.fromkeys(picture.slice for picture in volume.pictures))
    wanted = [round(bounds(one)[0][0]) for one in placed(findings)]
    wanted += _by_area(findings.segments or findings.heat_maps[:1], slices)
    said = [one for one in findings.classifications if one.state != "absent"]
    for answer in sorted(said, key=lambda one: -(one.probability or 0)):
        wanted += [volume.pictures[index].slice for index in answer.pictures[:1]]
    if len(slices) <= SMALL_SERIES:
        wanted += slices
    looks = [Look("axial", index) for index in dict.fromkeys(wanted)] or [Look("axial", slices[len(slices) // 2])]
    return Looks((looks[0],), tuple(looks[1 : 1 + MOST_DETAILS]))


def _by_area(layers: Sequence[Segment | HeatMap], slices: Sequence[int]) -> list[int]:
    """Slices that hold anything, the fullest first."""
    totals = {at: sum(float(weights(layer, values_of(layer)[at]).sum()) for layer in layers) for at in slices}
    return [at for at in sorted(slices, key=lambda one: -totals[one]) if totals[at] > 0]


def alone(volume: Volume, findings: Findings, index: int) -> tuple[Volume, Findings]:
    """The pictures of one slice, and what was found there, in the size that they have."""
    own = tuple(picture for picture in volume.pictures if picture.slice == index)
    rows, columns = max(one.row + one.rows for one in own), max(one.column + one.columns for one in own)
    box = slice(index, index + 1), slice(rows), slice(columns)
    moved = tuple(replace(picture, slice=0) for picture in own)
    cut = replace(
        volume,
        voxels=volume.voxels[box],
        colors=None if volume.colors is None else volume.colors[box],
        pictures=moved,
        sources=(moved[0].source,),
        affine_lps=nominal_affine(moved),
    )
    return cut, Findings(
        segments=tuple(_cut_segment(segment, box) for segment in findings.segments),
        detections=tuple(_moved(one) for one in findings.detections if _reaches(one, index)),
        landmarks=tuple(_moved(one) for one in findings.landmarks if _reaches(one, index)),
        heat_maps=tuple(replace(one, values=one.values[box]) for one in findings.heat_maps),
    )


def _cut_segment(segment: Segment, box: tuple[slice, ...]) -> Segment:
    region = segment.region
    if isinstance(region, Labelled):
        return replace(segment, region=Labelled(region.labels[box], region.value))
    return replace(segment, region=region[box])


def _reaches(finding: Detection | Landmark, index: int) -> bool:
    first, last = bounds(finding)
    return first[0] - 0.5 <= index <= last[0] + 0.5


def _moved(finding: _Placed) -> _Placed:
    """Onto the only slice."""
    if isinstance(finding, Landmark):
        return replace(finding, at=Point((0.0, *finding.at.at[1:])))
    return replace(finding, place=_on_first(finding.place))


def _on_first(place: Point | Box | Contour) -> Point | Box | Contour:
    if isinstance(place, Contour):
        return Contour(0, place.points)
    if isinstance(place, Point):
        return Point((0.0, *place.at[1:]))
    return Box((0.0, *place.first[1:]), (0.0, *place.last[1:]))


def colors_of(volume: Volume) -> NDArray[np.uint8] | None:
    """RGB (rows, columns, 3) of the only slice, where it is in colour."""
    if volume.colors is None or not volume.pictures[0].is_color:
        return None
    colors: NDArray[np.uint8] = volume.colors[0]
    return colors


_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}


def sides_of(volume: Volume) -> tuple[str, str, str, str]:
    """What lies to the left, right, top and bottom, as Patient Orientation says; empty where it does not."""
    toward = [end[:1] for end in volume.pictures[0].toward[:2]]
    if len(toward) < 2 or not all(end in _OPPOSITE for end in toward):
        return "", "", "", ""
    right, bottom = toward
    return _OPPOSITE[right], right, _OPPOSITE[bottom], bottom
