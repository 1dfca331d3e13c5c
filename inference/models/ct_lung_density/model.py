"""ct_lung_density, read top to bottom: orient, find airways, find lungs, check, draw, measure."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from inference.models.ct_lung_density import airways as airway
from inference.models.ct_lung_density import drawing, lungs, protocol
from inference.models.ct_lung_density.density import LOW_ATTENUATION_HU, Density, density_of
from inference.models.ct_lung_density.orientation import orientation_of
from inference.models.ct_lung_density.regions import Mask, blank, box_of
from inference.models.ct_lung_density.voxels import Voxels, voxels_on
from inference.runtimes.python import Analysis
from inference.volume import Volume

# A lung whose cross-section in the first or last slice is this part of its largest one goes on beyond the images.
MAX_CUT_SECTION = 0.15
PLAUSIBLE_MEAN_HU = (-960.0, -500.0)


def analyse(volume: Volume, device: torch.device) -> Analysis:
    """Lung densitometry of one chest CT, any orientation of the array; refuses what is not one, with the value."""
    orientation = orientation_of(volume)
    hu = orientation.view(volume.voxels)
    spacing_mm = orientation.spacing_mm
    voxels = voxels_on(hu, device)
    coarse = lungs.coarsen(voxels, spacing_mm)
    centre = lungs.body_centre_column(coarse)
    pipes = airway.find_airways(hu, spacing_mm, centre)
    coarse_pipes = coarse_mask(pipes.mask, coarse) if pipes else np.zeros(coarse.hu.shape, np.bool_)
    found = lungs.find_lungs(coarse, coarse_pipes, centre, pipes.trachea_hu if pipes else -1000.0)
    if found.labels is None:
        return Analysis(refusal=found.refusal)
    if pipes is None:
        text = f"no round air column of {airway.MIN_TRACHEA_LENGTH_MM:.0f} mm or more near the middle of the body"
        return Analysis(refusal=("no_trachea", text))
    drawn = drawing.draw(voxels, found.labels, coarse, pipes.mask, spacing_mm)
    refusal = cut_off(drawn)
    if refusal:
        return Analysis(refusal=refusal)
    return measured(volume, voxels, drawn, pipes)


def coarse_mask(mask: Mask, coarse: lungs.Coarse) -> Mask:
    """A coarse voxel is set where any of its fine voxels is, and one voxel around, for the airway's wall."""
    shape, blocks = coarse.hu.shape, coarse.blocks
    # Coarse voxels that may be set; none of them is cut off by the end of the fine grid.
    ends = [(part.start // block, -(-part.stop // block)) for part, block in zip(box_of(mask), blocks, strict=True)]
    box = tuple(slice(max(low - 1, 0), min(high + 1, size)) for (low, high), size in zip(ends, shape, strict=True))
    fine = mask[tuple(slice(part.start * block, part.stop * block) for part, block in zip(box, blocks, strict=True))]
    grouped = [size for part, block in zip(box, blocks, strict=True) for size in (part.stop - part.start, block)]
    pooled = fine.reshape(grouped).any(axis=(1, 3, 5))
    found = np.zeros(shape, np.bool_)
    found[box] = ndimage.binary_dilation(pooled, lungs.IN_PLANE)
    return found


def ends(drawn: drawing.Drawn) -> list[tuple[str, str, float]]:
    """(lung, slice, part of the lung's largest section) for every lung and both ends of the images."""
    found = []
    for name, mask in (("right", drawn.right), ("left", drawn.left)):
        sections = [np.count_nonzero(plane) for plane in mask]
        for end, section in (("lowest", sections[0]), ("highest", sections[-1])):
            found.append((name, end, float(section / max(sections))))
    return found


def cut_off(drawn: drawing.Drawn) -> tuple[str, str] | None:
    """Half a chest: a lung that the first or the last slice cuts through."""
    for name, end, part in ends(drawn):
        if part > MAX_CUT_SECTION:
            text = (
                f"{name} lung goes on beyond the {end} slice: its section there is {100 * part:.0f} % of its "
                f"largest > {100 * MAX_CUT_SECTION:.0f} %"
            )
            return ("incomplete", text)
    return None


def coverage(drawn: drawing.Drawn) -> list[tuple[str, str]]:
    """A remark where the tip of a lung may be missing."""
    remarks = []
    for name, end, part in ends(drawn):
        if part > 0:
            tip = f"{name} lung reaches the {end} slice, where its section is {100 * part:.1f} % of its largest"
            remarks.append(("coverage", f"{tip}: a little of it may be missing"))
    return remarks


def remarks_on(
    volume: Volume, drawn: drawing.Drawn, pipes: airway.Airways, spacing_mm: float
) -> tuple[tuple[str, str], ...]:
    """All that a reader must know before trusting the numbers: protocol, coverage, airways."""
    remarks = [*protocol.remarks_on(volume.header, spacing_mm, pipes.trachea_hu), *coverage(drawn)]
    if not pipes.parted:
        text = "the trachea was followed, its parting into main bronchi was not found: their air may count as lung"
        remarks.append(("bronchi", text))
    return tuple(remarks)


def measured(volume: Volume, voxels: Voxels, drawn: drawing.Drawn, pipes: airway.Airways) -> Analysis:
    """Numbers for right, left and both; masks back in the order of the volume."""
    orientation = orientation_of(volume)
    voxel_ml = volume.voxel_volume_ml
    values = {side: voxels.within(mask) for side, mask in (("right", drawn.right), ("left", drawn.left))}
    densities = {f"{side}_lung": density_of(part, voxel_ml) for side, part in values.items()}
    densities["both_lungs"] = density_of(torch.cat(list(values.values())), voxel_ml)
    mean_hu = densities["both_lungs"].mean_hu
    low_hu, high_hu = PLAUSIBLE_MEAN_HU
    if not low_hu <= mean_hu <= high_hu:
        text = f"mean density of both lungs is {mean_hu:.0f} HU, not {low_hu:.0f} to {high_hu:.0f} HU"
        return Analysis(refusal=("implausible", text))
    masks = {
        "right_lung": drawn.right,
        "left_lung": drawn.left,
        "both_lungs": either(drawn.right, drawn.left),
        "airways": drawn.airways,
        "right_low_attenuation": low_attenuation(voxels, drawn.right),
        "left_low_attenuation": low_attenuation(voxels, drawn.left),
    }
    return Analysis(
        masks={key: orientation.back(mask) for key, mask in masks.items()},
        values=numbers(densities, masks, voxel_ml),
        remarks=remarks_on(volume, drawn, pipes, orientation.spacing_mm[0]),
        parameters={
            "lung border": f"{lungs.BORDER_HU:.0f} HU",
            "low attenuation": f"below {LOW_ATTENUATION_HU:.0f} HU",
            "air in trachea": f"{pipes.trachea_hu:.0f} HU",
        },
    )


def either(first: Mask, second: Mask) -> Mask:
    found = blank(first.shape)
    for mask in (first, second):
        box = box_of(mask)
        found[box] |= mask[box]
    return found


def low_attenuation(voxels: Voxels, mask: Mask) -> Mask:
    found, box = blank(mask.shape), box_of(mask)
    found[box] = mask[box] & voxels.below(box, LOW_ATTENUATION_HU).cpu().numpy()
    return found


def numbers(densities: dict[str, Density], masks: dict[str, Mask], voxel_ml: float) -> dict[tuple[str, str], float]:
    """By (segment, measurement): four for each lung and both, and the volume of the other segments."""
    values = {}
    for segment, density in densities.items():
        values[segment, "volume"] = density.volume_ml
        values[segment, "mean_density"] = density.mean_hu
        values[segment, "percentile_15"] = density.percentile_15_hu
        values[segment, "laa_950"] = density.laa_950_percent
    for segment in ("airways", "right_low_attenuation", "left_low_attenuation"):
        values[segment, "volume"] = float(np.count_nonzero(masks[segment])) * voxel_ml
    return values
