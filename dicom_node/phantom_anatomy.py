"""The anatomy of the chest phantom: a thorax of plain solids, in mm, painted in HU.

Patient coordinates are LPS+ with the origin in the middle of the chest. Nothing here is a measurement of a
person; the sizes are rounded, with every organ that a lung segmentation can stumble over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Image = NDArray[np.float32]

AIR_HU, FAT_HU, MUSCLE_HU, BLOOD_HU, LIVER_HU, BONE_HU, SPINE_HU = -1000, -95, 50, 42, 62, 420, 260
PARENCHYMA_HU = -855
GRAVITY_HU_PER_MM = 0.25
PATCH_HU = -975
TABLE_FOAM_HU, TABLE_SHELL_HU = -930, 30
CARINA_MM = (0.0, 18.0, 28.0)
HILA_MM = {"right": (-43.0, 16.0, -2.0), "left": (45.0, 19.0, -8.0)}
MAIN_BRONCHUS_RADIUS_MM = {"right": 7.0, "left": 6.0}
TRACHEA_RADIUS_MM = 9.0
AIRWAY_WALL_MM = 2.0
SIDE_SIGN = {"right": -1.0, "left": 1.0}

# Centre x (towards the side), y, z and radius of the low-attenuation patches; most lie in the upper lobes.
PATCHES_MM = {
    "right": ((70, -20, 62, 15), (95, 25, 40, 13), (62, 38, 80, 11), (100, -15, -5, 12)),
    "left": (
        (72, -15, 65, 17),
        (98, 15, 35, 16),
        (60, 35, 75, 12),
        (110, 30, -20, 14),
        (85, -38, 20, 12),
        (75, 50, -55, 11),
    ),
}


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Where voxel centres lie: z_mm (slices,), y_mm (rows,), x_mm (columns,)."""

    z_mm: NDArray[np.float32]
    y_mm: NDArray[np.float32]
    x_mm: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.z_mm.size, self.y_mm.size, self.x_mm.size


@dataclass(frozen=True, slots=True)
class Tube:
    """A straight pipe with round ends from start_mm to end_mm."""

    start_mm: tuple[float, float, float]
    end_mm: tuple[float, float, float]
    radius_mm: float


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """HU without noise, and the exact masks behind it; all (slices, rows, columns).

    A lung holds its vessels and lobar bronchi; airways is the air of the trachea and the main bronchi, outside both.
    """

    hu: Image
    right_lung: Mask
    left_lung: Mask
    airways: Mask
    patches: Mask


def build(grid: Grid, rng: np.random.Generator) -> Anatomy:
    """Paint the thorax from outside in: later organs replace earlier ones."""
    hu = np.empty(grid.shape, np.float32)
    lungs = {side: np.empty(grid.shape, np.bool_) for side in SIDE_SIGN}
    for index, z_mm in enumerate(grid.z_mm):
        hu[index] = body_wall(grid, float(z_mm))
        for side, mask in lungs.items():
            mask[index] = lung_outline(grid, float(z_mm), side)
    trachea_and_bronchi = main_airways(float(grid.z_mm.max()))
    for tube in trachea_and_bronchi:
        wall = Tube(tube.start_mm, tube.end_mm, tube.radius_mm + AIRWAY_WALL_MM)
        for mask in lungs.values():
            mask[inside(wall, grid)] = False
    for side, mask in lungs.items():
        hilum = Tube(HILA_MM[side], HILA_MM[side], 14.0)
        mask[inside(hilum, grid)] = False
        hu[mask] = PARENCHYMA_HU
    y_mm = np.broadcast_to(grid.y_mm[None, :, None], grid.shape)
    either = lungs["right"] | lungs["left"]
    hu[either] += GRAVITY_HU_PER_MM * y_mm[either]
    open_lung = either.copy()
    for side in SIDE_SIGN:
        paint_vessels_and_bronchi(hu, open_lung, grid, side, rng)
    airways = paint_airways(hu, grid, trachea_and_bronchi)
    soften(hu)
    patches = paint_patches(hu, open_lung, grid)
    return Anatomy(hu, lungs["right"], lungs["left"], airways, patches)


def smooth_step(value: float, low: float, high: float) -> float:
    """0 below low, 1 above high, and a soft rise between."""
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


def ellipse(grid: Grid, centre_mm: tuple[float, float], radii_mm: tuple[float, float], power: float = 2.0) -> Image:
    """Value of the superellipse's equation on one slice, (rows, columns): below 1 inside."""
    x = (np.abs(grid.x_mm - centre_mm[0]) / radii_mm[0]) ** power
    y = (np.abs(grid.y_mm - centre_mm[1]) / radii_mm[1]) ** power
    return np.asarray(y[:, None] + x[None, :], dtype=np.float32)


