"""From a picture, or the frames of a clip, to what a network takes: in grey or colour, scaled, padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from inference import grid as grids
from inference.errors import InferenceError
from inference.grid import Axis, Grid
from inference.picture_contract import PictureContract
from inference.preparing import Prepared, scaled
from inference.recipe import Clip, Intensity, Preprocessing, Scale, Standardise
from inference.volume import Picture, Volume

MOST_AT_ONCE = 1 << 26
"""Pixels of a picture that are prepared as a whole; a larger one is scaled window by window."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What is shown to the network at once: pictures by their number, and the box of the volume that holds them.

    is_clip: whether the network sees the frames as an axis.
    """

    pictures: tuple[int, ...]
    first: tuple[int, int, int]
    size: tuple[int, int, int]
    is_clip: bool

    @property
    def box(self) -> tuple[slice, ...]:
        return tuple(slice(start, start + size) for start, size in zip(self.first, self.size, strict=True))


def prepared(volume: Volume, shown: Shown, recipe: Preprocessing, contract: PictureContract) -> Prepared:
    """image: float32 (channels, rows, columns), of a clip (channels, frames, rows, columns). Its grid has the axes rows,
    columns, slice, of a clip slices, rows, columns, in the box that is shown.

    Raises InferenceError where a spacing is wanted and the picture states none.
    """
    image = _channels(volume, shown, contract)
    grid = _scaled_grid(volume.pictures[shown.pictures[0]], shown, recipe)
    rows, columns = grid.axes[-2:] if shown.is_clip else grid.axes[:2]
    image = _resized(image, (rows.size, columns.size), recipe)
    if recipe.size_multiple:
        grid, image = _padded(grid, image, shown, recipe)
    image = torch.stack([scaled(channel, recipe.intensity) for channel in image])
    return Prepared(image if shown.is_clip else image[:, 0], grid)


def is_by_windows(shown: Shown, recipe: Preprocessing) -> bool:
    """Whether a picture is so large that it is not made a tensor of numbers as a whole.

    Raises InferenceError where its preprocessing would need that.
    """
    if shown.is_clip or shown.size[1] * shown.size[2] <= MOST_AT_ONCE:
        return False
    if recipe.size or recipe.spacing_mm or recipe.size_multiple or not all(map(_is_of_each_pixel, recipe.intensity)):
        raise InferenceError(
            f"an image of {shown.size[1]} x {shown.size[2]} pixels is prepared window by window: preprocessing may clip and"
            " scale between given values, and use.mode must be windows"
        )
    return True


def _is_of_each_pixel(step: Intensity) -> bool:
    return isinstance(step, Clip | Scale) or (isinstance(step, Standardise) and step.mean is not None)


def unscaled(volume: Volume, shown: Shown, contract: PictureContract) -> Prepared:
    """(channels, rows, columns) as stored; of colours uint8, so that a slide takes no more room than it has."""
    return Prepared(_channels(volume, shown, contract, as_stored=True)[:, 0], _scaled_grid(None, shown, None))


def _channels(volume: Volume, shown: Shown, contract: PictureContract, *, as_stored: bool = False) -> Tensor:
    """(channels, slices, rows, columns) of the box."""
    grey: NDArray[np.float32] = volume.voxels[shown.box]
    if contract.color == "grey":
        return torch.from_numpy(grey)[None]
    if volume.colors is None or not volume.pictures[shown.pictures[0]].is_color:
        return torch.from_numpy(grey)[None].expand(3, -1, -1, -1)
    rgb = torch.from_numpy(volume.colors[shown.box]).permute(3, 0, 1, 2)
    return rgb if as_stored else rgb.float()


def _scaled_grid(picture: Picture | None, shown: Shown, recipe: Preprocessing | None) -> Grid:
    slices, rows, columns = shown.size
    wanted = (rows, columns)
    if recipe and recipe.size:
        wanted = recipe.size[-2], recipe.size[-1]
    elif recipe and picture and recipe.spacing_mm:
        if picture.pixel_spacing_mm is None:
            raise InferenceError(
                f"{picture.source.sop_instance_uid} does not say how large its pixels are, and preprocessing.spacing_mm"
                " asks for it: with input.max_pixel_spacing_mm such images are set aside"
            )
        ratios = [has / wants for has, wants in zip(picture.pixel_spacing_mm, recipe.spacing_mm[-2:], strict=True)]
        wanted = max(1, round(rows * ratios[0])), max(1, round(columns * ratios[1]))
    down, across = _axis(1, rows, wanted[0]), _axis(2, columns, wanted[1])
    along = Axis(0, 0.0, 1.0, slices)
    return Grid((along, down, across) if shown.is_clip else (down, across, along), shown.size)


def _axis(along: int, size: int, wanted: int) -> Axis:
    """So many points, each in the middle of its share of the pixels."""
    step = size / wanted
    return Axis(along, (step - 1) / 2, step, wanted)


def _resized(image: Tensor, size: Sequence[int], recipe: Preprocessing) -> Tensor:
    """Rows and columns to this size; where it is smaller, what lies between is averaged in."""
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    frames = image.transpose(0, 1)
    if recipe.interpolation == "nearest":
        return functional.interpolate(frames, list(size), mode="nearest-exact").transpose(0, 1)
    return functional.interpolate(frames, list(size), mode="bilinear", antialias=True).transpose(0, 1)


def _padded(grid: Grid, image: Tensor, shown: Shown, recipe: Preprocessing) -> tuple[Grid, Tensor]:
    """On both sides, until rows and columns are multiples."""
    down, across = recipe.size_multiple[-2:] if recipe.size_multiple else (1, 1)
    found = grids.grown(grid, (1, down, across) if shown.is_clip else (down, across, 1))
    pads = []
    for number in (2, 1) if shown.is_clip else (1, 0):
        more = found.axes[number].size - grid.axes[number].size
        pads += [more // 2, more - more // 2]
    return found, functional.pad(image, pads, value=recipe.outside)
