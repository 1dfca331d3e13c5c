"""The instances of one series to volumes, and the reason for every image that is in none.

A series may hold a volume, several (time points, echoes, phases), or none. Nothing is guessed: what does not
fit a regular grid within the tolerance of `geometry` is refused with the rule and the value, unless the caller
asks for resampling.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from inference import elements, pixel_format, pixels, transforms
from inference.errors import NotAVolume
from inference.frames import Frame, frame_count, frames_of, is_multi_frame, marks
from inference.instances import Instance, Parsed
from inference.stacks import Stack, by_grid, separate
from inference.volume import AcquiredGrid, Volume

TILT_DEG = 0.1
"""A stack that leans less counts as upright; its affine still holds the exact step."""

_MOST_THREADS = 8
_SOP_CLASS = elements.tag_of("SOPClassUID")
_SOP_INSTANCE = elements.tag_of("SOPInstanceUID")
_STUDY = elements.tag_of("StudyInstanceUID")
_SERIES = elements.tag_of("SeriesInstanceUID")
_NO_IMAGES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a Segmentation holds labels, not measured values",
    "1.2.840.10008.5.1.4.1.1.66.7": "a Label Map Segmentation holds labels, not measured values",
    "1.2.840.10008.5.1.4.1.1.30": "values of a Parametric Map follow its Real World Value Mapping",
    "1.2.840.10008.5.1.4.1.1.481.2": "an RT Dose is no image of the patient",
}

Tilt = Literal["resample", "refuse", "keep"]
Uneven = Literal["resample", "refuse"]


@dataclass(frozen=True, slots=True)
class SetAside:
    """An instance (one frame of it, where a frame number is given) that is in no volume, and why."""

    sop_instance_uid: str
    reason: str
    frame_number: int | None = None


@dataclass(frozen=True, slots=True)
class SeriesReading:
    """volumes: most slices first, equals in the order of the attribute that splits them. set_aside: in order of
    input. frames: all that have a place in the patient, in order of input."""

    volumes: tuple[Volume, ...]
    set_aside: tuple[SetAside, ...]
    frames: tuple[Frame, ...] = ()


@dataclass(frozen=True, slots=True)
class _Wanted:
    tilt: Tilt
    spacing: Uneven
    threads: int


def read_series(
    datasets: Sequence[Dataset], *, tilt: Tilt = "refuse", spacing: Uneven = "refuse", threads: int | None = None
) -> SeriesReading:
    """Read the data sets of one series, in any order, into volumes.

    tilt: what to do with a stack sheared by gantry tilt. "keep" leaves voxels alone and puts the shear into the
    affine; "resample" shifts each image within its plane until the grid is rectangular. spacing: whether uneven
    spacing may be made even by interpolation between neighbours; missing images are never made up. threads: for
    decoding; default the CPUs of this process, 8 at most. Raises NotAVolume, with the reasons, when there is no
    volume.
    """
    return read_instances([Parsed(dataset) for dataset in datasets], tilt=tilt, spacing=spacing, threads=threads)


def read_instances(
    instances: Sequence[Instance], *, tilt: Tilt = "refuse", spacing: Uneven = "refuse", threads: int | None = None
) -> SeriesReading:
    """As `read_series`, of instances that may lie in files; raises what reading these raises, too."""
    wanted = _Wanted(tilt, spacing, threads or min(_MOST_THREADS, _cpus()))
    if not instances:
        raise NotAVolume("the series holds no instance")
    aside: dict[Frame, str] = {}
    frames, refused = _usable_frames(instances, aside)
    volumes: list[Volume] = []
    if frames:
        for stack in _candidates(instances, frames, aside):
            try:
                volumes.append(_volume(instances, stack, wanted))
            except NotAVolume as error:
                aside |= dict.fromkeys(stack.frames, str(error))
    set_aside = [
        *refused,
        *(
            SetAside(f.source.sop_instance_uid, aside[f], f.source.frame_number)
            for f in sorted(aside, key=lambda f: (f.instance, f.index))
        ),
    ]
    if not volumes:
        raise NotAVolume(reasons_together(set_aside))
    volumes.sort(key=lambda volume: -len(volume.sources))
    return SeriesReading(tuple(volumes), tuple(set_aside), tuple(frames))


def _cpus() -> int:
    """CPUs that this process may use, where the system tells; else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _usable_frames(instances: Sequence[Instance], aside: dict[Frame, str]) -> tuple[list[Frame], list[SetAside]]:
    """Frames with a place in the patient. The others go to `aside`, instances that are no images into the
    second list."""
    usable: list[Frame] = []
    refused: list[SetAside] = []
    seen: dict[str, int] = {}
    for instance, dataset in enumerate(one.attributes for one in instances):
        reason = _NO_IMAGES.get(elements.text(dataset, _SOP_CLASS), "")
        if frame_count(dataset) > 1 and not is_multi_frame(dataset):
            reason = reason or f"{frame_count(dataset)} frames without functional groups have no known places"
        sop_instance_uid = elements.text(dataset, _SOP_INSTANCE)
        if reason or (sop_instance_uid and seen.setdefault(sop_instance_uid, instance) != instance):
            reason = reason or _same_instance(instances[seen[sop_instance_uid]].whole(), instances[instance].whole())
            refused.append(SetAside(sop_instance_uid, reason))
            continue
        try:
            frames = list(frames_of(instance, dataset))
        except elements.UNREADABLE as error:
            refused.append(SetAside(sop_instance_uid, f"its attributes cannot be read: {error}"))
            continue
        for frame in frames:
            problem = _unusable(frame)
            if problem:
                aside[frame] = problem
            else:
                usable.append(frame)
    return usable, refused