def body_wall(grid: Grid, z_mm: float) -> Image:
    """One slice, in HU, of all but lungs, vessels and airways: table, fat, muscle, ribs, spine, organs."""
    hu = np.full((grid.y_mm.size, grid.x_mm.size), AIR_HU, np.float32)
    table = (np.abs(grid.y_mm - 131)[:, None] < 12) & (np.abs(grid.x_mm)[None, :] < 185)
    foam = (np.abs(grid.y_mm - 131)[:, None] < 9) & (np.abs(grid.x_mm)[None, :] < 182)
    hu[table] = TABLE_SHELL_HU
    hu[foam] = TABLE_FOAM_HU
    narrow = smooth_step(z_mm, 85, 155)
    width_mm, depth_mm = 168 - 60 * narrow, 110 - 28 * narrow
    hu[ellipse(grid, (0, 0), (width_mm, depth_mm), 2.3) < 1] = FAT_HU
    hu[ellipse(grid, (0, 0), (width_mm - 14, depth_mm - 12), 2.3) < 1] = MUSCLE_HU
    cage = ellipse(grid, (0, 0), (140 - 60 * narrow, 88 - 28 * narrow), 2.3)
    rib_phase = (z_mm + 0.3 * grid.y_mm[:, None]) % 26
    hu[(cage > 1.02) & (cage < 1.16) & (rib_phase < 9) & (np.abs(grid.x_mm)[None, :] > 24)] = BONE_HU
    if z_mm < 100:
        hu[(np.abs(grid.y_mm + 92)[:, None] < 5) & (np.abs(grid.x_mm)[None, :] < 16)] = BONE_HU
    hu[ellipse(grid, (0, 74), (19, 16)) < 1] = SPINE_HU
    hu[ellipse(grid, (0, 99), (9, 8)) < 1] = 30
    hu[(np.abs(grid.y_mm - 101)[:, None] < 4) & (np.abs(grid.x_mm)[None, :] < 4)] = SPINE_HU
    hu[ellipse(grid, (22, 50), (12, 12)) < 1] = BLOOD_HU
    if z_mm < -60:
        hu[ellipse(grid, (-55, 0), (80, 75)) < 1] = LIVER_HU
    gas = 1 - ((z_mm + 122) / 15) ** 2
    if gas > 0:  # a gas bubble in the stomach, under the left diaphragm
        hu[ellipse(grid, (62, -15), (32, 26)) < gas] = AIR_HU
    return hu


def lung_outline(grid: Grid, z_mm: float, side: str) -> Mask:
    """One slice of a lung: rib cage and apex from outside, mediastinum, heart and diaphragm from inside."""
    sign = SIDE_SIGN[side]
    narrow = smooth_step(z_mm, 85, 155)
    cage = ellipse(grid, (0, 0), (136 - 60 * narrow, 85 - 28 * narrow), 2.3)
    apex = ellipse(grid, (sign * 68, 5), (78, 95)) + ((z_mm + 20) / 145) ** 2
    y, toward_side = grid.y_mm[:, None], sign * grid.x_mm[None, :]
    # Narrow in front, where the two lungs nearly touch; wide at the great vessels and the spine.
    half_width_mm = 2.5 + 27 * np.exp(-(((y - 28) / 42) ** 2)) + 6 * np.exp(-(((y - 75) / 20) ** 2))
    heart = ellipse(grid, (24, -22), (60, 46)) + ((z_mm + 62) / 55) ** 2
    dome_mm = {"right": (-68.0, 62.0), "left": (70.0, 48.0)}[side]
    distance = (grid.x_mm[None, :] - dome_mm[0]) ** 2 + (y + 4) ** 2
    diaphragm_mm = -126 + dome_mm[1] * np.exp(-distance / (2 * 50.0**2))
    inside_lung = (cage < 1) & (apex < 1) & (toward_side > half_width_mm) & (heart > 1) & (z_mm > diaphragm_mm)
    return np.asarray(inside_lung, dtype=np.bool_)


def main_airways(top_mm: float) -> tuple[Tube, ...]:
    """Trachea, right and left main bronchus; the trachea leaves the image at the top."""
    trachea = Tube((0.0, 8.0, top_mm + 20), CARINA_MM, TRACHEA_RADIUS_MM)
    bronchi = [Tube(CARINA_MM, HILA_MM[side], MAIN_BRONCHUS_RADIUS_MM[side]) for side in SIDE_SIGN]
    return (trachea, *bronchi)


