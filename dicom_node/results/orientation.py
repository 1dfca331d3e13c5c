"""How radiologists look at a volume, however it was acquired: three views, their sides, and where a voxel lies in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from inference.volume import Volume

View = Literal["axial", "coronal", "sagittal"]
VIEWS: tuple[View, ...] = ("axial", "coronal", "sagittal")
"""In the order of the axis that each is a slice of: head, back, left."""

SIDES = {"axial": ("R", "L", "A", "P"), "coronal": ("R", "L", "H", "F"), "sagittal": ("A", "P", "H", "F")}
"""What lies to the left, right, top and bottom of the picture."""

_IN_PLANE = {"axial": (1, 2), "coronal": (0, 2), "sagittal": (0, 1)}


@dataclass(frozen=True, slots=True)
class Canonical:
    """How to turn the volume's axes so that they run to the head, to the back and to the left, without resampling.

    An oblique volume is turned to the nearest such axes, and shown as it was acquired. shape and spacing_mm are those
    after the turn.
    """

    axes: tuple[int, ...]
    flips: tuple[slice, ...]
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]

    @classmethod
    def of(cls, volume: Volume) -> Canonical:
        directions = volume.affine_lps[:3, :3] / np.asarray(volume.spacing_mm)
        toward = directions[[2, 1, 0]]  # rows: head, back, left
        axes = max(permutations(range(3)), key=lambda order: sum(abs(toward[i, a]) for i, a in enumerate(order)))
        flips = tuple(slice(None, None, 1 if toward[i, axis] >= 0 else -1) for i, axis in enumerate(axes))
        shape = tuple(volume.voxels.shape[axis] for axis in axes)
        return cls(axes, flips, shape, tuple(volume.spacing_mm[axis] for axis in axes))

    def __call__(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """A view of the array with axes head, back, left."""
        return np.transpose(array, self.axes)[self.flips]

    def place(self, voxel: Sequence[float]) -> tuple[float, ...]:
        """Where (slice, row, column) of the volume is after the turn."""
        return tuple(
            voxel[axis] if flip.step == 1 else size - 1 - voxel[axis]
            for axis, flip, size in zip(self.axes, self.flips, self.shape, strict=True)
        )

    @property
    def acquired(self) -> View:
        """The view that shows the images as they were acquired."""
        return VIEWS[self.axes.index(0)]

    def slice_of(self, index: int) -> int:
        """Which slice of the volume the slice with this index is, in the view as acquired."""
        axis = self.axes.index(0)
        return index if self.flips[axis].step == 1 else self.shape[axis] - 1 - index

    def cut(self, array: NDArray[np.generic], view: View, index: int) -> NDArray[np.generic]:
        """A slice of an array on the volume's grid, as it is looked at: what is in front or at the head comes first."""
        across = VIEWS.index(view)
        plane = self(array)[tuple(index if axis == across else slice(None) for axis in range(3))]
        return plane if view == "axial" else plane[::-1]

    def extent_mm(self, view: View) -> tuple[float, float]:
        """Width and height of a slice."""
        down, right = _IN_PLANE[view]
        return self.shape[right] * self.spacing_mm[right], self.shape[down] * self.spacing_mm[down]

    def at(self, place: Sequence[float], view: View) -> tuple[float, float]:
        """Row and column, in the slice as it is looked at, of what `place` gave; pixel centres are whole numbers."""
        down, right = _IN_PLANE[view]
        row = place[down] if view == "axial" else self.shape[down] - 1 - place[down]
        return row, place[right]
