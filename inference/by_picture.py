"""Models that look at images one by one: the network is shown each picture, or each clip, and its answers are told of that.

Segments of all pictures share their arrays, so that one result holds them. What is said of a picture by a number or a word
names the picture; `combine` makes one answer for the series of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference import answers, memory
from inference.errors import InferenceError
from inference.findings import (
    Box,
    Classification,
    Code,
    Detection,
    Findings,
    Labelled,
    Measurement,
    Segment,
)
from inference.manifest import Manifest
from inference.network import Boxes, Network, boxes, maps, numbers
from inference.outputs import MeasurementOutput
from inference.picture_preparing import Shown, is_by_windows, prepared, unscaled
from inference.preparing import Prepared, scaled
from inference.recipe import Postprocessing, Preprocessing, Use
from inference.sides import SIDES
from inference.sliding_window import Slab
from inference.volume import Picture, Volume

PIXELS = Code("{pixels}", "UCUM", "pixels")
_MM2_IN = {"mm2": 1.0, "cm2": 100.0}
_LONGEST_LABEL = 40

_Finding = TypeVar("_Finding", Classification, Detection)


@dataclass(frozen=True, slots=True, eq=False)
class _Model:
    manifest: Manifest
    preprocessing: Preprocessing
    use: Use
    postprocessing: Postprocessing
    network: Network
    device: torch.device


def run(volume: Volume, manifest: Manifest, network: Network, device: torch.device) -> Findings:
    """What the network says of each picture. Raises InferenceError where its answer cannot be meant."""
    preprocessing, use, postprocessing = manifest.preprocessing, manifest.use, manifest.postprocessing
    if preprocessing is None or use is None or postprocessing is None:
        raise InferenceError(f"{manifest.name}: its manifest does not say how the network is used")
    model = _Model(manifest, preprocessing, use, postprocessing, network, device)
    groups = shown_at_once(volume, is_clip=manifest.input.images == "clip")
    if manifest.outputs.segments:
        return _segmented(volume, groups, model)
    if manifest.outputs.detections:
        return _detected(volume, groups, model)
    return _answered(volume, groups, model)


def shown_at_once(volume: Volume, *, is_clip: bool) -> list[Shown]:
    """Each picture; or the pictures of each instance; or the tiles that make one large image."""
    found: list[Shown] = []
    by_instance: dict[tuple[str, int], list[int]] = {}
    for number, picture in enumerate(volume.pictures):
        by_instance.setdefault((picture.source.sop_instance_uid, -1 if is_clip else picture.slice), []).append(number)
    for own in by_instance.values():
        some = [volume.pictures[number] for number in own]
        first, last = some[0].slice, some[-1].slice
        down, across = max(p.row + p.rows for p in some), max(p.column + p.columns for p in some)
        # Tiles at the border of a slide reach beyond it.
        size = last - first + 1, min(down, volume.voxels.shape[1]), min(across, volume.voxels.shape[2])
        found.append(Shown(tuple(own), (first, 0, 0), size, is_clip))
    return found


def _prepared(volume: Volume, shown: Shown, model: _Model) -> tuple[Prepared, Network]:
    contract = model.manifest.input.pictures
    if not is_by_windows(shown, model.preprocessing):
        return prepared(volume, shown, model.preprocessing, contract), model.network
    if model.use.mode != "windows":
        raise InferenceError(f"an image of {shown.size[1]} x {shown.size[2]} pixels needs use.mode windows")
    steps, network = model.preprocessing.intensity, model.network

    def on_window(batch: Tensor) -> object:
        return network(scaled(batch.float(), steps))

    return unscaled(volume, shown, contract), on_window


def _segmented(volume: Volume, groups: Sequence[Shown], model: _Model) -> Findings:
    declared, outputs = model.manifest.outputs.segments, model.manifest.outputs
    arrays: dict[str, NDArray[np.generic]] = {}
    first: tuple[Segment, ...] = ()
    for shown in groups:
        made, network = _prepared(volume, shown, model)
        part = _part(volume, shown)
        found = _slabs(maps(made.image, network, model.use, model.device), is_clip=shown.is_clip)
        segments = answers.segments(found, made.grid, part, model.postprocessing, declared)
        first = first or segments
        for segment in segments:
            name = "" if isinstance(segment.region, Labelled) else segment.key
            if name not in arrays:
                arrays[name] = memory.zeros(volume.voxels.shape, segment.array.dtype.type)
            arrays[name][shown.box] = segment.array
    whole = tuple(replace(segment, region=_region(segment, arrays)) for segment in first)
    wanted = [output for output in outputs.measurements if output.compute]
    measured = [m for shown in groups for segment in whole for m in _computed(volume, shown, segment, wanted)]
    return Findings(segments=whole, measurements=tuple(measured))


def _region(segment: Segment, arrays: dict[str, NDArray[np.generic]]) -> NDArray[np.bool_] | Labelled:
    if isinstance(segment.region, Labelled):
        return Labelled(arrays[""], segment.region.value)  # type: ignore[arg-type]
    return np.asarray(arrays[segment.key], np.bool_)


def _slabs(found: Iterator[Slab], *, is_clip: bool) -> Iterator[Slab]:
    """Of a picture the first axis are its rows, and it has one slice."""
    for slab in found:
        yield slab if is_clip else Slab(slab.first, slab.values[..., None])


def _part(volume: Volume, shown: Shown) -> Volume:
    pictures = tuple(volume.pictures[number] for number in shown.pictures)
    return replace(volume, voxels=volume.voxels[shown.box], pictures=pictures)


def _computed(
    volume: Volume, shown: Shown, segment: Segment, wanted: Sequence[MeasurementOutput]
) -> Iterator[Measurement]:
    """Of the segment in each picture where it has a pixel; in an image that is alone its area is told even if it is 0."""
    outputs = [output for output in wanted if not output.of or segment.key in output.of]
    for box, pictures in _measured_boxes(volume, shown) if outputs else ():
        mask = segment.part(box)
        values = volume.voxels[box][mask]
        picture = volume.pictures[shown.pictures[0]]
        for output in outputs:
            if output.compute == "area" and (values.size or len(volume.pictures) == 1):
                value, unit = area_of(values.size, picture, output.unit.code)
                yield replace(answers.measurement(output, value, segment.key), unit=unit, pictures=pictures)
            elif output.compute != "area" and values.size:
                value = answers.computed_of(output, values)
                yield replace(answers.measurement(output, value, segment.key), pictures=pictures)


def _measured_boxes(volume: Volume, shown: Shown) -> Iterator[tuple[tuple[slice, ...], tuple[int, ...]]]:
    """Each picture by itself; the tiles of one image together, and then it is all that was analysed."""
    if not shown.is_clip and len(shown.pictures) > 1:
        yield shown.box, ()
        return
    for number in shown.pictures:
        at = volume.pictures[number].slice
        yield (slice(at, at + 1), *shown.box[1:]), (number,)


def area_of(pixels: int, picture: Picture, unit: Code) -> tuple[float, Code]:
    """In the unit where the picture says how large its pixels are in the patient, else in pixels."""
    if picture.pixel_spacing_mm is None or not picture.is_calibrated:
        return float(pixels), PIXELS
    rows_mm, columns_mm = picture.pixel_spacing_mm
    return pixels * rows_mm * columns_mm / _MM2_IN[unit.value], unit


def _detected(volume: Volume, groups: Sequence[Shown], model: _Model) -> Findings:
    found: list[Detection] = []
    for shown in groups:
        made, network = _prepared(volume, shown, model)
        answer = boxes(made.image, network, model.use, model.device)
        if not shown.is_clip:
            corners = torch.zeros((len(answer.corners), 6))
            corners[:, 0:2], corners[:, 3:5] = answer.corners[:, :2], answer.corners[:, 2:]
            answer = Boxes(corners, answer.scores, answer.classes)
        found += [
            _told_of(replace(item, place=_moved(item.place, shown)), volume, shown, groups)
            for item in answers.detections(answer, made.grid, model.manifest.outputs)
        ]
    return Findings(detections=tuple(found))


def _moved(place: object, shown: Shown) -> Box:
    if not isinstance(place, Box):
        raise InferenceError("a network's detections are boxes")
    corners = [tuple(a + b for a, b in zip(corner, shown.first, strict=True)) for corner in (place.first, place.last)]
    return Box(corners[0], corners[1])  # type: ignore[arg-type]


def _answered(volume: Volume, groups: Sequence[Shown], model: _Model) -> Findings:
    """Numbers and classifications, of each that is shown at once or of all."""
    told, shares = [], []
    for shown in groups:
        made, network = _prepared(volume, shown, model)
        answer = numbers(made.image, network, model.use, model.device).cpu()
        told.append(answer)
        shares.append(answers.activated(answer[:, None], model.postprocessing)[:, 0])
    outputs = model.manifest.outputs
    if model.postprocessing.combine != "none":
        return Findings(
            classifications=answers.classified(_combined(shares, model), outputs),
            measurements=answers.measured(_combined(told, model), outputs),
        )
    classifications: list[Classification] = []
    measurements: list[Measurement] = []
    for shown, answer, share in zip(groups, told, shares, strict=True):
        about = () if len(groups) == 1 and len(shown.pictures) > 1 and not shown.is_clip else shown.pictures
        classifications += [
            replace(_told_of(item, volume, shown, groups), pictures=about)
            for item in answers.classified(share, outputs)
        ]
        measurements += [replace(item, pictures=about) for item in answers.measured(answer, outputs)]
    return Findings(classifications=tuple(classifications), measurements=tuple(measurements))


def _combined(told: Sequence[Tensor], model: _Model) -> Tensor:
    if len({len(one) for one in told}) > 1:
        raise InferenceError("the network answered with another count of numbers for some images than for others")
    together = torch.stack(list(told))
    return together.mean(dim=0) if model.postprocessing.combine == "mean" else together.amax(dim=0)


def _told_of(finding: _Finding, volume: Volume, shown: Shown, groups: Sequence[Shown]) -> _Finding:
    """The finding with the side of its picture and, where there are several, a key and a name of its own."""
    picture = volume.pictures[shown.pictures[0]]
    side = finding.laterality or SIDES.get(picture.laterality)
    if len(groups) == 1:
        return replace(finding, laterality=side)
    label = f"{finding.label[:_LONGEST_LABEL]}, {name_of(picture, with_frame=not shown.is_clip)}"
    return replace(finding, key=f"{finding.key}_{mark_of(picture)}", label=label, laterality=side)


def mark_of(picture: Picture) -> str:
    """Eight characters that stay the picture's, whatever other pictures come: what is tracked by them is found again."""
    source = f"{picture.source.sop_instance_uid} {picture.source.frame_number or 1}"
    return hashlib.sha256(source.encode()).hexdigest()[:8]


def name_of(picture: Picture, *, with_frame: bool = True) -> str:
    """ "image 2, frame 5 (R MLO)"."""
    frame = f", frame {picture.source.frame_number}" if with_frame and picture.source.frame_number else ""
    seen = " ".join(part for part in (picture.laterality, picture.view) if part)
    return f"image {picture.instance_number}{frame}" + (f" ({seen})" if seen else "")
