"""From acquired planes to a rectangular grid, and masks back again.

Gantry tilt shears a stack: each image lies in its own plane, shifted within it. Moving each image back within
its plane by a linear interpolation makes the grid rectangular and leaves every slice the slice of one source.
Uneven spacing needs interpolation between neighbours as well. Grids grow so that no acquired pixel is lost;
what was never acquired gets `fill`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from inference import memory
from inference.volume import Volume

_Scalar = TypeVar("_Scalar", bound=np.generic)
_WHOLE_PIXEL = 1e-3
_LARGEST_GROWTH = 4
"""Even spacing makes at most this many slices for each acquired one."""


@dataclass(frozen=True, slots=True, eq=False)
class Resampled:
    """voxels float32 (slices, rows, columns), affine_lps (4, 4), and for each slice the index of the nearest
    acquired plane."""

    voxels: NDArray[np.float32]
    affine_lps: NDArray[np.float64]
    nearest: tuple[int, ...]


def even_spacing(distances_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places of evenly spaced slices between the first and last of uneven ones: at the smallest distance that
    occurs, but no more than four slices for each acquired one."""
    extent_mm = float(distances_mm[-1] - distances_mm[0])
    smallest_mm = float(np.diff(distances_mm).min())
    spacing_mm = max(smallest_mm, extent_mm / (_LARGEST_GROWTH * len(distances_mm)))
    count = int(np.floor(extent_mm / spacing_mm + 1e-6)) + 1
    return np.asarray(distances_mm[0] + spacing_mm * np.arange(count))


def straighten(
    planes: NDArray[np.float32],
    origins_lps: NDArray[np.float64],
    in_plane: NDArray[np.float64],
    distances_mm: NDArray[np.float64],
    targets_mm: NDArray[np.float64],
    *,
    fill: float,
) -> Resampled:
    """Planes (n, rows, columns) with the given origins onto a rectangular grid with slices at targets_mm along
    the normal.

    in_plane: (3, 2), the steps in mm from row to row and from column to column. distances_mm: places of the
    planes along the normal, rising. Between planes and within them the interpolation is linear.
    """
    normal = np.cross(in_plane[:, 1], in_plane[:, 0])
    normal /= np.linalg.norm(normal)
    offsets = origins_lps - origins_lps[0]
    shifts = np.linalg.lstsq(in_plane, (offsets - np.outer(offsets @ normal, normal)).T, rcond=None)[0].T
    lowest = np.floor(shifts.min(axis=0) + _WHOLE_PIXEL)
    shifts -= lowest
    grown = np.ceil(shifts.max(axis=0) - _WHOLE_PIXEL).astype(int)
    rows, columns = planes.shape[1] + int(grown[0]), planes.shape[2] + int(grown[1])

    voxels = memory.VOXELS.array((len(targets_mm), rows, columns), np.float32)
    nearest = []
    for index, target_mm in enumerate(targets_mm):
        after = int(np.clip(np.searchsorted(distances_mm, target_mm), 1, len(distances_mm) - 1))
        before = after - 1
        weight = float((target_mm - distances_mm[before]) / (distances_mm[after] - distances_mm[before]))
        nearest.append(after if weight > 0.5 else before)
        if min(weight, 1 - weight) < _WHOLE_PIXEL:
            voxels[index] = _shifted(planes[nearest[-1]], shifts[nearest[-1]], rows, columns)
        else:
            voxels[index] = (1 - weight) * _shifted(planes[before], shifts[before], rows, columns)
            voxels[index] += weight * _shifted(planes[after], shifts[after], rows, columns)
    np.nan_to_num(voxels, copy=False, nan=fill)

    affine = np.eye(4)
    affine[:3, 0] = normal * (targets_mm[1] - targets_mm[0])
    affine[:3, 1:3] = in_plane
    affine[:3, 3] = origins_lps[0] + in_plane @ lowest + normal * (targets_mm[0] - distances_mm[0])
    return Resampled(voxels, affine, tuple(nearest))


def mask_on_acquired(mask: NDArray[np.bool_], volume: Volume) -> NDArray[np.bool_]:
    """A mask on the volume's grid, on the planes that were acquired: bool (planes, rows, columns), by nearest
    neighbour.

    Planes come in the order of `volume.acquired.sources`; a volume that was not resampled gives the mask back
    as it is.
    """
    if volume.acquired is None:
        return mask
    return np.stack([cut(mask) for cut in cuts(volume)])


@dataclass(frozen=True, slots=True)
class Cut:
    """What an acquired plane shows of an array on the volume's grid: a slice, and within it the pixel that the plane
    begins with (below 0 where it begins outside). rows, columns: None for all of the slice."""

    slice: int
    row: int = 0
    column: int = 0
    rows: int | None = None
    columns: int | None = None

    def __call__(self, array: NDArray[_Scalar], fill: float = 0) -> NDArray[_Scalar]:
        """(rows, columns): a view of the array, or a copy with `fill` around where the plane reaches beyond the grid."""
        whole: NDArray[_Scalar] = array[self.slice]
        if self.rows is None or self.columns is None:
            return whole
        part: NDArray[_Scalar] = whole[
            max(self.row, 0) : max(self.row + self.rows, 0), max(self.column, 0) : max(self.column + self.columns, 0)
        ]
        if part.shape == (self.rows, self.columns):
            return part
        out = np.full((self.rows, self.columns), fill, array.dtype)
        out[max(-self.row, 0) :, max(-self.column, 0) :][: part.shape[0], : part.shape[1]] = part
        return out


def cuts(volume: Volume) -> tuple[Cut, ...]:
    """One for each acquired plane, in the order of the sources, by nearest neighbour."""
    if volume.pictures:
        return tuple(Cut(one.slice, one.row, one.column, one.rows, one.columns) for one in volume.pictures)
    acquired = volume.acquired
    if acquired is None:
        return tuple(Cut(index) for index in range(len(volume.sources)))
    to_grid = np.linalg.inv(volume.affine_lps)
    found = []
    for origin in acquired.origins_lps:
        at, row, column = np.rint((to_grid @ np.append(origin, 1.0))[:3]).astype(int)
        at = min(max(at, 0), volume.voxels.shape[0] - 1)
        found.append(Cut(int(at), int(row), int(column), acquired.rows, acquired.columns))
    return tuple(found)


def _shifted(plane: NDArray[np.float32], shift: NDArray[np.float64], rows: int, columns: int) -> NDArray[np.float32]:
    """The plane moved by `shift` (rows, columns, both >= 0) on a larger grid; NaN outside."""
    moved = _moved(plane, float(shift[0]), rows)
    return np.ascontiguousarray(_moved(moved.T, float(shift[1]), columns).T)


def _moved(plane: NDArray[np.float32], shift: float, length: int) -> NDArray[np.float32]:
    """Move along the first axis: out[i] = plane[i - shift], linear between pixels, NaN outside.

    The outermost pixels reach half a pixel beyond their centres, so each acquired pixel has a voxel nearest to it.
    """
    whole = int(np.floor(shift + _WHOLE_PIXEL))
    part = np.float32(max(shift - whole, 0.0))
    out = np.full((length, plane.shape[1]), np.nan, np.float32)
    if part < _WHOLE_PIXEL:
        out[whole : whole + len(plane)] = plane
    else:
        out[whole + 1 : whole + len(plane)] = (1 - part) * plane[1:] + part * plane[:-1]
        if part <= 0.5:
            out[whole] = plane[0]
        if part >= 0.5:
            out[whole + len(plane)] = plane[-1]
    return out
