"""Any array order to one: first axis to the head, second to the back, third to the left of the patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from inference.models.ct_lung_density.regions import Mask, blank, box_of
from inference.volume import Volume

Scalar = TypeVar("Scalar", bound=np.generic)

# Rows of an LPS+ affine, in the order of our axes: to the head is +z, to the back +y, to the left +x.
PATIENT_ROWS = (2, 1, 0)


@dataclass(frozen=True, slots=True)
class Orientation:
    """axes[i] is the array axis that runs along our axis i; flipped[i] says that it runs against it.

    spacing_mm: along our three axes.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    spacing_mm: tuple[float, float, float]

    def view(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """The same voxels in our order; no copy."""
        turned = np.transpose(array, self.axes)
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]

    def back(self, mask: Mask) -> Mask:
        """From our order to that of the volume."""
        if self.axes == (0, 1, 2) and not any(self.flipped):
            return mask
        found, box = blank(tuple(mask.shape[self.axes.index(axis)] for axis in range(3))), box_of(mask)
        self.view(found)[box] = mask[box]
        return found


def orientation_of(volume: Volume) -> Orientation:
    """Match array axes with patient axes by their directions, strongest first, each once."""
    steps = volume.affine_lps[:3, :3]
    spacing = volume.spacing_mm
    cosines = steps / np.asarray(spacing)
    axes, flipped = [-1, -1, -1], [False, False, False]
    strength = np.abs(cosines)
    for _ in range(3):
        row, column = np.unravel_index(int(np.argmax(strength)), strength.shape)
        ours = PATIENT_ROWS.index(int(row))
        axes[ours], flipped[ours] = int(column), bool(cosines[row, column] < 0)
        strength[row, :] = -1
        strength[:, column] = -1
    first, second, third = axes
    return Orientation(
        (first, second, third),
        (flipped[0], flipped[1], flipped[2]),
        (spacing[first], spacing[second], spacing[third]),
    )
