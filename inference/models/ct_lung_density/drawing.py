"""From coarse labels to the final masks on the grid of the volume: exact borders, vessels inside, airways outside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from inference.models.ct_lung_density.lungs import BORDER_HU, IN_PLANE, LEFT, RIGHT, Coarse, Labels
from inference.models.ct_lung_density.regions import Box, Mask, blank, box_of
from inference.models.ct_lung_density.voxels import Voxels

VESSEL_RADIUS_MM = 5.0
MAX_HOLE_MM2 = 315.0
SLICES_AT_ONCE = 8
"""As many as fit the processor's cache: what is done to a slice looks at no other one."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Masks in patient order, (slices, rows, columns) of the whole volume; they do not overlap."""

    right: Mask
    left: Mask
    airways: Mask


def draw(voxels: Voxels, labels: Labels, coarse: Coarse, airways: Mask, spacing_mm: tuple[float, ...]) -> Drawn:
    """Both lungs and the airways outside them."""
    device, shape = voxels.device, voxels.hu.shape
    lungs, boxes = {}, {}
    for side in (RIGHT, LEFT):
        box = fine_box(labels == side, coarse.blocks, shape, margin=round(VESSEL_RADIUS_MM / spacing_mm[2]) + 2)
        coarse_side = near(labels, side, box, coarse.blocks, device)
        aired = coarse_side & voxels.below(box, BORDER_HU) & ~on(device, airways[box])
        lungs[side], boxes[side] = blank(shape), box
        lungs[side][box] = filled(aired, spacing_mm)
    # Where closing reached over a thin septum, the voxel stays with the lung whose air it is.
    lungs[LEFT][boxes[LEFT]] &= ~lungs[RIGHT][boxes[LEFT]]
    box = box_of(airways)
    outside = blank(shape)
    outside[box] = airways[box] & ~lungs[RIGHT][box] & ~lungs[LEFT][box]
    return Drawn(lungs[RIGHT], lungs[LEFT], trunk(outside))


def filled(aired: torch.Tensor, spacing_mm: tuple[float, ...]) -> Mask:
    """The lung that this air belongs to: vessels and what lies within are part of it."""
    parts = torch.split(aired, SLICES_AT_ONCE if aired.device.type == "cpu" else len(aired))
    return np.concatenate(
        [fill_holes(close(part, VESSEL_RADIUS_MM, spacing_mm).cpu().numpy(), spacing_mm) for part in parts]
    )


def on(device: torch.device, mask: Mask) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(mask)).to(device)


def fine_box(mask: Mask, blocks: tuple[int, int, int], shape: tuple[int, ...], margin: int) -> Box:
    """Bounding box on the fine grid, with a margin in rows and columns, and one block along slices."""
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    margins = (blocks[0], margin + blocks[1], margin + blocks[2])
    bounds = [
        slice(max(part.start * block - add, 0), min(part.stop * block + add, size))
        for part, block, add, size in zip(box, blocks, margins, shape, strict=True)
    ]
    return tuple(bounds)


def near(labels: Labels, side: int, box: Box, blocks: tuple[int, int, int], device: torch.device) -> torch.Tensor:
    """The fine voxels of the box within one coarse voxel of this side, and not of the other."""
    own = labels == side
    around = ndimage.binary_dilation(own, np.ones((3 if blocks[0] > 1 else 1, 3, 3), np.bool_))
    around &= (labels == side) | (labels == 0)
    indices = [
        np.minimum(np.arange(part.start, part.stop) // block, size - 1)
        for part, block, size in zip(box, blocks, labels.shape, strict=True)
    ]
    return on(device, around[np.ix_(*indices)])


def dilate(mask: torch.Tensor, radius_mm: float, spacing_mm: tuple[float, ...]) -> torch.Tensor:
    """Grow within each slice by an octagon: by turns a step to four neighbours and a step to eight."""
    grown = mask
    for step in range(round(radius_mm / spacing_mm[2])):
        wider = grown.clone()
        wider[:, 1:] |= grown[:, :-1]
        wider[:, :-1] |= grown[:, 1:]
        # Columns spread from what the rows have grown to on every second step, which makes that step a square.
        source = wider.clone() if step % 2 else grown
        wider[:, :, 1:] |= source[:, :, :-1]
        wider[:, :, :-1] |= source[:, :, 1:]
        grown = wider
    return grown


def close(mask: torch.Tensor, radius_mm: float, spacing_mm: tuple[float, ...]) -> torch.Tensor:
    """Closing within each slice: gaps narrower than twice the radius, such as vessels, become part of the mask."""
    return ~dilate(~dilate(mask, radius_mm, spacing_mm), radius_mm, spacing_mm)


def fill_holes(mask: Mask, spacing_mm: tuple[float, ...]) -> Mask:
    """Fill what a slice of lung encloses, up to the size of a large vessel; the dome of the diaphragm is larger."""
    labels, count = ndimage.label(~mask, IN_PLANE)
    sizes = np.bincount(labels.ravel(), minlength=count + 1) * (spacing_mm[1] * spacing_mm[2])
    small = sizes <= MAX_HOLE_MM2
    small[0] = True
    for edge in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        small[edge.ravel()] = edge.size == 0
    small[0] = True
    return np.asarray(small[labels], dtype=np.bool_)


def trunk(airways: Mask) -> Mask:
    """The largest connected part: stubs of bronchi that only their lung's border cut off are no main bronchi."""
    box = box_of(airways)
    labels, count = ndimage.label(airways[box], np.ones((3, 3, 3), np.bool_))
    if not count:
        return airways
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    kept = blank(airways.shape)
    kept[box] = labels == int(np.argmax(sizes))
    return kept
