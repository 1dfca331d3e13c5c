"""From volumes to what a network takes, as the manifest says: turned, resampled, cropped, padded, and scaled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from inference import grid as grids
from inference.errors import InferenceError
from inference.grid import Grid
from inference.recipe import (
    THIS_SERIES,
    Clip,
    Crop,
    Intensity,
    Percentiles,
    Preprocessing,
    Scale,
    Standardise,
)
from inference.volume import Volume

_LARGEST_SHARE = 8
"""A network's image has at most so many times the voxels of the volume that it was made from: a spacing of 0.01 mm is a
mistake, and would take all memory."""
_LEAST_VOXELS = 64**3


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """image: float32 (channels, *grid.size), on the CPU."""

    image: Tensor
    grid: Grid


def prepared(volume: Volume, companions: Mapping[str, Volume], recipe: Preprocessing) -> Prepared:
    """Raises InferenceError where nothing is left to analyse, or more than memory could hold."""
    grid = _grid(volume, recipe)
    image = grids.sampled(torch.from_numpy(volume.voxels), grid, recipe.interpolation, fill=recipe.outside)
    if recipe.crop:
        first, size = _box(image, grid, volume, recipe.crop)
        grid = grids.boxed(grid, first, size)
        image = image[tuple(slice(start, start + length) for start, length in zip(first, size, strict=True))]
    if recipe.size_multiple or recipe.fit:
        grid = grids.fitted(grid, recipe.fit) if recipe.fit else grids.grown(grid, recipe.size_multiple or (1, 1, 1))
        _require_room(grid, volume, "fit")
        image = grids.sampled(torch.from_numpy(volume.voxels), grid, recipe.interpolation, fill=recipe.outside)
    channels = []
    for name in recipe.channels:
        channel = image if name == THIS_SERIES else _companion(volume, companions[name], grid, recipe)
        channels.append(scaled(channel, recipe.intensity))
    return Prepared(channels[0][None] if len(channels) == 1 else torch.stack(channels), grid)


def scaled(image: Tensor, steps: Sequence[Intensity]) -> Tensor:
    """The image with its values changed, step by step."""
    for step in steps:
        image = _step(image, step)
    return image


def _step(image: Tensor, step: Intensity) -> Tensor:
    match step:
        case Clip():
            return image.clamp(step.low, step.high)
        case Scale():
            return _between(image, step.low, step.high, step)
        case Percentiles():
            low, high = np.percentile(image.numpy(), [step.low, step.high])
            return _between(image, float(low), float(high), step)
        case Standardise():
            return _standardised(image, step)


def _between(image: Tensor, low: float, high: float, step: Scale | Percentiles) -> Tensor:
    # An image of one value has no width: it becomes the lower end throughout.
    if high <= low:
        return torch.full_like(image, step.to[0])
    share = (image - low).div_(high - low)
    if step.clip:
        share.clamp_(0.0, 1.0)
    return share if step.to == (0.0, 1.0) else share.mul_(step.to[1] - step.to[0]).add_(step.to[0])


def _standardised(image: Tensor, step: Standardise) -> Tensor:
    if step.mean is not None and step.std is not None:
        return (image - step.mean).div_(step.std)
    counted = image[image != 0] if step.non_zero else image
    if not counted.numel():
        return image
    # The sums of a hundred million values need more than 24 bits.
    values = counted.double()
    deviation = float(values.std(correction=0)) or 1.0
    standardised = (image - float(values.mean())) / deviation
    return torch.where(image != 0, standardised, image) if step.non_zero else standardised


def _grid(volume: Volume, recipe: Preprocessing) -> Grid:
    shape = volume.voxels.shape
    grid = grids.as_acquired((shape[0], shape[1], shape[2]))
    if recipe.axes != "as_acquired":
        grid = grids.oriented(grid, volume.affine_lps, recipe.axes)
    if recipe.spacing_mm:
        grid = grids.spaced(grid, volume.spacing_mm, recipe.spacing_mm)
    if recipe.size:
        grid = grids.resized(grid, recipe.size)
    _require_room(grid, volume, "size" if recipe.size else "spacing_mm")
    return grid


def _require_room(grid: Grid, volume: Volume, key: str) -> None:
    most = _LARGEST_SHARE * max(volume.voxels.size, _LEAST_VOXELS)
    if np.prod(grid.size, dtype=np.float64) > most:
        size, shape = (" x ".join(map(str, of)) for of in (grid.size, volume.voxels.shape))
        raise InferenceError(f"preprocessing.{key} would make {size} voxels of {shape}, more than {most:,}")


def _box(image: Tensor, grid: Grid, volume: Volume, crop: Crop) -> tuple[list[int], list[int]]:
    """First point and size of the box around what lies above the value."""
    above = image > crop.above
    first, size = [], []
    for number, axis in enumerate(grid.axes):
        others = [other for other in range(3) if other != number]
        held = torch.nonzero(above.amax(dim=others)).ravel()
        if not held.numel():
            raise InferenceError(f"no voxel is above {crop.above:g}, so preprocessing.crop leaves nothing to analyse")
        margin = int(np.ceil(crop.margin_mm / (abs(axis.step) * volume.spacing_mm[axis.along]) - 1e-6))
        start = max(int(held[0]) - margin, 0)
        first.append(start)
        size.append(min(int(held[-1]) + margin, axis.size - 1) - start + 1)
    return first, size


def _companion(volume: Volume, companion: Volume, grid: Grid, recipe: Preprocessing) -> Tensor:
    """Another series at the points of the grid, wherever these lie in it."""
    to_volume = np.zeros((4, 4))
    to_volume[3, 3] = 1.0
    for number, axis in enumerate(grid.axes):
        to_volume[axis.along, number] = axis.step
        to_volume[axis.along, 3] = axis.first
    to_companion = np.linalg.inv(companion.affine_lps) @ volume.affine_lps @ to_volume
    found = ndimage.affine_transform(
        companion.voxels,
        to_companion[:3, :3],
        to_companion[:3, 3],
        output_shape=grid.size,
        output=np.float32,
        order=1 if recipe.interpolation == "linear" else 0,
        cval=recipe.outside,
    )
    return torch.from_numpy(found)