def inside(tube: Tube, grid: Grid) -> tuple[NDArray[np.intp], ...]:
    """Indices of the voxels whose centre lies within the tube; only its bounding box is looked at."""
    start, end = np.asarray(tube.start_mm), np.asarray(tube.end_mm)
    low, high = np.minimum(start, end) - tube.radius_mm, np.maximum(start, end) + tube.radius_mm
    ranges = [
        np.flatnonzero((axis >= low[i]) & (axis <= high[i]))
        for axis, i in ((grid.z_mm, 2), (grid.y_mm, 1), (grid.x_mm, 0))
    ]
    if any(indices.size == 0 for indices in ranges):
        return tuple(np.empty(0, np.intp) for _ in range(3))
    z = grid.z_mm[ranges[0]][:, None, None] - start[2]
    y = grid.y_mm[ranges[1]][None, :, None] - start[1]
    x = grid.x_mm[ranges[2]][None, None, :] - start[0]
    along = end - start
    length_squared = float(along @ along)
    t = np.clip((x * along[0] + y * along[1] + z * along[2]) / max(length_squared, 1e-9), 0, 1)
    distance_squared = (x - t * along[0]) ** 2 + (y - t * along[1]) ** 2 + (z - t * along[2]) ** 2
    found = np.nonzero(distance_squared < tube.radius_mm**2)
    return tuple(indices[hits] for indices, hits in zip(ranges, found, strict=True))


def tree(
    start_mm: NDArray[np.float64],
    direction: NDArray[np.float64],
    radius_mm: float,
    length_mm: float,
    rng: np.random.Generator,
) -> list[Tube]:
    """A tree of tubes that fork in two, each generation thinner and shorter, down to 1 mm."""
    if radius_mm < 1.0:
        return []
    end_mm = start_mm + direction * length_mm
    tubes = [Tube(tuple(start_mm), tuple(end_mm), radius_mm)]
    sideways = rng.normal(size=3)
    sideways -= direction * (sideways @ direction)
    sideways /= np.linalg.norm(sideways)
    for turn in (0.55, -0.55):
        onward = direction + turn * sideways
        tubes += tree(end_mm, onward / np.linalg.norm(onward), radius_mm * 0.76, length_mm * 0.86, rng)
    return tubes


def paint_vessels_and_bronchi(hu: Image, open_lung: Mask, grid: Grid, side: str, rng: np.random.Generator) -> None:
    """Vessels and lobar bronchi of one lung, from its hilum outwards; they are drawn within the lung only."""
    hilum = np.asarray(HILA_MM[side])
    sign = SIDE_SIGN[side]
    for toward in ((0.8, -0.3, 0.9), (1.0, 0.3, 0.3), (1.0, -0.4, -0.2), (0.7, 0.35, -0.8), (0.5, 0.6, 0.5)):
        direction = np.asarray((sign * toward[0], toward[1], toward[2]))
        direction /= np.linalg.norm(direction)
        for tube in tree(hilum, direction, 4.0, 36.0, rng):
            paint(hu, open_lung, inside(tube, grid), BLOOD_HU)
        # The bronchus runs beside its artery.
        start, end = hilum + np.array((0, 6.5, 3)), hilum + np.array((0, 8.0, 3)) + direction * 45
        lumen, wall = (Tube(tuple(start), tuple(end), radius_mm) for radius_mm in (2.2, 3.4))
        paint(hu, open_lung, inside(lumen, grid), AIR_HU)
        paint(hu, open_lung, inside(wall, grid), MUSCLE_HU)


def paint(hu: Image, open_lung: Mask, where: tuple[NDArray[np.intp], ...], value_hu: float) -> None:
    """Set the voxels that are still open lung, and close them to what is painted later."""
    within = open_lung[where]
    chosen = tuple(indices[within] for indices in where)
    hu[chosen] = value_hu
    open_lung[chosen] = False


def paint_airways(hu: Image, grid: Grid, tubes: tuple[Tube, ...]) -> Mask:
    """Trachea and main bronchi: all walls first, then the air, so that the pipes open into each other."""
    airways = np.zeros(grid.shape, np.bool_)
    for tube in tubes:
        hu[inside(Tube(tube.start_mm, tube.end_mm, tube.radius_mm + AIRWAY_WALL_MM), grid)] = MUSCLE_HU
    for tube in tubes:
        airways[inside(tube, grid)] = True
    hu[airways] = AIR_HU
    return airways


def soften(hu: Image) -> None:
    """Blur each slice in place, about as much as a smooth kernel does, so that edges have partial volumes."""
    side, middle = np.float32(0.2), np.float32(0.6)
    for plane in hu:
        for axis in (0, 1):
            moved = np.moveaxis(plane, axis, 0)
            inner = middle * moved[1:-1] + side * (moved[:-2] + moved[2:])
            moved[1:-1] = inner


def paint_patches(hu: Image, open_lung: Mask, grid: Grid) -> Mask:
    """Balls of emphysema with sharp edges, so that each voxel's side of -950 HU is known."""
    patches = np.zeros(grid.shape, np.bool_)
    for side, balls in PATCHES_MM.items():
        for toward_side, y, z, radius_mm in balls:
            centre = (SIDE_SIGN[side] * toward_side, float(y), float(z))
            patches[inside(Tube(centre, centre, radius_mm), grid)] = True
    patches &= open_lung
    hu[patches] = PATCH_HU
    return patches
