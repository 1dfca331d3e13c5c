"""In which grey values a presentation state shows its images: those of the source, or a window that shows all of it.

A presentation state replaces what the image says (PS3.4 N.2.1): without a rescale in it the stored values are the input of
its windows, whatever rescale the image has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from dicom_node.results.scene import Scene
from dicom_node.results.sources import Reference, source_finder
from inference.volume import Volume

LEAST_WIDTH = 1.0
"""Of a window of the function LINEAR (PS3.3 C.11.2.1.2.1)."""


@dataclass(frozen=True, slots=True)
class Rescale:
    """Stored value x slope + intercept, in the unit that the type names (PS3.3 C.11.1)."""

    slope: float
    intercept: float
    type: str


@dataclass(frozen=True, slots=True)
class GreyWindow:
    """center and width in the values after the rescale."""

    center: float
    width: float
    function: str = "LINEAR"


@dataclass(frozen=True, slots=True)
class Greys:
    """rescale: of all images; None where they have none, or not the same. windows: of each plane that is shown, in the
    values after that rescale."""

    rescale: Rescale | None
    windows: dict[GreyWindow, list[int]]
    is_inverse: bool


def greys(scene: Scene, shown: Sequence[int]) -> Greys:
    """shown: indices of acquired planes."""
    report, volume = scene.report, scene.volume
    find = source_finder(report)
    rescales, given = {}, {}
    for plane in shown:
        reference = scene.planes[plane].reference
        source = find(reference.sop_instance_uid)
        groups = functional_groups(source, reference)
        rescales[plane] = rescale_of(
            [*(g for group in groups for g in group.get("PixelValueTransformationSequence") or ()), source]
        )
        given[plane] = window_of([*(g for group in groups for g in group.get("FrameVOILUTSequence") or ()), source])
    usual = None if all(given.values()) else whole_range(volume)
    # Of MONOCHROME1 the voxels of pictures run the other way than the values that the window is for.
    turned = next((one.inverted_at for one in volume.pictures if one.inverted_at is not None), None)
    if usual and turned is not None:
        usual = GreyWindow(turned - usual.center, usual.width)
    is_one = len(set(rescales.values())) == 1
    windows: dict[GreyWindow, list[int]] = defaultdict(list)
    for plane in shown:
        if window := given[plane] or usual:
            windows[window if is_one else stored(window, rescales[plane])].append(plane)
    inverse = report.first_source.get("PhotometricInterpretation") == "MONOCHROME1"
    return Greys(rescales[shown[0]] if is_one else None, dict(windows), inverse)


def functional_groups(source: Dataset, reference: Reference) -> list[Dataset]:
    """Those of the frame and those of all frames; none of a single-frame instance."""
    if reference.frame_number is None:
        return []
    own = source.get("PerFrameFunctionalGroupsSequence") or ()
    shared = source.get("SharedFunctionalGroupsSequence") or ()
    return [*own[reference.frame_number - 1 : reference.frame_number], *shared]


def rescale_of(said: Sequence[Dataset]) -> Rescale | None:
    """From the first that says it."""
    for dataset in said:
        slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
        if slope is not None and intercept is not None:
            unit = str(dataset.get("RescaleType") or ("HU" if said[-1].get("Modality") == "CT" else "US"))
            return Rescale(float(slope), float(intercept), unit)
    return None


def window_of(said: Sequence[Dataset]) -> GreyWindow | None:
    """The first window of the first that has a usable one."""
    for dataset in said:
        center, width = _first(dataset, "WindowCenter"), _first(dataset, "WindowWidth")
        function = str(dataset.get("VOILUTFunction") or "LINEAR")
        if center is not None and width is not None and width >= LEAST_WIDTH:
            return GreyWindow(center, width, function)
    return None


def whole_range(volume: Volume) -> GreyWindow:
    """From the darkest to the brightest hundredth, where the source says nothing."""
    step = max(1, round((volume.voxels.size / 200_000) ** (1 / 3)))
    low, high = np.percentile(volume.voxels[::step, ::step, ::step], (1, 99))
    return GreyWindow(round(float(low + high) / 2, 3), max(LEAST_WIDTH, round(float(high - low), 3)))


def stored(window: GreyWindow, rescale: Rescale | None) -> GreyWindow:
    """The same window in stored values."""
    if rescale is None or not rescale.slope:
        return window
    center = (window.center - rescale.intercept) / rescale.slope
    return GreyWindow(center, max(LEAST_WIDTH, window.width / abs(rescale.slope)), window.function)


def _first(dataset: Dataset, keyword: str) -> float | None:
    if not dataset.get(keyword) and dataset.get(keyword) != 0:
        return None
    element = dataset[keyword]
    return float(element.value[0] if element.VM > 1 else element.value)
