"""How large a pixel of a single image is, and whether lengths in the patient may be told by it.

Pixel Spacing of a projection image is a size in the patient only where it was calibrated or corrected; the spacing at the
detector is not, since nobody knows how far the patient was from it (PS3.3 10.7.1.3). Ultrasound states sizes by region
(C.8.5.5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from inference import elements

_PIXEL_SPACING, _AT_DETECTOR = Tag("PixelSpacing"), Tag("ImagerPixelSpacing")
_CALIBRATION = Tag("PixelSpacingCalibrationType")
_TISSUE, _CENTIMETRES = 1, 3
"""Region Spatial Format 2D; Physical Units of a direction."""

Spacing = tuple[float, float]


def spacing_of(dataset: Dataset) -> tuple[Spacing | None, bool]:
    """Distance of rows and of columns in mm, as far as stated, and whether lengths in the patient may be told by it."""
    if regions := dataset.get("SequenceOfUltrasoundRegions"):
        found = _of_regions(regions)
        return found, found is not None
    stated, detector = (_pair(elements.numbers(dataset, tag)) for tag in (_PIXEL_SPACING, _AT_DETECTOR))
    if stated is None:
        stated = _pair(_measures(dataset))
    if stated is None:
        return detector, False
    if elements.text(dataset, _CALIBRATION) or detector is None:
        return stated, True
    # Equal numbers without a calibration type are those of the detector, said twice (PS3.3 10.7.1.3).
    return stated, not all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(stated, detector, strict=True))


def _measures(dataset: Dataset) -> tuple[float, ...] | None:
    """Pixel Measures that hold for all frames."""
    for groups in (dataset.get("SharedFunctionalGroupsSequence") or ())[:1]:
        for measures in (groups.get("PixelMeasuresSequence") or ())[:1]:
            return elements.numbers(measures, _PIXEL_SPACING)
    return None


def _of_regions(regions: Sequence[Dataset]) -> Spacing | None:
    """The one scale of all two-dimensional regions of tissue; none where they have several, or none in centimetres."""
    scales = set()
    for region in regions:
        if region.get("RegionSpatialFormat") != _TISSUE:
            continue
        units = region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")
        across, down = region.get("PhysicalDeltaX"), region.get("PhysicalDeltaY")
        if units != (_CENTIMETRES, _CENTIMETRES) or not across or not down:
            return None
        scales.add((abs(float(down)) * 10, abs(float(across)) * 10))
    return scales.pop() if len(scales) == 1 else None


def _pair(found: tuple[float, ...] | None) -> Spacing | None:
    return (found[0], found[1]) if found and len(found) == 2 and min(found) > 0 else None
