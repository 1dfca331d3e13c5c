"""Trachea and main bronchi: followed from slice to slice, from the neck downwards.

Between air and airway wall lies the whole range of HU, between bronchus and lung sometimes nothing but a wall thinner
than a slice. So each cross-section is taken at the highest threshold at which it stays a pipe, and where none does
the bronchus has entered the lung, and the way ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.models.ct_lung_density.regions import Mask, blank, box_of

Image = NDArray[np.float32]

# From half way between air (-1000) and wall (50) down to almost pure air.
THRESHOLDS_HU = (-475.0, -650.0, -750.0, -825.0, -875.0, -910.0, -940.0, -960.0)
TRACHEA_AREA_MM2 = (60.0, 750.0)
MIN_TRACHEA_LENGTH_MM = 30.0
MAX_OFF_CENTRE_MM = 50.0
MAX_ELONGATION = 2.5
MIN_BRONCHUS_AREA_MM2 = 8.0
# The carina is as wide as two bronchi and the cleft between them.
MAX_AREA_GROWTH = 2.6
# A pipe holds air: its darkest tenth is not far from the air in the trachea.
MAX_ABOVE_TRACHEA_HU = 90.0
# Around a main bronchus lies tissue, around a bronchus within the lung, and around a leak, lung.
MIN_SURROUNDING_HU = -600.0
SURROUNDING_MM = 3.0
# Noise of a sharp kernel breaks lung into specks; blurred by this it stays one piece, which is too large for a pipe.
BLUR_MM = 1.0
BELOW_CARINA_MM = 90.0


@dataclass(frozen=True, slots=True, eq=False)
class Airways:
    """mask: the air, (slices, rows, columns), slices towards the head. trachea_hu: median of the air in it.

    parted: the way down went past the carina, into main bronchi.
    """

    mask: Mask
    trachea_hu: float
    length_mm: float
    parted: bool


def find_airways(hu: Image, spacing_mm: tuple[float, float, float], centre_column: float) -> Airways | None:
    """Follow the trachea from the highest slice in which it can be; None where nothing is one.

    hu: (slices, rows, columns), towards head, back and left. Several beginnings are tried, since pharynx and oesophagus
    may look alike in one slice; the longest way wins.
    """
    best: Airways | None = None
    tried = blank(hu.shape)
    for index in range(hu.shape[0] - 1, -1, -1):
        for start in trachea_candidates(hu[index], spacing_mm, centre_column):
            if (tried[index] & start).any():
                continue
            found = follow(hu, index, start, spacing_mm)
            box = box_of(found.mask)
            tried[box] |= found.mask[box]
            if found.length_mm >= MIN_TRACHEA_LENGTH_MM and (best is None or found.length_mm > best.length_mm):
                best = found
        # A long way from the top of the image is the trachea: what begins below it is not.
        if best is not None and best.length_mm > 80.0:
            break
    return best


def trachea_candidates(plane: Image, spacing_mm: tuple[float, float, float], centre_column: float) -> list[Mask]:
    """Round spots of air near the middle of one slice."""
    pixel_mm2 = spacing_mm[1] * spacing_mm[2]
    reach = int(MAX_OFF_CENTRE_MM / spacing_mm[2])
    left = max(int(centre_column) - reach, 0)
    window = plane[:, left : int(centre_column) + reach]
    labels, count = ndimage.label(window < THRESHOLDS_HU[0])
    candidates = []
    for number, box in enumerate(ndimage.find_objects(labels, count), start=1):
        height_mm = (box[0].stop - box[0].start) * spacing_mm[1]
        width_mm = (box[1].stop - box[1].start) * spacing_mm[2]
        elongation = max(height_mm, width_mm) / min(height_mm, width_mm)
        spot = labels[box] == number
        area_mm2 = float(spot.sum()) * pixel_mm2
        at_edge = box[1].start == 0 or box[1].stop == window.shape[1] or box[0].start == 0
        round_enough = elongation <= MAX_ELONGATION and area_mm2 > 0.55 * height_mm * width_mm
        if at_edge or not round_enough or not TRACHEA_AREA_MM2[0] <= area_mm2 <= TRACHEA_AREA_MM2[1]:
            continue
        mask = np.zeros(plane.shape, np.bool_)
        mask[box[0], slice(left + box[1].start, left + box[1].stop)] = spot
        candidates.append(mask)
    return candidates


def follow(hu: Image, top: int, start: Mask, spacing_mm: tuple[float, float, float]) -> Airways:
    """Go down slice by slice from a cross-section of the trachea, into both main bronchi, until they end."""
    pixel_mm2 = spacing_mm[1] * spacing_mm[2]
    mask = blank(hu.shape)
    mask[top][start] = True
    areas_mm2 = [float(start.sum()) * pixel_mm2]
    trachea_hu = float(np.median(hu[top][start]))
    carina: int | None = None
    for index in range(top - 1, -1, -1):
        if carina is not None and (carina - index) * spacing_mm[0] > BELOW_CARINA_MM:
            break
        trachea_mm2 = float(np.median(areas_mm2))
        limit_mm2 = MAX_AREA_GROWTH * max(trachea_mm2, TRACHEA_AREA_MM2[0])
        section = next_section(hu[index], mask[index + 1], spacing_mm, limit_mm2, trachea_hu)
        if not section.any():
            break
        mask[index][section] = True
        if carina is None and ndimage.label(section)[1] > 1:
            carina = index
        if carina is None:
            areas_mm2.append(float(section.sum()) * pixel_mm2)
    length_mm = float(mask.any(axis=(1, 2)).sum()) * spacing_mm[0]
    box = box_of(mask)
    pure = mask[box] & ndimage.binary_erosion(mask[box], np.ones((1, 3, 3), np.bool_))
    inside = hu[box][pure if pure.any() else mask[box]]
    return Airways(mask, float(np.median(inside)), length_mm, parted=carina is not None)


def next_section(
    plane: Image, above: Mask, spacing_mm: tuple[float, float, float], limit_mm2: float, trachea_hu: float
) -> Mask:
    """The pipes of one slice that continue those of the slice above."""
    # A bronchus at 45 degrees moves sideways by as much as the slices are apart.
    reach = 1.0 + 0.6 * spacing_mm[0]
    reach_rows, reach_columns = (max(1, round(reach / spacing)) for spacing in spacing_mm[1:])
    box = window_around(above, *(round((4 * reach + 25) / spacing) for spacing in spacing_mm[1:]))
    seeds = ndimage.maximum_filter(above[box], size=(2 * reach_rows + 1, 2 * reach_columns + 1))
    blurred = ndimage.gaussian_filter(plane[box], [BLUR_MM / spacing for spacing in spacing_mm[1:]])
    section = np.zeros(above.shape, np.bool_)
    section[box] = pipes(blurred, seeds, Pipe(spacing_mm[1:], limit_mm2, trachea_hu))
    return section


def window_around(mask: Mask, margin_rows: int, margin_columns: int) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (
        slice(max(int(rows[0]) - margin_rows, 0), int(rows[-1]) + margin_rows + 1),
        slice(max(int(columns[0]) - margin_columns, 0), int(columns[-1]) + margin_columns + 1),
    )


@dataclass(frozen=True, slots=True)
class Pipe:
    """What makes a cross-section one of a pipe. pixel_mm: height and width of a pixel."""

    pixel_mm: tuple[float, float]
    largest_mm2: float
    trachea_hu: float

    def too_large(self, section: Mask) -> bool:
        return self.area_mm2(section) > self.largest_mm2

    def area_mm2(self, section: Mask) -> float:
        return float(section.sum()) * self.pixel_mm[0] * self.pixel_mm[1]

    def is_one(self, window: Image, section: Mask) -> bool:
        """Large enough, filled with air, and with tissue around it."""
        if self.area_mm2(section) < MIN_BRONCHUS_AREA_MM2:
            return False
        if np.percentile(window[section], 10) > self.trachea_hu + MAX_ABOVE_TRACHEA_HU:
            return False
        steps = max(1, round(SURROUNDING_MM / self.pixel_mm[1]))
        around = ndimage.binary_dilation(section, iterations=steps) & ~section
        return float(np.median(window[around])) >= MIN_SURROUNDING_HU


def pipes(window: Image, seeds: Mask, pipe: Pipe, level: int = 0, within: Mask | None = None) -> Mask:
    """Components that touch the seeds and are no larger than a pipe; a larger one is looked at with less air in it."""
    found = np.zeros(window.shape, np.bool_)
    if level == len(THRESHOLDS_HU):
        return found
    air = window < THRESHOLDS_HU[level]
    labels, _ = ndimage.label(air if within is None else air & within)
    for number in np.unique(labels[seeds & (labels > 0)]):
        component = labels == number
        if pipe.too_large(component):
            found |= pipes(window, seeds, pipe, level + 1, component)
        elif pipe.is_one(window, component):
            found |= component
    return found
