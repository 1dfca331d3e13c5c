"""The outline of a mask in one image, as a closed polygon between the pixels inside and those outside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Vertex = tuple[int, int]

SMALLEST_PART, MOST_PARTS = 0.25, 8

_STEPS = {"right": (0, 1), "down": (1, 0), "left": (0, -1), "up": (-1, 0)}
_TURN_RIGHT = {"right": "down", "down": "left", "left": "up", "up": "right"}


def outline(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Closed outline of a mask (rows, columns): float64 (points, 2) of column and row; the last point is the first.

    Coordinates are those of SCOORD (PS3.3 C.18.6.1.2): 0, 0 is the corner of the first pixel, 0.5, 0.5 its centre. The
    points are the middles of the pixel edges between inside and outside, so that a diagonal border is a straight line;
    those on a straight line between their neighbours are left out. Parts that are large beside the largest are all
    outlined, joined by lines without width, so that two lungs are not shown as one; holes are not outlined.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        raise ValueError("an empty mask has no outline")
    top, left = int(rows[0]), int(columns[0])
    joined = np.zeros((0, 2))
    for part in large_parts(mask[top : rows[-1] + 1, left : columns[-1] + 1]):
        vertices = np.asarray(_walk(_edges(part)), np.float64)
        middles = (vertices + np.roll(vertices, -1, axis=0)) / 2
        corners = middles[_turns(middles)]
        joined = _bridged(joined, np.vstack([corners, corners[:1]]))
    return np.ascontiguousarray((joined + np.array([top, left]))[:, ::-1])


def large_parts(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The 4-connected regions of a mask that are at least a quarter as large as the largest, holes filled, the largest
    first; eight at most."""
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    order = np.argsort(-sizes, kind="stable")[:MOST_PARTS]
    large = [int(label) for label in order if sizes[label] and sizes[label] >= SMALLEST_PART * sizes.max()]
    return [np.asarray(ndimage.binary_fill_holes(labels == label), np.bool_) for label in large]


def _bridged(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two closed lines as one, which goes over and back between their nearest points."""
    if not len(first):
        return second
    distances = np.linalg.norm(first[:, None] - second[None], axis=2)
    here, there = np.unravel_index(int(distances.argmin()), distances.shape)
    around = np.vstack([second[there:-1], second[: there + 1]])
    return np.vstack([first[: here + 1], around, first[here:]])


def _edges(component: NDArray[np.bool_]) -> dict[Vertex, list[str]]:
    """Border edges by the pixel corner where they start; walked along, the inside lies to the right."""
    padded = np.pad(component, 1)
    inside = padded[1:-1, 1:-1]
    borders = (
        ("right", inside & ~padded[:-2, 1:-1], (0, 0)),
        ("down", inside & ~padded[1:-1, 2:], (0, 1)),
        ("left", inside & ~padded[2:, 1:-1], (1, 1)),
        ("up", inside & ~padded[1:-1, :-2], (1, 0)),
    )
    edges: dict[Vertex, list[str]] = {}
    for direction, border, (down, right) in borders:
        for row, column in np.argwhere(border).tolist():
            edges.setdefault((row + down, column + right), []).append(direction)
    return edges


def _walk(edges: dict[Vertex, list[str]]) -> list[Vertex]:
    """The corners in order. Where two pixels touch at a corner only, the right turn stays on the same pixel.

    A 4-connected region without holes has one border, so the walk meets every edge once.
    """
    start = min(edges)
    at, heading, path = start, "right", []
    while edges.get(at):
        ways = edges[at]
        right = _TURN_RIGHT[heading]
        heading = right if right in ways else ways[0]
        ways.remove(heading)
        path.append(at)
        down, across = _STEPS[heading]
        at = at[0] + down, at[1] + across
    return path


def _turns(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """True for each point of a closed line that does not lie straight between its neighbours."""
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    bends = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return np.asarray(bends != 0, np.bool_)