def _same_instance(first: Dataset, second: Dataset) -> str:
    """The reason to set the second aside. Raises NotAVolume when one UID names two different contents."""
    differing = [
        keyword
        for keyword in (
            "PixelData",
            "ImagePositionPatient",
            "ImageOrientationPatient",
            "RescaleSlope",
            "RescaleIntercept",
        )
        if first.get(keyword) != second.get(keyword)
    ]
    if differing:
        raise NotAVolume(
            f"instances of different content carry one SOP Instance UID, {first.SOPInstanceUID} ({', '.join(differing)} differ):"
            " a result could not say which one it is about"
        )
    return "the same instance occurs twice"


def _unusable(frame: Frame) -> str:
    """Why a frame can be in no volume; empty when it can."""
    if frame.is_localizer:
        return "localizer (value 3 of Image Type)"
    if not math.isfinite(frame.slope) or not math.isfinite(frame.intercept) or frame.slope == 0:
        return "Rescale Slope or Rescale Intercept is no number to rescale by"
    lacking = [
        name
        for name, value in (
            ("Image Position (Patient)", frame.position),
            ("Image Orientation (Patient)", frame.orientation),
            ("Pixel Spacing", frame.pixel_spacing_mm),
        )
        if value is None
    ]
    return f"it has no usable {', '.join(lacking)}" if lacking else ""


def _candidates(instances: Sequence[Instance], frames: list[Frame], aside: dict[Frame, str]) -> list[Stack]:
    """Stacks with one image a position. Lone images beside a larger stack are set aside: scouts, strays, other
    sizes."""
    found: list[tuple[int, Stack]] = []
    groups = by_grid(frames)
    for number, group in enumerate(groups):
        try:
            separation = separate(
                group,
                lambda frame: marks(instances[frame.instance].described(), frame),
                lambda frame: pixels.stored_bytes(instances[frame.instance], frame),
            )
        except NotAVolume as error:
            aside |= dict.fromkeys(group, str(error))
            continue
        aside |= dict.fromkeys(separation.repeated, "the same picture as another image at its position")
        found += [(number, stack) for stack in separation.stacks]
    most = max((len(stack.frames) for _, stack in found), default=0)
    if most == 1 and len(groups) > 1:
        raise NotAVolume(f"{len(frames)} images lie in {len(groups)} planes that are not parallel or not alike")
    for number, stack in found:
        if len(stack.frames) == 1 < most:
            other = "orientation, size or pixel spacing" if number else "what tells images at one position apart"
            aside[stack.frames[0]] = f"a lone image: it differs from the other images in {other}"
    return [stack for _, stack in found if stack.frames[0] not in aside]


