"""Where the lungs are: two large air-filled spaces behind the chest wall, one on each side.

Found on a coarse grid, where a thousand decisions a second are cheap, and then drawn on the fine one. A voxel belongs
to the lung when more of it is lung than tissue, so the border lies half way between them, at -400 HU. Vessels within a
lung are part of it, the airways that `airways` found are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.models.ct_lung_density.voxels import Voxels

Mask = NDArray[np.bool_]
Image = NDArray[np.float32]
Labels = NDArray[np.int32]

BORDER_HU = -400.0
COARSE_MM = (2.5, 1.5, 1.5)
MIN_LUNG_ML = 300.0
# Gas in stomach and bowel is purer, foam of a table has no chest wall around it.
LUNG_MEAN_HU = (-980.0, -500.0)
MIN_WALL_MM = 8.0
# A further piece, such as a lobe behind a thick fissure, counts when it is this part of its lung.
MIN_PIECE = 0.03
MIN_PIECE_ML = 5.0
# Bowel lies in the lowest part of the lung's height, holds air as pure as the trachea's, and hangs on by a bridge.
BOWEL_LEVEL = 0.35
BOWEL_ABOVE_TRACHEA_HU = 45.0
BOWEL_GAS_PART = 0.2
BRIDGE_MM = 2.0
MAX_OPENING_MM2 = 500.0
RIGHT, LEFT = 1, 2
IN_PLANE = np.array([[[0, 0, 0]] * 3, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0, 0, 0]] * 3], np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class Coarse:
    """The volume on the coarse grid: each voxel is the mean of a block of the fine one, `blocks` voxels large."""

    hu: Image
    blocks: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    @property
    def voxel_ml(self) -> float:
        return float(np.prod(self.spacing_mm)) / 1000.0


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """labels: RIGHT, LEFT or 0 on the coarse grid; or why there are none, as (key, text)."""

    labels: Labels | None = None
    refusal: tuple[str, str] | None = None


def coarsen(voxels: Voxels, spacing_mm: tuple[float, float, float]) -> Coarse:
    """Mean of blocks; voxels beyond the last whole block are left out here, not in the fine result."""
    blocks = tuple(max(1, round(wish / have)) for wish, have in zip(COARSE_MM, spacing_mm, strict=True))
    spacing = tuple(float(block * have) for block, have in zip(blocks, spacing_mm, strict=True))
    whole = blocks[0], blocks[1], blocks[2]
    return Coarse(voxels.pooled(whole), whole, (spacing[0], spacing[1], spacing[2]))


def body_centre_column(coarse: Coarse) -> float:
    """Median column of tissue, in fine voxels: the middle between left and right."""
    columns = np.nonzero((coarse.hu > -200).sum(axis=(0, 1)))[0]
    weights = (coarse.hu > -200).sum(axis=(0, 1))[columns]
    if columns.size == 0:
        return float(coarse.hu.shape[2] * coarse.blocks[2] / 2)
    middle = int(np.searchsorted(np.cumsum(weights), weights.sum() / 2))
    return (float(columns[middle]) + 0.5) * coarse.blocks[2]


def find_lungs(coarse: Coarse, airways: Mask, centre_column: float, trachea_hu: float) -> Found:
    """Label the two lungs. airways: on the coarse grid; what they hold is no lung."""
    air = coarse.hu < BORDER_HU
    outside = open_to_outside(air)
    spaces, count = ndimage.label(air & ~outside & ~airways)
    sizes_ml = np.bincount(spaces.ravel(), minlength=count + 1) * coarse.voxel_ml
    sizes_ml[0] = 0
    likely = [int(n) for n in np.flatnonzero(sizes_ml >= MIN_PIECE_ML) if is_lung(coarse, air, spaces == n)]
    big = [n for n in likely if sizes_ml[n] >= MIN_LUNG_ML / 2]
    if sum(sizes_ml[big]) < MIN_LUNG_ML:
        largest = max((float(sizes_ml[n]) for n in likely), default=0.0)
        text = f"largest air-filled space with lung density within the body is {largest:.0f} mL < {MIN_LUNG_ML:.0f} mL"
        return Found(refusal=("no_lungs", text))
    labels = sides(coarse, spaces, big, centre_column / coarse.blocks[2])
    for number in set(likely) - set(big):
        add_piece(labels, coarse, spaces == number)
    for side in (RIGHT, LEFT):
        remove_bowel_gas(labels, coarse, side, trachea_hu)
    for side, name in ((RIGHT, "right"), (LEFT, "left")):
        volume_ml = float((labels == side).sum()) * coarse.voxel_ml
        if volume_ml < MIN_LUNG_ML:
            return Found(refusal=("one_lung", f"air-filled {name} lung is {volume_ml:.0f} mL < {MIN_LUNG_ML:.0f} mL"))
        open_mm2 = opening_mm2(labels == side, outside, coarse)
        if open_mm2 > MAX_OPENING_MM2:
            text = f"{name} lung reaches the edge of the images: {open_mm2:.0f} mm2 of it lie next to outside air"
            return Found(refusal=("incomplete", text))
    return Found(labels=labels)


def opening_mm2(lung: Mask, outside: Mask, coarse: Coarse) -> float:
    """How much of a lung lies right above or below outside air.

    Behind a chest wall that is nothing. Where a small field of view cuts the lung in some slices, the lung in those
    counts as open to the outside, and borders on what is left of it.
    """
    touching = (lung[1:] & outside[:-1]).sum() + (lung[:-1] & outside[1:]).sum()
    return float(touching) * coarse.spacing_mm[1] * coarse.spacing_mm[2]


def open_to_outside(air: Mask) -> Mask:
    """Air that reaches the edge of its slice. Slice by slice, since the airways end in the open at the mouth."""
    labels, count = ndimage.label(air, IN_PLANE)
    outside = np.zeros(count + 1, np.bool_)
    for edge in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        outside[edge.ravel()] = True
    outside[0] = False
    return np.asarray(outside[labels], dtype=np.bool_)


def is_lung(coarse: Coarse, air: Mask, space: Mask) -> bool:
    """Density of aerated lung, and a chest wall all around it."""
    mean_hu = float(coarse.hu[space].mean(dtype=np.float64))
    if not LUNG_MEAN_HU[0] < mean_hu < LUNG_MEAN_HU[1]:
        return False
    for axis in (1, 2):
        tissue_mm = np.cumsum(~air, axis=axis, dtype=np.int32) * coarse.spacing_mm[axis]
        whole_mm = np.take(tissue_mm, [-1], axis=axis)
        before, beyond = tissue_mm[space].mean(), (whole_mm - tissue_mm)[space].mean()
        if min(before, beyond) < MIN_WALL_MM:
            return False
    return True


def sides(coarse: Coarse, spaces: Labels, big: list[int], centre: float) -> Labels:
    """Right and left: by where each space lies, or, where one space is both lungs, by cutting it where it is thinnest."""
    labels = np.zeros(spaces.shape, np.int32)
    for number in big:
        space = spaces == number
        columns = np.nonzero(space.sum(axis=(0, 1)))[0]
        weights = space.sum(axis=(0, 1))[columns]
        left_part = float(weights[columns >= centre].sum() / weights.sum())
        if 0.2 < left_part < 0.8:
            labels[space] = cut(space, coarse, centre)[space]
        else:
            labels[space] = LEFT if left_part >= 0.5 else RIGHT
    return labels


def cut(space: Mask, coarse: Coarse, centre: float) -> Labels:
    """Erode, slice by slice, until the two lungs part; then give every voxel to the nearer remainder."""
    # Slices count as far apart, so that the distance is that within the slice.
    sampling = (1e3, coarse.spacing_mm[1], coarse.spacing_mm[2])
    depth_mm = ndimage.distance_transform_edt(space, sampling=sampling)
    halves = np.zeros(space.shape, np.int32)
    for radius_mm in (1.6, 2.3, 3.2, 4.6, 6.5, 9.0, 12.0):
        cores, count = ndimage.label(depth_mm > radius_mm)
        sizes = np.bincount(cores.ravel(), minlength=count + 1)
        sizes[0] = 0
        large = np.flatnonzero(sizes > 0.15 * sizes.sum())
        middles = [float(np.nonzero(cores == n)[2].mean()) for n in large]
        if len(large) >= 2 and min(middles) < centre < max(middles):
            for number, middle in zip(large, middles, strict=True):
                halves[cores == number] = LEFT if middle > centre else RIGHT
            break
    else:
        halves[depth_mm > 0] = RIGHT
        halves[:, :, round(centre) :][depth_mm[:, :, round(centre) :] > 0] = LEFT
        return halves
    nearest = ndimage.distance_transform_edt(
        halves == 0, sampling=coarse.spacing_mm, return_distances=False, return_indices=True
    )
    return np.asarray(halves[tuple(nearest)], dtype=np.int32)


def add_piece(labels: Labels, coarse: Coarse, piece: Mask) -> None:
    """A further part of a lung that a thick fissure or a slab of collapse cuts off; never gas below the lungs."""
    level, _, column = (float(index.mean()) for index in np.nonzero(piece))
    columns = {side: float(np.nonzero(labels == side)[2].mean()) for side in (RIGHT, LEFT) if (labels == side).any()}
    side = min(columns, key=lambda one: abs(columns[one] - column))
    lung = labels == side
    large_enough = piece.sum() >= MIN_PIECE * lung.sum()
    if large_enough and level > level_in(lung, BOWEL_LEVEL) and coarse.hu[piece].mean() > -950:
        labels[piece] = side


def level_in(lung: Mask, part: float) -> float:
    """Slice index at this part of the lung's height, from its base."""
    levels = np.flatnonzero(lung.any(axis=(1, 2)))
    return float(levels[0] + part * (levels[-1] - levels[0]))


