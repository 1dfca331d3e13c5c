"""The grid that a model sees, and how it lies in the volume: turned, flipped, cropped, resampled and padded, in one.

Each axis of the model's grid runs along one axis of the volume, forwards or backwards: index i of the one is index
`first + step * i` of the other, a float. So every way of preparing a volume is six numbers and an order of axes, and leads
back as surely as it leads there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Interpolation = Literal["linear", "nearest"]

# Of direction letters and axes of the patient (LPS+): the end that an axis runs to, as in nibabel and MONAI.
_ENDS = {"R": (0, -1), "L": (0, 1), "A": (1, -1), "P": (1, 1), "I": (2, -1), "S": (2, 1)}
_HALF = 0.5
_AT_ONCE = 512 * 512
"""Of so many voxels planes are resampled at a time, one at least."""


@dataclass(frozen=True, slots=True)
class Axis:
    """along: the volume's axis (0 slices, 1 rows, 2 columns). first, step: in its indices. size: how many points."""

    along: int
    first: float
    step: float
    size: int

    def indices(self) -> NDArray[np.float64]:
        """float64 (size,): where its points lie on the volume's axis."""
        return self.first + self.step * np.arange(self.size, dtype=np.float64)

    def part(self, start: int, size: int) -> Axis:
        """From one of its points on, so many; they may lie outside of it."""
        return replace(self, first=self.first + self.step * start, size=size)


@dataclass(frozen=True, slots=True)
class Grid:
    """axes: those of the model's array, in its order. shape: of the volume."""

    axes: tuple[Axis, Axis, Axis]
    shape: tuple[int, int, int]

    @property
    def size(self) -> tuple[int, int, int]:
        first, second, third = self.axes
        return first.size, second.size, third.size

    def index_in_volume(self, index: Sequence[float]) -> tuple[float, float, float]:
        """(slice, row, column) of a place given in indices of the grid."""
        place = [0.0, 0.0, 0.0]
        for axis, at in zip(self.axes, index, strict=True):
            place[axis.along] = axis.first + axis.step * at
        return place[0], place[1], place[2]


def as_acquired(shape: tuple[int, int, int]) -> Grid:
    """The volume's own: slices, rows, columns."""
    first, second, third = (Axis(axis, 0.0, 1.0, size) for axis, size in enumerate(shape))
    return Grid((first, second, third), shape)


def oriented(grid: Grid, affine_lps: NDArray[np.float64], letters: str) -> Grid:
    """The grid with axes that run towards the ends that three letters name ("RAS": to the right, the front, the head).

    Each axis of the volume counts for that axis of the patient which it is nearest to; nothing is rotated. affine_lps: of
    the volume. Raises ValueError for letters that do not name three directions.
    """
    wanted = [_ENDS.get(letter, (-1, 0)) for letter in letters]
    if sorted(axis for axis, _ in wanted) != [0, 1, 2]:
        raise ValueError(f"axes must name one end each of right-left, front-back and foot-head, but are {letters!r}")
    directions = affine_lps[:3, :3] / np.linalg.norm(affine_lps[:3, :3], axis=0)
    nearest = _nearest_axes(directions)
    axes = []
    for patient_axis, sign in wanted:
        axis = next(one for one in grid.axes if nearest[one.along] == patient_axis)
        runs = np.sign(directions[patient_axis, axis.along]) * np.sign(axis.step)
        if runs != sign:
            axis = Axis(axis.along, axis.first + axis.step * (axis.size - 1), -axis.step, axis.size)
        axes.append(axis)
    return Grid((axes[0], axes[1], axes[2]), grid.shape)


def _nearest_axes(directions: NDArray[np.float64]) -> list[int]:
    """For each axis of the volume that of the patient, no two the same: the surest first."""
    left = np.abs(directions)
    found = [0, 0, 0]
    for _ in range(3):
        patient, own = np.unravel_index(int(left.argmax()), left.shape)
        found[own] = int(patient)
        left[patient, :] = left[:, own] = -1
    return found


def spaced(grid: Grid, spacing_mm: tuple[float, float, float], wanted_mm: Sequence[float]) -> Grid:
    """The grid with other distances of points; the first point of each axis stays, and the last is not passed.

    spacing_mm: of the volume's axes. wanted_mm: of the grid's axes, in its order.
    """
    axes = []
    for axis, wanted in zip(grid.axes, wanted_mm, strict=True):
        extent = abs(axis.step) * (axis.size - 1)
        step = wanted / spacing_mm[axis.along]
        axes.append(Axis(axis.along, axis.first, float(np.copysign(step, axis.step)), int(extent / step + 1e-6) + 1))
    return Grid((axes[0], axes[1], axes[2]), grid.shape)


def resized(grid: Grid, size: Sequence[int]) -> Grid:
    """The grid with so many points along each axis: edges of the outermost voxels stay where they are (MONAI's Resize)."""
    axes = []
    for axis, many in zip(grid.axes, size, strict=True):
        scale = axis.size / many
        axes.append(Axis(axis.along, axis.first + axis.step * (scale / 2 - _HALF), axis.step * scale, many))
    return Grid((axes[0], axes[1], axes[2]), grid.shape)


def fitted(grid: Grid, size: Sequence[int]) -> Grid:
    """The grid cut or padded on both sides to so many points along each axis (MONAI's ResizeWithPadOrCrop)."""
    starts = [
        axis.size // 2 - many // 2 if many < axis.size else -((many - axis.size) // 2)
        for axis, many in zip(grid.axes, size, strict=True)
    ]
    return boxed(grid, starts, size)