def _volume(instances: Sequence[Instance], stack: Stack, wanted: _Wanted) -> Volume:
    """Check the stack against what is wanted, then read its pixels."""
    geometry, first = stack.geometry, stack.frames[0]
    must_even = not geometry.is_uniform
    if must_even and (wanted.spacing == "refuse" or not _may_be_evened(stack)):
        raise NotAVolume(geometry.reason)
    is_tilted = geometry.tilt_deg > TILT_DEG
    if is_tilted and wanted.tilt == "refuse":
        raise NotAVolume(f"gantry tilt: the stack leans {geometry.tilt_deg:.1f} degrees off the normal")
    header = instances[first.instance].header()
    voxels = pixels.read_frames(instances, stack.frames, threads=wanted.threads)
    affine, sources, acquired = _affine(stack), tuple(frame.source for frame in stack.frames), None
    padding = {pixel_format.padding_value(instances[frame.instance].attributes, frame) for frame in stack.frames}
    if must_even or (is_tilted and wanted.tilt == "resample"):
        origins = np.array([frame.position for frame in stack.frames], np.float64)
        fill = _fill(voxels, padding)
        distances = np.array(geometry.distances_mm)
        targets = transforms.even_spacing(distances) if must_even else distances
        straight = transforms.straighten(voxels, origins, affine[:3, 1:3], distances, targets, fill=fill)
        acquired = AcquiredGrid(sources, origins, first.rows, first.columns)
        voxels, affine = straight.voxels, straight.affine_lps
        sources = tuple(sources[index] for index in straight.nearest)
    return Volume(
        voxels=voxels,
        affine_lps=affine,
        frame_of_reference_uid=first.frame_of_reference_uid,
        study_instance_uid=elements.text(header, _STUDY),
        series_instance_uid=elements.text(header, _SERIES),
        sources=sources,
        header=header,
        gantry_tilt_deg=geometry.tilt_deg,
        split_by=stack.split_by,
        padding_value=padding.pop() if len(padding) == 1 else None,
        acquired=acquired,
    )


def _may_be_evened(stack: Stack) -> bool:
    """Uneven spacing may; images that are missing, turned or beside each other may not."""
    return stack.geometry.reason.startswith("spacing varies")


def _fill(voxels: NDArray[np.float32], padding: set[float | None]) -> float:
    """The value where nothing was acquired: the padding value when there is one, else the lowest value."""
    known = padding.copy().pop() if len(padding) == 1 else None
    return float(voxels.min()) if known is None else known


def _affine(stack: Stack) -> NDArray[np.float64]:
    """(slice, row, column, 1) to LPS mm (PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1, with the step between slices
    added)."""
    first = stack.frames[0]
    row_mm, column_mm = first.pixel_spacing_mm or (0.0, 0.0)
    orientation = np.array(first.orientation, np.float64)
    step = np.array(stack.geometry.step_lps, np.float64)
    if len(stack.frames) == 1:
        if first.thickness_mm is None:
            raise NotAVolume("a single image, and neither Spacing Between Slices nor Slice Thickness says how thick")
        step = np.array(stack.geometry.normal, np.float64) * first.thickness_mm
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = orientation[3:] * row_mm
    affine[:3, 2] = orientation[:3] * column_mm
    affine[:3, 3] = first.position
    return affine


def reasons_together(set_aside: Sequence[SetAside]) -> str:
    """The reasons, most frequent first, with the number of images that each holds for."""
    reasons = Counter(item.reason for item in set_aside).most_common()
    if not reasons:
        return ""
    if len(reasons) == 1:
        reason, count = reasons[0]
        return f"{reason} (all {count} images)" if count > 1 else reason
    return "; ".join(f"{reason} ({count} of {len(set_aside)} images)" for reason, count in reasons[:3])
