"""What a network's numbers mean: segments, classifications and measurements, in the words of the manifest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from inference import grid as grids
from inference.errors import InferenceError
from inference.findings import Box, Classification, Detection, Labelled, Measurement, Segment
from inference.grid import Grid
from inference.network import Boxes
from inference.outputs import ClassificationOutput, DetectionOutput, MeasurementOutput, Outputs, SegmentOutput
from inference.recipe import Cleaning, Postprocessing
from inference.sliding_window import Slab
from inference.volume import Volume

_MANY = 10

Labels = NDArray[np.unsignedinteger]
Mask = NDArray[np.bool_]


def segments(
    found: Iterator[Slab], grid: Grid, volume: Volume, recipe: Postprocessing, declared: Sequence[SegmentOutput]
) -> tuple[Segment, ...]:
    """The segments on the volume's grid, in the manifest's order. Raises InferenceError where the network has no channel for one.

    Where the largest value decides they share one label map; else each has a mask of its own, and they may overlap.
    """
    if recipe.decide == "argmax":
        labels = _labels(found, grid, declared)
        labels = _cleaned_labels(labels, grid, volume, recipe, declared)
        returned = grids.returned(torch.from_numpy(labels), grid, "nearest", fill=0).numpy()
        return tuple(_segment(output, Labelled(returned, _index(output))) for output in declared)
    masks = _masks(found, grid, recipe, declared)
    regions = []
    for output, mask in zip(declared, masks, strict=True):
        cleaned = cleaned_mask(mask, _steps(recipe, output), grid, volume)
        regions.append(grids.returned(torch.from_numpy(cleaned), grid, "nearest", fill=0).numpy())
    return tuple(_segment(output, region) for output, region in zip(declared, regions, strict=True))


def classifications(answer: Tensor, recipe: Postprocessing, outputs: Outputs) -> tuple[Classification, ...]:
    """What the network holds for present, absent, or cannot tell."""
    if not outputs.classifications:
        return ()
    return classified(activated(answer[:, None], recipe)[:, 0], outputs)


def classified(shares: Tensor, outputs: Outputs) -> tuple[Classification, ...]:
    """shares: the network's numbers after their activation."""
    return tuple(
        _classification(output, _number(shares, output.index, output.key)) for output in outputs.classifications
    )


def detections(answer: Boxes, grid: Grid, outputs: Outputs) -> tuple[Detection, ...]:
    """The boxes that the manifest declares, the surest of each kind first, on the volume's grid."""
    found = []
    for output in outputs.detections:
        of_kind = torch.nonzero((answer.classes == output.index) & (answer.scores >= output.least_score)).ravel()
        surest = of_kind[torch.argsort(answer.scores[of_kind], descending=True, stable=True)][: output.at_most]
        for rank, index in enumerate(surest.tolist(), start=1):
            found.append(_detection(output, rank, answer.corners[index], float(answer.scores[index]), grid))
    return tuple(found)


def measured(answer: Tensor | None, outputs: Outputs) -> tuple[Measurement, ...]:
    """The numbers that the network itself gives, about all of the image."""
    return tuple(
        measurement(output, _number(answer, output.index, output.key), None)
        for output in outputs.measurements
        if output.index is not None and answer is not None
    )


def computed(found: Sequence[Segment], volume: Volume, outputs: Outputs) -> tuple[Measurement, ...]:
    """What is computed of segments, segment by segment; of one without a voxel its volume alone, which is 0."""
    wanted = [output for output in outputs.measurements if output.compute]
    measurements = []
    for segment, voxels in zip(found, _voxels_of(found), strict=True) if wanted else ():
        of_it = [output for output in wanted if not output.of or segment.key in output.of]
        needs_values = voxels and any(output.compute != "volume" for output in of_it)
        values = volume.voxels[segment.mask] if needs_values else np.empty(0, np.float32)
        for output in of_it:
            if output.compute == "volume":
                measurements.append(measurement(output, voxels * volume.voxel_volume_ml, segment.key))
            elif voxels:
                measurements.append(measurement(output, computed_of(output, values), segment.key))
    return tuple(measurements)


