"""Masks of which most is empty: where there is something, and memory for no more than that."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference import memory

Mask = NDArray[np.bool_]
Box = tuple[slice, ...]


def blank(shape: tuple[int, ...]) -> Mask:
    """An empty mask, to be written to within a box: memory is taken for the pages that are written to, and no others."""
    return memory.zeros(shape, np.bool_)


def box_of(mask: Mask) -> Box:
    """The smallest box (slices, rows, columns) around all that is set; one of no voxels where nothing is."""
    slices = _extent(mask, (1, 2))
    plane = np.logical_or.reduce(mask[slices], axis=0, keepdims=True)
    return slices, _extent(plane, (0, 2)), _extent(plane, (0, 1))


def _extent(mask: Mask, across: tuple[int, int]) -> slice:
    found = np.flatnonzero(mask.any(axis=across))
    return slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0, 0)
