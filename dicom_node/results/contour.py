"""The outline of a mask in one image, as a closed polygon between the pixels inside and those outside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SMALLEST_PART, MOST_PARTS = 0.25, 8


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
    for corner, part in large_parts(mask[top : rows[-1] + 1, left : columns[-1] + 1]):
        vertices = around(part) + corner
        middles = (vertices + np.roll(vertices, -1, axis=0)) / 2
        corners = middles[_turns(middles)]
        joined = _bridged(joined, np.vstack([corners, corners[:1]]))
    return np.ascontiguousarray((joined + np.array([top, left]))[:, ::-1])


def large_parts(mask: NDArray[np.bool_]) -> list[tuple[tuple[int, int], NDArray[np.bool_]]]:
    """The 4-connected regions of a mask that are at least a quarter as large as the largest, holes filled, the largest
    first; eight at most. Each with the row and column where the box around it begins."""
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    order = np.argsort(-sizes, kind="stable")[:MOST_PARTS]
    large = [int(label) for label in order if sizes[label] and sizes[label] >= SMALLEST_PART * sizes.max()]
    boxes = ndimage.find_objects(labels)
    return [
        ((rows.start, columns.start), _filled(labels[rows, columns] == label))
        for label, (rows, columns) in ((label, boxes[label - 1]) for label in large)
    ]


def _filled(part: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """With its holes: all that is not joined to the outside."""
    spaces, _ = ndimage.label(np.pad(~part, 1, constant_values=True))
    return np.asarray((spaces != spaces[0, 0])[1:-1, 1:-1], np.bool_)


def _bridged(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two closed lines as one, which goes over and back between their nearest points."""
    if not len(first):
        return second
    # Of squares all are exact, since coordinates are multiples of a half.
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * (first @ second.T)
    here, there = np.unravel_index(int(squares.argmin()), squares.shape)
    around = np.vstack([second[there:-1], second[: there + 1]])
    return np.vstack([first[: here + 1], around, first[here:]])


def around(component: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The pixel corners around a 4-connected region without holes, in order, float64 (corners, 2) of row and column.

    Walked along, the inside lies to the right. Where two pixels touch at a corner only, the right turn stays on the same
    pixel; such a region has one border, so the walk meets every edge of it once.
    """
    padded = np.pad(component, 1)
    inside, across = padded[1:-1, 1:-1], component.shape[1] + 1
    # Edges to the right, down, left and up: where they are, the corner of the pixel where they start, and the way to the next.
    edges = (
        (inside & ~padded[:-2, 1:-1], 0, 1),
        (inside & ~padded[1:-1, 2:], 1, across),
        (inside & ~padded[2:, 1:-1], across + 1, -1),
        (inside & ~padded[1:-1, :-2], across, -across),
    )
    starts = [np.flatnonzero(np.pad(border, ((0, 1), (0, 1)))) + corner for border, corner, _ in edges]
    ends = np.concatenate([start + way for start, (_, _, way) in zip(starts, edges, strict=True)])
    heading = np.repeat(np.arange(4), [len(start) for start in starts])
    begun = np.full((4, (component.shape[0] + 1) * across), -1, np.int32)
    corners = np.concatenate(starts)
    begun[heading, corners] = np.arange(len(corners))
    turned = begun[(heading + 1) % 4, ends]
    following = np.where(turned >= 0, turned, begun[:, ends].max(axis=0)).tolist()
    path = [0]
    while following[path[-1]]:
        path.append(following[path[-1]])
    return np.stack(np.divmod(corners[path], across), axis=1).astype(np.float64)


def _turns(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """True for each point of a closed line that does not lie straight between its neighbours."""
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    bends = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return np.asarray(bends != 0, np.bool_)
