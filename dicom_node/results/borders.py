"""The borders of a mask in one image: every part and every hole, as closed lines between the pixels inside and outside.

Positions are those of SCOORD and of graphic annotations: column and row, 0, 0 being the corner of the first pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Line = NDArray[np.float64]
"""float64 (points, 2) of column and row, the last point being the first."""

FEWEST_SMOOTHED, FEWEST_CORNERS = 12, 4
PASSES = 4
_EXACT = 1e-3

# The way along a pixel's four edges with the inside to the right: right, down, left, up.
_BEGINS = np.array([(0, 0), (0, 1), (1, 1), (1, 0)])
_ENDS = np.roll(_BEGINS, -1, axis=0)


def borders(mask: NDArray[np.bool_], least: float = 0.0, most: int | None = None) -> tuple[list[Line], int]:
    """The closed lines around the parts of a mask (rows, columns), and around the holes in them, the largest first; and how
    many there are.

    Points are the middles of pixel edges, so that a diagonal border is a straight line. Pixels that touch at a corner only
    are parts of their own. Lines that enclose less than `least` of what the largest does are left out, and those beyond
    the first `most`.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return [], 0
    middles, following = _edges(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    chains = _chains(following.tolist())
    areas = _areas(middles, following, chains)
    kept = np.argsort(-areas, kind="stable")[:most]
    middles += (columns[0], rows[0])
    lines = [_closed(_corners(middles[chains[index]])) for index in kept if areas[index] >= least * areas.max()]
    return lines, len(chains)


def _areas(
    middles: NDArray[np.float64], following: NDArray[np.intp], chains: Sequence[Sequence[int]]
) -> NDArray[np.float64]:
    """In pixels, what each chain encloses."""
    order = np.concatenate([np.asarray(chain, np.intp) for chain in chains])
    (x, y), (next_x, next_y) = middles[order].T, middles[following[order]].T
    begins = np.cumsum([0, *(len(chain) for chain in chains[:-1])])
    return np.abs(np.add.reduceat(x * next_y - y * next_x, begins)) / 2


def smoothed(line: Line) -> Line:
    """Without the stairs that pixels make: through the middles between the corners, which lie on the border too.

    A line of few corners stays as it is.
    """
    points = line[:-1]
    return line if len(points) < FEWEST_SMOOTHED else _closed((points + np.roll(points, -1, axis=0)) / 2)


def thinned(line: Line, tolerance: float) -> Line:
    """Some of the points of a line. In each pass every second one may go that lies within `tolerance`, in pixels, of the
    straight line between its neighbours."""
    points = line[:-1]
    for _ in range(PASSES):
        before, after = np.roll(points, 1, axis=0), np.roll(points, -1, axis=0)
        chord, offset = after - before, points - before
        off = np.abs(chord[:, 0] * offset[:, 1] - chord[:, 1] * offset[:, 0])
        goes = off <= tolerance * np.hypot(chord[:, 0], chord[:, 1])
        goes[::2] = False
        if len(points) - np.count_nonzero(goes) < FEWEST_CORNERS:
            break
        points = points[~goes]
    return _closed(points)


def on_border(points: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """bool (points,): which of some positions lie on the lines that `borders` draws.

    Told from the four pixels around the nearest corner, without drawing the lines: two that differ from the two beside
    them have a straight line between them, one that differs from both its neighbours is cut off from edge middle to edge
    middle, and through the middle of each edge between two that differ a line passes in any case.
    """
    padded = np.pad(mask, 1)
    corners = np.rint(points).astype(np.intp)
    inside = ((corners >= 0) & (corners <= (mask.shape[1], mask.shape[0]))).all(axis=1)
    x, y = np.clip(corners, 0, (mask.shape[1], mask.shape[0])).T
    across, down = (points - corners).T
    top_left, top_right, bottom_left, bottom_right = (padded[y + i, x + j] for i in (0, 1) for j in (0, 1))
    left, right = top_left != bottom_left, top_right != bottom_right
    top, bottom = top_left != top_right, bottom_left != bottom_right
    beside, above = np.where(across < 0, left, right), np.where(down < 0, top, bottom)
    horizontal = (np.abs(down) < _EXACT) & left & right & ~top & ~bottom
    vertical = (np.abs(across) < _EXACT) & top & bottom & ~left & ~right
    cut = (np.abs(np.abs(across) + np.abs(down) - 0.5) < _EXACT) & above & beside
    middle = np.where(np.abs(down) < _EXACT, beside, above) & (np.abs(np.abs(across - down) - 0.5) < _EXACT)
    middle &= np.minimum(np.abs(across), np.abs(down)) < _EXACT
    return np.asarray(inside & (horizontal | vertical | cut | middle), np.bool_)


def _edges(part: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The middles of all border edges, and of each the edge that follows it along the border."""
    padded = np.pad(part, 1)
    neighbours = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])
    pixels = [np.argwhere(part & ~neighbour) for neighbour in neighbours]
    ways = np.repeat(np.arange(4), [len(found) for found in pixels])
    at = np.concatenate(pixels)
    begins, ends = at + _BEGINS[ways], at + _ENDS[ways]
    across = part.shape[1] + 1
    leaving = np.full(((part.shape[0] + 1) * across, 4), -1, np.intp)
    leaving[begins @ (across, 1), ways] = np.arange(len(at))
    choices = leaving[ends @ (across, 1)]
    edge = np.arange(len(at))
    # Where two pixels touch at a corner, the right turn stays on the same pixel.
    turns = [choices[edge, (ways + turn) % 4] for turn in (1, 0, 3)]
    following = np.where(turns[0] >= 0, turns[0], np.where(turns[1] >= 0, turns[1], turns[2]))
    return (begins + ends)[:, ::-1] / 2, following


def _chains(following: Sequence[int]) -> list[list[int]]:
    """The closed chains of edges: each edge is followed by one, and follows one."""
    seen, chains = bytearray(len(following)), []
    for first in range(len(following)):
        if seen[first]:
            continue
        chain, at = [], first
        while not seen[at]:
            seen[at] = 1
            chain.append(at)
            at = following[at]
        chains.append(chain)
    return chains


def _corners(points: Line) -> Line:
    """Without the points that lie straight between their neighbours."""
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    bends = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    return np.asarray(points[bends], np.float64)


def _closed(points: Line) -> Line:
    return np.concatenate([points, points[:1]])
