"""Where do parallel images lie, and do they make a regular stack? Pure arithmetic on positions; numpy only.

Patient coordinates are LPS+ in mm (PS3.3 C.7.6.2.1.1). The normal of an image is the cross product of its row
direction (first triplet of Image Orientation (Patient)) with its column direction (second triplet); slices are
always counted along +normal, so the slice column of an affine points along the normal whatever the order of
acquisition.

Tolerance: a stack is uniform when no image lies further from the regular grid between its first and its last image than
1 % of the spacing or 0.1 mm, whichever is more, and never more than a quarter of the spacing. 0.1 mm is what positions
written with one decimal need. The error is that of the position, so it does not add up from slice to slice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAME_POSITION_MM = 0.01
POSITION_TOLERANCE_MM = 0.1
POSITION_TOLERANCE_FRACTION = 0.01
POSITION_TOLERANCE_MOST = 0.25
_FEW_GAPS = 2
"""More wide places than this, and than a quarter of all, are a change of spacing (2.5 mm below, 5 mm above), not missing
images."""
DIRECTION_TOLERANCE = 2e-3
"""Largest difference of two direction cosines that still count as one orientation: about 0.1 degree."""

Triple = tuple[float, float, float]
Float64Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Gap:
    """Too much room between two neighbours (indices into the input); how many images fit there, None when no
    whole number."""

    after: int
    before: int
    distance_mm: float
    missing: int | None


@dataclass(frozen=True, slots=True)
class StackGeometry:
    """A stack of parallel images, counted along +normal.

    order: every input index, from the lowest to the highest along the normal; images at one position keep input
    order.
    distinct: one index for each position (the first of its duplicates), in the same order.
    distances_mm: of `distinct`, along the normal, from the patient's origin.
    spacing_mm: distance of neighbours along the normal; of a stack that is not uniform, the median. 0.0 for one
    position.
    step_lps: from one image's origin to the next one's; it leans off the normal when the gantry was tilted.
    tilt_deg: angle between step and normal, 0.0 where the lean is within tolerance.
    deviation_mm: the largest distance of an image from the regular grid.
    duplicates: groups of input indices that share a position.
    is_uniform: the distinct positions make a regular grid. reason: in words why not, empty when they do.
    """

    normal: Triple
    order: tuple[int, ...]
    distinct: tuple[int, ...]
    distances_mm: tuple[float, ...]
    spacing_mm: float
    step_lps: Triple
    tilt_deg: float
    deviation_mm: float
    gaps: tuple[Gap, ...]
    duplicates: tuple[tuple[int, ...], ...]
    is_uniform: bool
    reason: str

    @property
    def closes(self) -> bool:
        """Regular grid, every position once."""
        return self.is_uniform and not self.duplicates


def normal_of(orientation: Sequence[float]) -> Float64Array | None:
    """Unit normal of an Image Orientation (Patient); None unless its directions are unit vectors at right
    angles."""
    if len(orientation) != 6 or not all(math.isfinite(value) for value in orientation):
        return None
    row, column = np.asarray(orientation[:3], np.float64), np.asarray(orientation[3:], np.float64)
    lengths_off = max(abs(float(row @ row) - 1.0), abs(float(column @ column) - 1.0))
    if lengths_off > 0.01 or abs(float(row @ column)) > 0.01:
        return None
    normal = np.cross(row, column)
    return np.asarray(normal / np.linalg.norm(normal), np.float64)


def same_orientation(first: Sequence[float], second: Sequence[float]) -> bool:
    """True when no direction cosine differs by more than DIRECTION_TOLERANCE."""
    return all(abs(a - b) <= DIRECTION_TOLERANCE for a, b in zip(first, second, strict=True))


def stack_geometry(
    orientations: Sequence[Sequence[float] | None], positions: Sequence[Sequence[float] | None]
) -> StackGeometry | None:
    """The geometry of images given by Image Orientation (Patient) and Image Position (Patient).

    None when there is none: no image, a missing or impossible orientation or position.
    """
    if not positions or len(orientations) != len(positions):
        return None
    planes = [orientation for orientation in orientations if orientation is not None]
    points = [p for p in positions if p is not None and len(p) == 3 and all(map(math.isfinite, p))]
    if len(planes) != len(positions) or len(points) != len(positions):
        return None
    normals = {plane: normal_of(plane) for plane in {tuple(plane) for plane in planes}}
    normal = normals[tuple(planes[0])]
    if normal is None or any(other is None for other in normals.values()):
        return None
    turned = sum(not same_orientation(planes[0], plane) for plane in planes)
    origins = np.asarray(points, np.float64)
    return _geometry(normal, origins, turned)


def describe_position(normal: Sequence[float] | Float64Array, position: Sequence[float] | Float64Array) -> str:
    """The coordinate that changes most along the normal: "z=-120.0"."""
    axis = int(np.argmax(np.abs(normal)))
    return f"{'xyz'[axis]}={position[axis]:.1f}"


def _geometry(normal: Float64Array, origins: Float64Array, turned: int) -> StackGeometry:
    along = origins @ normal
    order = np.argsort(along, kind="stable")
    new_position = np.concatenate([[True], np.diff(along[order]) > SAME_POSITION_MM])
    distinct = order[new_position]
    groups = np.split(order, np.flatnonzero(new_position)[1:])
    duplicates = tuple(tuple(int(i) for i in np.sort(group)) for group in groups if len(group) > 1)
    distances, at = along[distinct], origins[distinct]

    steps = len(distinct) - 1
    step = (at[-1] - at[0]) / steps if steps else np.zeros(3)
    regular_mm = float(step @ normal)
    tolerance_mm = tolerance(regular_mm)
    off_grid = np.linalg.norm(at - (at[0] + np.arange(len(at))[:, None] * step), axis=1)
    deviation_mm = float(off_grid.max())
    drift_mm = float(np.linalg.norm((step - regular_mm * normal) * steps))
    tilt_deg = math.degrees(math.atan2(drift_mm, regular_mm * steps)) if drift_mm > tolerance_mm else 0.0
    beside_mm = _beside(origins, groups)
    gaps_mm = np.diff(distances)
    is_uniform = not turned and deviation_mm <= tolerance_mm and beside_mm <= tolerance_mm
    gaps = () if deviation_mm <= tolerance_mm else _gaps(gaps_mm, distinct)
    reason = ""
    if turned:
        reason = f"{turned} of {len(origins)} images are turned against the first by more than 0.1 degree"
    elif beside_mm > tolerance_mm:
        reason = f"images in one plane have origins {beside_mm:.2f} mm apart"
    elif not is_uniform:
        reason = _why_not_uniform(normal, origins, gaps, gaps_mm, deviation_mm)
    return StackGeometry(
        normal=_triple(normal),
        order=tuple(order.tolist()),
        distinct=tuple(distinct.tolist()),
        distances_mm=tuple(distances.tolist()),
        spacing_mm=regular_mm if is_uniform or not steps else float(np.median(gaps_mm)),
        step_lps=_triple(step),
        tilt_deg=tilt_deg,
        deviation_mm=deviation_mm,
        gaps=gaps,
        duplicates=duplicates,
        is_uniform=is_uniform,
        reason=reason,
    )


def tolerance(spacing_mm: float) -> float:
    """How far, in mm, an image may lie from the regular grid."""
    least_mm = max(POSITION_TOLERANCE_MM, POSITION_TOLERANCE_FRACTION * spacing_mm)
    return min(least_mm, POSITION_TOLERANCE_MOST * spacing_mm) if spacing_mm > 0 else least_mm


def _beside(origins: Float64Array, groups: Sequence[NDArray[np.intp]]) -> float:
    """Largest distance in the plane between images that share a place along the normal: tiles, or another field
    of view."""
    apart = [np.linalg.norm(origins[g] - origins[g[0]], axis=1).max() for g in groups if len(g) > 1]
    return float(max(apart, default=0.0))


def _gaps(gaps_mm: Float64Array, distinct: NDArray[np.intp]) -> tuple[Gap, ...]:
    """Distances well above the usual one, with the number of images that would fill each."""
    usual_mm = float(np.median(gaps_mm))
    found = []
    for index, distance_mm in enumerate(gaps_mm.tolist()):
        if distance_mm > 1.5 * usual_mm:
            missing = round(distance_mm / usual_mm) - 1
            is_whole = abs(distance_mm - (missing + 1) * usual_mm) <= 2 * tolerance(usual_mm)
            found.append(
                Gap(int(distinct[index]), int(distinct[index + 1]), distance_mm, missing if is_whole else None)
            )
    return tuple(found)


def _why_not_uniform(
    normal: Float64Array,
    origins: Float64Array,
    gaps: Sequence[Gap],
    gaps_mm: Float64Array,
    deviation_mm: float,
) -> str:
    usual_mm = float(np.median(gaps_mm))
    others = [mm for mm in gaps_mm.tolist() if mm <= 1.5 * usual_mm]
    regular_else = all(abs(mm - usual_mm) <= 2 * tolerance(usual_mm) for mm in others)
    are_few = len(gaps) <= max(_FEW_GAPS, len(gaps_mm) // 4)
    if gaps and are_few and regular_else and all(gap.missing for gap in gaps):
        places = " and ".join(
            f"between {describe_position(normal, origins[gap.after])}"
            f" and {describe_position(normal, origins[gap.before])[2:]} mm"
            for gap in gaps[:3]
        )
        more = f" and at {len(gaps) - 3} more places" if len(gaps) > 3 else ""
        return f"no image {places}{more} (spacing {usual_mm:.2f} mm)"
    least_mm, most_mm = float(gaps_mm.min()), float(gaps_mm.max())
    if most_mm - least_mm <= 2 * tolerance(usual_mm):
        return f"origins lie up to {deviation_mm:.2f} mm off a straight line (spacing {usual_mm:.2f} mm)"
    return (
        f"spacing varies from {least_mm:.2f} to {most_mm:.2f} mm;"
        f" an image lies {deviation_mm:.2f} mm off the regular grid"
    )


def _triple(vector: Float64Array) -> Triple:
    x, y, z = vector.tolist()
    return x, y, z
