"""Predictions on an image that is larger than what a model takes: window by window, blended where windows overlap.

Windows and weights are those of MONAI's `sliding_window_inference`, so that a model gives what it gave where it was
trained. What differs is memory: finished planes are handed out as soon as no later window can touch them, so the predictions of
all channels are never held for the whole image.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from inference.batches import Batch, Batches, Room

# Width of the Gaussian as a share of the window, and the least weight of a voxel at its edge; as MONAI has them.
SIGMA_SHARE = 0.125
LEAST_WEIGHT = 1e-3

Predict = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Windows:
    """patch: size of a window along each axis. overlap: share that neighbours have in common. batch: windows at once."""

    patch: tuple[int, ...]
    overlap: float = 0.25
    blending: Literal["constant", "gaussian"] = "gaussian"
    batch: Batch = 4

    def __post_init__(self) -> None:
        if not self.patch or min(self.patch) < 1:
            raise ValueError(f"a window must have one voxel at least along each axis, but is {self.patch}")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"overlap must be at least 0 and below 1, but is {self.overlap}")
        if self.batch != "auto" and self.batch < 1:
            raise ValueError(f"batch must be 1 at least, but is {self.batch}")


@dataclass(frozen=True, slots=True)
class Slab:
    """Finished planes: float32 (channels, planes, ...) on the first axis from `first` on."""

    first: int
    values: Tensor


def slabs(
    image: Tensor, predict: Predict, windows: Windows, *, device: torch.device, room: Room | None = None
) -> Iterator[Slab]:
    """The prediction on an image (channels, *space), plane after plane along the first axis of space, without gaps.

    predict: windows (batch, channels, *patch) on the device to (batch, channels out, *patch). Where the device has no memory
    for a batch, half of it is tried, and so on; room remembers that. image stays where it is; slabs are on the device.
    Raises ValueError where a prediction has another size than its window.
    """
    space = tuple(image.shape[1:])
    if len(space) != len(windows.patch):
        raise ValueError(f"windows of {len(windows.patch)} axes do not fit an image of {len(space)}")
    before = [max(patch - size, 0) // 2 for patch, size in zip(windows.patch, space, strict=True)]
    after = [max(patch - size, 0) - half for patch, size, half in zip(windows.patch, space, before, strict=True)]
    if any(after):
        pads = itertools.chain.from_iterable(zip(reversed(before), reversed(after), strict=True))
        image = functional.pad(image, list(pads))
    within = tuple(slice(half, half + size) for half, size in zip(before[1:], space[1:], strict=True))
    first, last = before[0], before[0] + space[0]
    batches = Batches(_checked(predict), windows.batch, device, room=room)
    for slab in _blended(image, batches, windows, device):
        begin, end = max(slab.first, first), min(slab.first + slab.values.shape[1], last)
        if begin < end:
            planes = slice(begin - slab.first, end - slab.first)
            yield Slab(begin - first, slab.values[(slice(None), planes, *within)])


def starts(size: int, patch: int, overlap: float) -> list[int]:
    """Where windows begin along an axis of at least `patch` voxels; the last one ends with it."""
    step = patch if size == patch else max(int(patch * (1 - overlap)), 1)
    found = [start for start in range(0, size, step) if start + patch < size]
    return [*found, size - patch]


def importance(patch: Sequence[int], blending: Literal["constant", "gaussian"], device: torch.device) -> Tensor:
    """float32 (*patch): how much a window's prediction counts at each of its voxels."""
    weights = torch.ones(tuple(patch), dtype=torch.float32, device=device)
    if blending == "gaussian":
        for axis, size in enumerate(patch):
            from_middle = torch.arange(size, dtype=torch.float32, device=device) - (size - 1) / 2
            bell = torch.exp(from_middle**2 / (-2 * (size * SIGMA_SHARE) ** 2))
            weights = weights * bell.view([-1 if other == axis else 1 for other in range(len(patch))])
        weights = weights.clamp_(min=max(float(weights.min()), LEAST_WEIGHT))
    return weights


def _blended(image: Tensor, batches: Batches, windows: Windows, device: torch.device) -> Iterator[Slab]:
    """As `slabs`, of an image that is nowhere smaller than a window. Windows with one first plane are a row."""
    size, patch = tuple(image.shape[1:]), windows.patch
    weights = importance(patch, windows.blending, device)
    rows = starts(size[0], patch[0], windows.overlap)
    places = list(itertools.product(*(starts(n, p, windows.overlap) for n, p in zip(size[1:], patch[1:], strict=True))))
    share = _row_of_weights(weights, places, (patch[0], *size[1:]))
    total, weight = torch.zeros((1, *share.shape), dtype=torch.float32, device=device), torch.zeros_like(share)
    for row, following in itertools.zip_longest(rows, rows[1:], fillvalue=size[0]):
        for at, predicted in batches.of(len(places), partial(_cut, image, [(row, *place) for place in places], patch)):
            if len(total) != predicted.shape[1]:
                # Only now is it known how many channels the model gives.
                total = total.new_zeros((predicted.shape[1], *share.shape))
            for place, values in zip(places[at:], predicted, strict=False):
                total[(slice(None), *_window(0, place, patch))].addcmul_(values, weights)
        weight += share
        done = following - row
        yield Slab(row, total[:, :done] / weight[:done])
        total, weight = _moved_on(total, done, axis=1), _moved_on(weight, done, axis=0)


def _moved_on(values: Tensor, by: int, *, axis: int) -> Tensor:
    """Without its first planes, and with as many empty ones at its end."""
    kept = values.narrow(axis, min(by, values.shape[axis]), max(values.shape[axis] - by, 0))
    new = torch.zeros_like(values.narrow(axis, 0, min(by, values.shape[axis])))
    return torch.cat([kept, new], dim=axis)


def _row_of_weights(weights: Tensor, places: Sequence[tuple[int, ...]], size: Sequence[int]) -> Tensor:
    row = torch.zeros(tuple(size), dtype=torch.float32, device=weights.device)
    for place in places:
        row[_window(0, place, weights.shape)] += weights
    return row


def _window(first: int, place: Sequence[int], patch: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(start, start + length) for start, length in zip((first, *place), patch, strict=True))


def _cut(image: Tensor, places: Sequence[tuple[int, ...]], patch: Sequence[int], first: int, end: int) -> Tensor:
    """Windows as a batch."""
    return torch.stack([image[(slice(None), *_window(row, place, patch))] for row, *place in places[first:end]])


def _checked(predict: Predict) -> Predict:
    """Raises ValueError where a prediction is not what it must be."""

    def checked(batch: Tensor) -> Tensor:
        predicted = predict(batch)
        if predicted.ndim != batch.ndim or len(predicted) != len(batch) or predicted.shape[2:] != batch.shape[2:]:
            raise ValueError(
                f"a prediction must have the size of its window, (batch, channels, {', '.join(map(str, batch.shape[2:]))}),"
                f" but is {tuple(predicted.shape)}"
            )
        return predicted.float()

    return checked