def _voxels_of(found: Sequence[Segment]) -> list[int]:
    """How many voxels each segment has."""
    if len(found) > _MANY and isinstance(found[0].region, Labelled):
        # All classes of a label map in one pass, which takes as long as ten passes that look for one.
        shared = found[0].region.labels
        if all(isinstance(one.region, Labelled) and one.region.labels is shared for one in found):
            most = max(one.region.value for one in found if isinstance(one.region, Labelled))
            counts = np.zeros(most + 1, np.int64)
            for plane in shared:
                counts += np.bincount(plane.ravel(), minlength=most + 1)[: most + 1]
            return [int(counts[one.region.value]) for one in found if isinstance(one.region, Labelled)]
    # Plane by plane: what is compared stays in the processor's cache.
    return [sum(int(np.count_nonzero(one.part(plane))) for plane in range(one.shape[0])) for one in found]


def measurement(output: MeasurementOutput, value: float, finding_key: str | None) -> Measurement:
    return Measurement(
        name=output.name.code,
        value=value,
        unit=output.unit.code,
        finding_key=finding_key,
        derivation=output.derivation.code if output.derivation else None,
        method=output.method.code if output.method else None,
    )


def activated(values: Tensor, recipe: Postprocessing) -> Tensor:
    """values: (channels, ...)."""
    match recipe.activation:
        case "softmax":
            return torch.softmax(values, dim=0)
        case "sigmoid":
            return torch.sigmoid(values)
        case _:
            return values


def cleaned_mask(mask: Mask, steps: Sequence[Cleaning], grid: Grid, volume: Volume) -> Mask:
    """The mask after its steps; parts are connected where their voxels share a face."""
    near = _neighbours(grid, volume)
    for step in steps:
        if step.kind == "fill_holes":
            mask = np.asarray(ndimage.binary_fill_holes(mask, near), np.bool_)
            continue
        parts, count = ndimage.label(mask, near)
        if not count:
            return mask
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        if step.kind == "largest_component":
            mask = np.asarray(parts == sizes.argmax(), np.bool_)
        elif step.below_pixels is not None:
            kept = sizes * float(np.prod([abs(axis.step) for axis in grid.axes])) >= step.below_pixels
            mask = kept[parts]
        elif step.below_ml is not None:
            one_ml = volume.voxel_volume_ml * float(np.prod([abs(axis.step) for axis in grid.axes]))
            kept = sizes * one_ml >= step.below_ml
            mask = kept[parts]
    return mask


def _neighbours(grid: Grid, volume: Volume) -> Mask:
    """Those that share a face; but pictures side by side are no space, and have none across."""
    near = np.asarray(ndimage.generate_binary_structure(3, 1), np.bool_)
    if volume.pictures:
        across = next(number for number, axis in enumerate(grid.axes) if axis.along == 0)
        near.swapaxes(0, across)[[0, 2]] = False
    return near


def _labels(found: Iterator[Slab], grid: Grid, declared: Sequence[SegmentOutput]) -> Labels:
    """The class of the largest value on the grid; classes that the manifest does not declare are none."""
    known = {0, *(_index(output) for output in declared)}
    labels: Labels = np.zeros(grid.size, np.uint8 if max(known) <= np.iinfo(np.uint8).max else np.uint16)
    for slab in found:
        channels = len(slab.values)
        _require_channels(channels, declared)
        # No activation changes which value is the largest.
        decided = _largest(slab.values).cpu().numpy()
        told = np.array([index if index in known else 0 for index in range(channels)], labels.dtype)
        labels[slab.first : slab.first + decided.shape[0]] = told[decided]
    return labels


def _largest(values: Tensor) -> Tensor:
    """Which channel of (channels, ...) has the largest value, of several the first; torch's argmax takes eight times as long."""
    most = values[0].clone()
    scalar = torch.uint8 if len(values) <= np.iinfo(np.uint8).max else torch.int32
    decided = torch.zeros(most.shape, dtype=scalar, device=values.device)
    for channel in range(1, len(values)):
        decided.masked_fill_(values[channel] > most, channel)
        torch.maximum(most, values[channel], out=most)
    return decided


def _masks(found: Iterator[Slab], grid: Grid, recipe: Postprocessing, declared: Sequence[SegmentOutput]) -> list[Mask]:
    masks = [np.zeros(grid.size, np.bool_) for _ in declared]
    for slab in found:
        _require_channels(len(slab.values), declared)
        decided = (activated(slab.values, recipe) >= recipe.threshold).cpu().numpy()
        for mask, output in zip(masks, declared, strict=True):
            mask[slab.first : slab.first + decided.shape[1]] = decided[_index(output)]
    return masks


