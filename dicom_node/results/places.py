"""Places of findings on the images that were acquired.

A finding says where it is in indices of the volume's grid. The grid may have been resampled from the images (a tilted
stack made straight, uneven spacing made even), and then its indices are not theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.results.sources import Plane
from inference.findings import Box, Contour, Point
from inference.volume import Volume

Place = Point | Box | Contour


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A place on one acquired plane: a point, or a closed line whose last point is its first.

    points: float64 (points, 2) of column and row in the image, 0, 0 being the corner of the first pixel and 0.5, 0.5 its
    centre (PS3.3 C.18.6.1.2).
    """

    plane: int
    points: NDArray[np.float64]


def first_pixels(volume: Volume) -> NDArray[np.float64]:
    """float64 (planes, 3): the index (slice, row, column) on the volume's grid of each acquired plane's first pixel."""
    if volume.acquired is None:
        indices = np.zeros((len(volume.sources), 3))
        indices[:, 0] = np.arange(len(volume.sources))
        return indices
    to_grid = np.linalg.inv(volume.affine_lps)
    return np.asarray(volume.acquired.origins_lps @ to_grid[:3, :3].T + to_grid[:3, 3])


def drawn(place: Place, first: NDArray[np.float64], planes: Sequence[Plane]) -> list[Drawn]:
    """The place on each plane that it touches, the one that shows it best first. first: of `first_pixels`.

    A point and a contour lie on the nearest plane, a box on all between its corners. What would lie outside of an image
    is moved to its edge.
    """
    match place:
        case Point():
            at = nearest(first, place.at[0])
            return [_on(at, np.asarray([place.at[1:]]), first, planes)]
        case Contour():
            at = nearest(first, place.slice)
            return [_on(at, np.asarray([*place.points, place.points[0]]), first, planes)]
        case Box():
            corners = np.asarray(rectangle(place.first[1:], place.last[1:]))
            return [_on(at, corners, first, planes) for at in _planes_of(place, first)]


def nearest(first: NDArray[np.float64], slice_index: float) -> int:
    """The plane that lies nearest to a slice of the grid, the first of equals."""
    return int(np.abs(first[:, 0] - slice_index).argmin())


def rectangle(first: Sequence[float], last: Sequence[float]) -> list[tuple[float, float]]:
    """(row, column) around two pixels and all between them: corners and the middles between these.

    Eight points, not four: a viewer that takes four for its own rectangle tool would offer to edit it.
    """
    (top, left), (bottom, right) = (np.asarray(first) - 0.5).tolist(), (np.asarray(last) + 0.5).tolist()
    rows, columns = (top, (top + bottom) / 2, bottom), (left, (left + right) / 2, right)
    path = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0))
    return [(rows[down], columns[across]) for down, across in path]


def border(plane: Plane) -> NDArray[np.float64]:
    """Column and row around the whole image."""
    return np.asarray(rectangle((0, 0), (plane.rows - 1, plane.columns - 1)))[:, ::-1] + 0.5


def _planes_of(box: Box, first: NDArray[np.float64]) -> list[int]:
    """Those within the box, the middle one first; the nearest one where it lies between two."""
    low, high = box.first[0] - 0.5, box.last[0] + 0.5
    within = np.flatnonzero((first[:, 0] >= low) & (first[:, 0] < high)).tolist()
    middle = nearest(first, (box.first[0] + box.last[0]) / 2)
    return list(dict.fromkeys([middle, *within]))


def _on(at: int, indices: NDArray[np.float64], first: NDArray[np.float64], planes: Sequence[Plane]) -> Drawn:
    """indices: (points, 2) of row and column on the grid."""
    plane = planes[at]
    points = (indices - first[at, 1:] + 0.5)[:, ::-1]
    return Drawn(at, np.clip(points, 0.0, (plane.columns, plane.rows)))
