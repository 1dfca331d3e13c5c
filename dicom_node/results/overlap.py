"""Do segments share voxels? A label map cannot show it, and a Segmentation must say it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dicom_node.results.segments import Numbered
from dicom_node.results.shared_maps import value_of
from inference.findings import Labelled


def overlap(segments: Sequence[Numbered]) -> bool:
    """True where two segments share a voxel. Those of one label map can only where they are the same value of it."""
    maps: dict[int, list[Numbered]] = {}
    alone: list[Numbered] = []
    for item in segments:
        if not item.number:
            continue
        if isinstance(item.segment.region, Labelled):
            maps.setdefault(id(item.segment.array), []).append(item)
        else:
            alone.append(item)
    groups = [[item] for item in alone] + list(maps.values())
    if any(len(set(map(value_of, group))) < len(group) for group in maps.values()):
        return True
    return len(groups) > 1 and any(_share_on(groups, plane) for plane in range(len(groups[0][0].pixels)))


def _share_on(groups: Sequence[Sequence[Numbered]], plane: int) -> bool:
    """True where two groups hold the same pixel of one plane."""
    here = [items for group in groups if (items := [item for item in group if item.pixels[plane]])]
    if len(here) < 2:
        return False
    together = np.zeros(here[0][0].shape, np.bool_)
    for items in here:
        together |= _mask(items, plane)
    return bool(np.count_nonzero(together) < sum(int(item.pixels[plane]) for items in here for item in items))


def _mask(items: Sequence[Numbered], plane: int) -> NDArray[np.bool_]:
    """All that segments of one array hold of a plane."""
    if len(items) == 1:
        return items[0].on(plane)
    labels = items[0].array_on(plane)
    known = np.zeros(1 << 8 * labels.itemsize, np.bool_)
    known[[value_of(item) for item in items]] = True
    return np.asarray(known[labels])
