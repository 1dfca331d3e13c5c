"""Do the keys of a manifest fit how its model takes images: as a volume, each by itself, or as clips?"""

from __future__ import annotations

from collections.abc import Iterator

from inference.outputs import Outputs
from inference.picture_contract import Images
from inference.recipe import Postprocessing, Preprocessing, Use

_AXES = {"volume": 3, "each": 2, "clip": 3}


def problem_with_images(
    images: Images,
    preprocessing: Preprocessing | None,
    use: Use | None,
    postprocessing: Postprocessing | None,
    outputs: Outputs,
) -> str:
    """The first key that does not fit, and why; empty where all do."""
    computed = {item.compute for item in outputs.measurements}
    if (stranger := "area" if images == "volume" else "volume") in computed:
        return f"outputs: {stranger} is not computed of images {images}"
    if outputs.maps and images != "volume":
        return "outputs.maps are of images volume: a map needs a place in the patient"
    if preprocessing is None or use is None or postprocessing is None:
        return ""
    problems = list(_lengths(images, preprocessing, use))
    if images == "volume":
        problems += _of_a_volume(postprocessing)
    else:
        problems += _of_pictures(images, preprocessing, use, postprocessing)
    if postprocessing.combine != "none" and (outputs.segments or outputs.detections):
        return "postprocessing.combine is for numbers and classifications: what has a place stays in its picture"
    return next(iter(problems), "")


def _lengths(images: Images, preprocessing: Preprocessing, use: Use) -> Iterator[str]:
    scaled = 3 if images == "volume" else 2
    for name, value, wanted in (
        ("preprocessing.spacing_mm", preprocessing.spacing_mm, scaled),
        ("preprocessing.size", preprocessing.size, scaled),
        ("preprocessing.size_multiple", preprocessing.size_multiple, scaled),
        ("use.patch", use.patch, _AXES[images]),
    ):
        if value is not None and len(value) != wanted:
            yield f"{name} must have {wanted} numbers for images {images}, but has {len(value)}"
    if any(axis >= _AXES[images] for axes in use.flips for axis in axes):
        yield f"use.flips names an axis that images {images} do not have: there are {_AXES[images]}"


def _of_a_volume(postprocessing: Postprocessing) -> Iterator[str]:
    if postprocessing.combine != "none":
        yield "postprocessing.combine is for images that are taken one by one"
    if any(step.below_pixels for step in postprocessing.cleaning):
        yield "cleaning by below_pixels is for images that are taken one by one"


def _of_pictures(
    images: Images, preprocessing: Preprocessing, use: Use, postprocessing: Postprocessing
) -> Iterator[str]:
    if preprocessing.axes != "as_acquired" or preprocessing.crop is not None or preprocessing.fit is not None:
        yield f"preprocessing.axes, crop and fit are for images volume; {images} takes them as they were acquired"
    if use.sampler is not None:
        yield "use.sampler is for images volume"
    if preprocessing.size is not None and preprocessing.spacing_mm is not None:
        yield "preprocessing.size and spacing_mm exclude each other"
    if use.mode == "slices" and images == "each":
        yield "use.mode slices is for images volume or clip; each is one plane already"
    if any(step.below_ml for step in postprocessing.cleaning):
        yield "cleaning by below_ml is for images volume: give below_pixels"
