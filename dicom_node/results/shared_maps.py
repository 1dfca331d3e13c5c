"""Label maps that segments share, and what segments share a plane: each is read once for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from dicom_node.results.segments import Numbered
from inference.findings import Labelled


def touching_each(described: Iterable[Numbered]) -> dict[int, list[Numbered]]:
    """By plane, the segments that have a pixel in it."""
    found: dict[int, list[Numbered]] = {}
    for item in described:
        for plane in np.flatnonzero(item.pixels).tolist():
            found.setdefault(plane, []).append(item)
    return found


def value_of(item: Numbered) -> int:
    """Its value in the label map; 0 where it has none."""
    return item.segment.region.value if isinstance(item.segment.region, Labelled) else 0


def has_those_alone(labels: NDArray[np.generic], items: Sequence[Numbered], plane: int) -> bool:
    """True where the labels of a plane are, as they are, the numbers of these segments."""
    if not all(value_of(item) == item.number for item in items):
        return False
    return bool(np.count_nonzero(labels) == sum(int(item.pixels[plane]) for item in items))