def boxed(grid: Grid, first: Sequence[int], size: Sequence[int]) -> Grid:
    """Part of the grid from the point `first` on, or more than it: what lies outside the volume is padding."""
    axes = [axis.part(start, length) for axis, start, length in zip(grid.axes, first, size, strict=True)]
    return Grid((axes[0], axes[1], axes[2]), grid.shape)


def grown(grid: Grid, multiple_of: Sequence[int]) -> Grid:
    """The grid padded on both sides until each axis has a multiple of so many points."""
    sizes = [-(-axis.size // many) * many for axis, many in zip(grid.axes, multiple_of, strict=True)]
    return boxed(grid, [-((size - axis.size) // 2) for axis, size in zip(grid.axes, sizes, strict=True)], sizes)


def sampled(voxels: Tensor, grid: Grid, interpolation: Interpolation, *, fill: float) -> Tensor:
    """The volume at the grid's points: (slices, rows, columns) to the grid's size, in the volume's dtype.

    Points further than half a voxel outside the volume are `fill`. Where the grid is the volume's own, what comes is the volume.
    """
    points: list[NDArray[np.float64]] = [np.empty(0)] * 3
    for axis in grid.axes:
        points[axis.along] = axis.indices()
    # In the order in which the volume lies in memory; only what has become small is turned.
    found = _resampled(voxels, points, interpolation, fill)
    return found.permute([axis.along for axis in grid.axes]).contiguous()


def returned(values: Tensor, grid: Grid, interpolation: Interpolation, *, fill: float) -> Tensor:
    """Values at the grid's points at those of the volume: the grid's size to (slices, rows, columns)."""
    order = [axis.along for axis in grid.axes]
    turned = values.permute([order.index(axis) for axis in range(3)]).contiguous()
    points: list[NDArray[np.float64]] = [np.empty(0)] * 3
    for axis in grid.axes:
        points[axis.along] = (np.arange(grid.shape[axis.along], dtype=np.float64) - axis.first) / axis.step
    return _resampled(turned, points, interpolation, fill)


def _resampled(
    values: Tensor, points: Sequence[NDArray[np.float64]], interpolation: Interpolation, fill: float
) -> Tensor:
    """The values at points (indices) of each of three axes.

    Axes that get shorter come first, so that all others have less to do; of those that get longer the last one comes first, so
    that whole rows and planes are copied in the end. It is done for some planes at a time, which stay in the processor's cache.
    """
    lines = [_line(one, values.shape[axis], interpolation, values) for axis, one in enumerate(points)]
    shorter = [axis for axis in range(3) if len(points[axis]) <= values.shape[axis]]
    longer = [axis for axis in (2, 1, 0) if axis not in shorter]
    order = [axis for axis in (*shorter, *longer) if not lines[axis].is_all]
    if not order:
        return values
    planes_last = order[-1] == 0
    if planes_last:
        for axis in order[:-1]:
            values = lines[axis].of(values, axis, fill)
        order = []
    elif order[0] == 0:
        order = order[1:]
    found = values.new_empty([len(one) for one in points])
    planes = max(1, _AT_ONCE // max(values[0].numel(), found[0].numel(), 1))
    for first in range(0, len(found), planes):
        part = lines[0].part(slice(first, first + planes)).of(values, 0, fill)
        for axis in order:
            part = lines[axis].of(part, axis, fill)
        found[first : first + planes] = part
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    """What each point of an axis is made of: the value at `lower`, and of that at `upper` a share of `weights`.

    Without weights it is the one at `lower` alone. outside: which points have no value. is_all: whether the points are those
    that are there; first: the one that this begins with, then.
    """

    lower: Tensor
    upper: Tensor | None
    weights: Tensor | None
    outside: NDArray[np.bool_]
    is_all: bool
    first: int = 0

    def part(self, chosen: slice) -> _Line:
        upper = None if self.upper is None else self.upper[chosen]
        weights = None if self.weights is None else self.weights[chosen]
        return _Line(self.lower[chosen], upper, weights, self.outside[chosen], self.is_all, chosen.start)

    def of(self, values: Tensor, axis: int, fill: float) -> Tensor:
        if self.is_all:
            return values.narrow(axis, self.first, len(self.lower))
        found = values.index_select(axis, self.lower)
        if self.upper is not None and self.weights is not None:
            weights = self.weights.view([-1 if other == axis else 1 for other in range(values.ndim)])
            found = torch.lerp(found, values.index_select(axis, self.upper), weights)
        if self.outside.any():
            found.index_fill_(axis, _indices(np.flatnonzero(self.outside), values.device), fill)
        return found


def _line(points: NDArray[np.float64], size: int, interpolation: Interpolation, values: Tensor) -> _Line:
    """The points (indices) of an axis with so many values."""
    device = values.device
    is_all = len(points) == size and np.array_equal(points, np.arange(size))
    outside = (points < -_HALF - 1e-6) | (points > size - _HALF + 1e-6)
    held = np.clip(points, 0, size - 1)
    lower = np.floor(held + 1e-9)
    weights = np.clip(held - lower, 0, 1)
    if interpolation == "nearest" or not np.any(weights > 1e-6):
        # What lies half-way between two belongs to the one at the higher index, whatever rounding made of it.
        nearest = np.clip(np.floor(points + _HALF + 1e-6), 0, size - 1)
        return _Line(_indices(nearest, device), None, None, outside, is_all)
    upper = _indices(np.minimum(lower + 1, size - 1), device)
    return _Line(
        _indices(lower, device), upper, torch.as_tensor(weights, dtype=values.dtype, device=device), outside, is_all
    )


def _indices(numbers: NDArray[np.generic], device: torch.device) -> Tensor:
    return torch.as_tensor(numbers.astype(np.int64), device=device)
