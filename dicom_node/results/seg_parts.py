"""Which pictures go into one Segmentation: its frames are of one size, and images that are taken one by one need not be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dicom_node.results.scene import Scene
from dicom_node.results.segments import Numbered


def parts(scene: Scene) -> Sequence[Scene]:
    """Of a volume, all in one object. Of pictures, an object for each size on which anything was found."""
    if not scene.is_analysed or not scene.volume.pictures:
        return (scene,)
    alike: dict[tuple[int, int], list[int]] = {}
    for index, plane in enumerate(scene.planes):
        alike.setdefault((plane.rows, plane.columns), []).append(index)
    found = [_part(scene, indices) for indices in alike.values()]
    held = [part for part in found if any(item.number for item in part.segments)]
    if len(held) < 2:
        return held
    return [replace(part, part=str(number)) for number, part in enumerate(held, start=1)]


def _part(scene: Scene, indices: Sequence[int]) -> Scene:
    """Those planes alone, and the segments on them, numbered anew."""
    segments, number = [], 0
    for item in scene.segments:
        pixels = item.pixels[np.asarray(indices)]
        number += bool(pixels.any())
        segments.append(
            Numbered(
                segment=item.segment,
                number=number if pixels.any() else 0,
                pixels=pixels,
                rows=item.rows[np.asarray(indices)],
                cuts=tuple(item.cuts[index] for index in indices),
            )
        )
    return replace(scene, planes=tuple(scene.planes[index] for index in indices), segments=tuple(segments))
