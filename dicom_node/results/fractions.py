"""Probabilities of a segment as bytes, plane by plane."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dicom_node.results.segments import Numbered

LARGEST = np.float32(255)


def fractions_on(item: Numbered, plane: int) -> NDArray[np.uint8]:
    """uint8 (rows, columns): 255 times the probability, rounded; of a mask, 0 and 255."""
    if item.segment.has_probabilities:
        probabilities = np.asarray(item.array_on(plane), np.float32)
        return np.asarray(np.rint(probabilities * LARGEST).astype(np.uint8))
    return np.asarray(item.on(plane).view(np.uint8) * np.uint8(LARGEST))


def touched(item: Numbered) -> list[int]:
    """The planes in which a fraction is not 0: with probabilities more than those of the mask."""
    if not item.segment.has_probabilities:
        return [int(plane) for plane in np.flatnonzero(item.pixels)]
    planes = range(len(item.pixels))
    return [plane for plane in planes if np.rint(np.float32(item.array_on(plane).max()) * LARGEST) > 0]
