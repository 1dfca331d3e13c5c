"""Where findings lie on the images as acquired: points, boxes and contours of the volume's grid, plane by plane.

Positions on an image are those of SCOORD and of graphic annotations (PS3.3 C.18.6.1.2, C.10.5.1.1): column and row,
0, 0 being the corner of the first pixel and 0.5, 0.5 its centre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.findings import Box, Contour, Point
from inference.volume import Volume

Float64Array = NDArray[np.float64]
PIXEL_CENTRE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """A point, or a closed line whose last point is its first, on one acquired plane: float64 (points, 2) of column, row."""

    plane: int
    points: Float64Array


def first_pixels(volume: Volume) -> Float64Array:
    """float64 (planes, 3): where on the volume's grid (slice, row, column) the first pixel of each acquired plane lies."""
    if volume.pictures:
        return np.array([(one.slice, one.row, one.column) for one in volume.pictures], np.float64)
    acquired = volume.acquired
    if acquired is None:
        return np.array([(index, 0.0, 0.0) for index in range(len(volume.sources))], np.float64)
    origins = np.column_stack([acquired.origins_lps, np.ones(len(acquired.origins_lps))])
    return np.asarray((np.linalg.inv(volume.affine_lps) @ origins.T)[:3].T, np.float64)


def shapes(place: Point | Box | Contour, volume: Volume, first: Float64Array | None = None) -> tuple[Shape, ...]:
    """A point and a contour on the nearest plane, a box on each plane that it reaches, in their order.

    A box includes the voxels of both corners, so its lines are those voxels' outer edges. Lines end at the image's border.
    first: what `first_pixels` gives, so that a caller with a thousand places asks for it once.
    """
    first = first_pixels(volume) if first is None else first
    found = [_shape(plane, corners_of(place), first) for plane in planes_of(place, first)]
    if isinstance(place, Point):
        return tuple(found)
    return tuple(Shape(one.plane, np.clip(one.points, 0.0, _size(volume, one.plane))) for one in found)


def _size(volume: Volume, plane: int) -> tuple[int, int]:
    """Columns and rows of an acquired plane."""
    if volume.pictures:
        return volume.pictures[plane].columns, volume.pictures[plane].rows
    rows, columns = (volume.acquired.rows, volume.acquired.columns) if volume.acquired else volume.voxels.shape[1:]
    return columns, rows


def corners_of(place: Point | Box | Contour) -> Float64Array:
    """float64 (points, 2): row and column on the grid of a point, or of the corners of a closed line."""
    if isinstance(place, Point):
        return np.array([place.at[1:]], np.float64)
    if isinstance(place, Contour):
        return np.array([*place.points, place.points[0]], np.float64)
    (_, top, left), (_, bottom, right) = place.first, place.last
    top, left, bottom, right = top - 0.5, left - 0.5, bottom + 0.5, right + 0.5
    return np.array([(top, left), (top, right), (bottom, right), (bottom, left), (top, left)], np.float64)


def planes_of(place: Point | Box | Contour, first: Float64Array) -> list[int]:
    """The planes that a place is drawn on; one at least, the nearest. first: as `first_pixels` gives it."""
    if isinstance(place, Box):
        begin, end = place.first[0], place.last[0]
        reached = np.flatnonzero((first[:, 0] >= begin - 0.5) & (first[:, 0] <= end + 0.5))
        middle = (begin + end) / 2
    else:
        reached, middle = np.zeros(0, np.intp), place.slice if isinstance(place, Contour) else place.at[0]
    if not first[:, 1:].any():
        return reached.tolist() or [int(np.abs(first[:, 0] - middle).argmin())]
    row, column = corners_of(place)[:4].mean(axis=0).tolist()
    slices = np.unique(first[reached, 0]).tolist() or [middle]
    return [_nearest(first, at, row, column) for at in slices]


def key_plane(place: Point | Box | Contour, volume: Volume) -> int:
    """The plane on which a place shows best: of a box, the middle one."""
    found = planes_of(place, first_pixels(volume))
    return found[len(found) // 2]


def _shape(plane: int, points: Float64Array, first: Float64Array) -> Shape:
    """points: float64 (points, 2) of row, column on the grid."""
    return Shape(plane, (points - first[plane, 1:] + PIXEL_CENTRE)[:, ::-1])


def _nearest(first: Float64Array, at: float, row: float, column: float) -> int:
    """The plane that is nearest to a slice; of tiles in one slice, that which holds the row and the column."""
    apart = np.abs(first[:, 0] - at)
    there = np.flatnonzero(apart == apart.min())
    if len(there) == 1:
        return int(there[0])
    begins = first[there, 1:]
    holds = np.flatnonzero((begins <= (row + PIXEL_CENTRE, column + PIXEL_CENTRE)).all(axis=1))
    return int(there[holds[begins[holds].sum(axis=1).argmax()] if len(holds) else 0])