def remove_bowel_gas(labels: Labels, coarse: Coarse, side: int, trachea_hu: float) -> None:
    """Take out, in place, gas below the diaphragm where it is so thin that its two sides seem one space.

    The space is eroded until such a bridge parts. A part that lies low and holds air as pure as that of the trachea
    is bowel or stomach; it goes, with every voxel that lies nearer to it than to lung.
    """
    lung = labels == side
    if not lung.any():
        return
    box = ndimage.find_objects(lung.astype(np.uint8))[0]
    space = np.pad(lung[box], 1)
    sampling = (1e3, coarse.spacing_mm[1], coarse.spacing_mm[2])
    cores, count = ndimage.label(ndimage.distance_transform_edt(space, sampling=sampling) > BRIDGE_MM)
    numbers = np.arange(1, count + 1)
    sizes = np.bincount(cores.ravel(), minlength=count + 1)[1:]
    pure = np.pad(coarse.hu[box], 1) < trachea_hu + BOWEL_ABOVE_TRACHEA_HU
    levels = ndimage.mean(np.arange(space.shape[0])[:, None, None] + np.zeros(space.shape), cores, numbers)
    low = levels < level_in(space, BOWEL_LEVEL)
    gas = low & (sizes < 0.2 * sizes.max()) & (ndimage.mean(pure, cores, numbers) > BOWEL_GAS_PART)
    if not gas.any():
        return
    nearest = ndimage.distance_transform_edt(
        cores == 0, sampling=coarse.spacing_mm, return_distances=False, return_indices=True
    )
    is_gas = np.concatenate(([False], gas))[cores[tuple(nearest)]]
    labels[box][(is_gas & space)[1:-1, 1:-1, 1:-1]] = 0