def _cleaned_labels(
    labels: Labels, grid: Grid, volume: Volume, recipe: Postprocessing, declared: Sequence[SegmentOutput]
) -> Labels:
    """What cleaning takes away becomes none; what it fills must have been none, for a voxel has one label."""
    for output in declared:
        steps = _steps(recipe, output)
        if steps:
            before = labels == _index(output)
            after = cleaned_mask(before, steps, grid, volume)
            labels[before & ~after] = 0
            labels[after & (labels == 0)] = _index(output)
    return labels


def _steps(recipe: Postprocessing, output: SegmentOutput) -> list[Cleaning]:
    return [step for step in recipe.cleaning if not step.segments or output.key in step.segments]


def computed_of(output: MeasurementOutput, values: NDArray[np.float32]) -> float:
    """What `output.compute` names, but for the volume, of values of which there is one at least."""
    match output.compute:
        case "mean":
            return float(values.mean(dtype=np.float64))
        case "minimum":
            return float(values.min())
        case "maximum":
            return float(values.max())
        case "deviation":
            return float(values.std(dtype=np.float64))
        case _:
            return float(np.percentile(values, output.percentile or 0.0))


def _segment(output: SegmentOutput, region: Mask | Labelled) -> Segment:
    return Segment(
        key=output.key,
        label=output.label,
        category=output.category.code,
        type=output.type.code,
        region=region,
        color_rgb=output.color_rgb,
        finding_site=output.finding_site.code if output.finding_site else None,
        laterality=output.laterality.code if output.laterality else None,
    )


def _detection(output: DetectionOutput, rank: int, corners: Tensor, score: float, grid: Grid) -> Detection:
    one, other = (grid.index_in_volume(corners[part].tolist()) for part in (slice(0, 3), slice(3, 6)))
    pairs = [(min(a, b), max(a, b)) for a, b in zip(one, other, strict=True)]
    # A box that reaches beyond the images ends with them.
    held = [(max(low, 0.0), min(high, size - 1.0)) for (low, high), size in zip(pairs, grid.shape, strict=True)]
    if any(low > high for low, high in held):
        raise InferenceError(f"the network found {output.key} outside the images, at {pairs}")
    (slice_1, slice_2), (row_1, row_2), (column_1, column_2) = held
    return Detection(
        key=f"{output.key}_{rank}",
        label=f"{output.label} {rank}"[:64],
        category=output.category.code,
        type=output.type.code,
        place=Box((slice_1, row_1, column_1), (slice_2, row_2, column_2)),
        score=score,
        color_rgb=output.color_rgb,
        finding_site=output.finding_site.code if output.finding_site else None,
        laterality=output.laterality.code if output.laterality else None,
    )


def _classification(output: ClassificationOutput, probability: float) -> Classification:
    if not 0 <= probability <= 1:
        raise InferenceError(
            f"{output.key} must be a probability, from 0 to 1, but the network gave {probability:g}: is"
            " postprocessing.activation missing?"
        )
    low, high = output.indeterminate or (output.threshold, output.threshold)
    state = "indeterminate" if low <= probability < high else "present" if probability >= output.threshold else "absent"
    return Classification(
        key=output.key,
        label=output.label,
        finding=output.finding.code,
        state=state,  # type: ignore[arg-type]
        probability=probability,
        threshold=output.threshold,
        finding_site=output.finding_site.code if output.finding_site else None,
        laterality=output.laterality.code if output.laterality else None,
    )


def _number(answer: Tensor, index: int, key: str) -> float:
    if index >= len(answer):
        raise InferenceError(f"outputs: {key} is number {index} of the network's answer, which has {len(answer)}")
    return float(answer[index])


def _index(output: SegmentOutput) -> int:
    if output.index is None:
        raise InferenceError(f"outputs: segment {output.key} has no index, so nobody knows which channel it is")
    return output.index


def _require_channels(channels: int, declared: Sequence[SegmentOutput]) -> None:
    for output in declared:
        if _index(output) >= channels:
            raise InferenceError(
                f"outputs: segment {output.key} is channel {output.index} of the network's answer, which has {channels}"
            )
