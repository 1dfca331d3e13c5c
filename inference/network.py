"""A network of a package's weights, and how it is run on an image: whole, by windows or by slices, in a precision, flipped.

Networks stay loaded: the next study of the same model finds its network where the last one left it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor

from inference.batches import SLICES_ON_CPU, Batches, Room
from inference.errors import InferenceError, PackageError
from inference.manifest import BundleRuntime, PythonRuntime
from inference.package import Package
from inference.passes import Timed
from inference.recipe import Use
from inference.runtimes import monai_bundle, onnx, torch_export, torchscript
from inference.sliding_window import Slab, Windows, slabs

Network = Callable[..., object]
"""Called with the image; with the timestep, too, where there is a sampler."""

_LOADERS: dict[str, Callable[[BytesIO, torch.device], Network]] = {
    "torchscript": torchscript.load,
    "torch_export": torch_export.load,
    "onnx": onnx.load,
}
_PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}
LOADED_AT_ONCE = 4


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """corners: float32 (boxes, 2 x axes), two opposite ones in indices of the image. scores: (boxes,), 0 to 1.
    classes: (boxes,)."""

    corners: Tensor
    scores: Tensor
    classes: Tensor


def network_of(package: Package, device: torch.device) -> Network:
    """The package's network on the device. Raises PackageError where its weights are not what the manifest says."""
    runtime = package.manifest.runtime
    if isinstance(runtime, PythonRuntime):
        raise PackageError(f"{package.key}: runtime.kind {runtime.kind} has no network")
    (weights,) = [item for item in package.manifest.weights if item.file == runtime.file]
    bundled = runtime if isinstance(runtime, BundleRuntime) else None
    made = json.dumps([bundled.network, bundled.arguments]) if bundled else ""
    timed = _loaded(package.folder / runtime.file, weights.sha256, runtime.kind, str(device), made)
    if isinstance(timed.network, onnx.OnnxNetwork):
        use = package.manifest.use
        onnx.require_inputs(timed.network, ("the image", "the timestep") if use and use.sampler else ("the image",))
    return timed


@lru_cache(maxsize=LOADED_AT_ONCE)
def _loaded(path: Path, sha256: str, kind: str, device: str, made: str) -> Timed:
    """made: class and arguments of a network that is not all in its file, as JSON."""
    # What is parsed is what was verified: one reading of the file serves both.
    content = path.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise PackageError(f"{path}: SHA-256 must be {sha256}, but is {found}; fetch the file again")
    where = torch.device(device)
    if made:
        return Timed(monai_bundle.load(BytesIO(content), where, *json.loads(made)), where)
    return Timed(_LOADERS[kind](BytesIO(content), where), where)


def maps(image: Tensor, network: Network, use: Use, device: torch.device) -> Iterator[Slab]:
    """Predictions for each voxel, plane after plane: float32 (channels, planes, ...) of an image (channels, *space).

    Raises InferenceError where the network answers with something else, or with what is no number.
    """
    predict, room = _Predict(network, use, device), network.room if isinstance(network, Timed) else Room()
    if use.mode == "slices":
        found = _by_slices(image, predict, use, device, room)
    else:
        patch = use.patch or tuple(image.shape[1:])
        windows = Windows(patch, use.overlap, use.blending, use.batch)
        found = slabs(image, predict, windows, device=device, room=room)
    for slab in found:
        # Reads what is there once and makes no array of its size; NaN is the least and the largest of what holds it.
        if not all(map(torch.isfinite, torch.aminmax(slab.values))):
            raise InferenceError("the network answered with values that are no finite numbers (NaN or infinite)")
        yield slab


def numbers(image: Tensor, network: Network, use: Use, device: torch.device) -> Tensor:
    """float32 (numbers,): the answer to the whole image. Raises InferenceError as `maps` does."""
    answers = []
    for axes in ((), *use.flips):
        flipped = torch.flip(image, [axis + 1 for axis in axes])[None].to(device)
        with autocast(use, device):
            answer = network(flipped)
        if not isinstance(answer, Tensor) or answer.ndim != 2 or len(answer) != 1:
            raise InferenceError(f"the network must answer with numbers, (1, numbers), but gave {_shape(answer)}")
        answers.append(answer[0].float())
    mean = torch.stack(answers).mean(dim=0)
    if not bool(torch.isfinite(mean).all()):
        raise InferenceError("the network answered with values that are no finite numbers (NaN or infinite)")
    return mean


def boxes(image: Tensor, network: Network, use: Use, device: torch.device) -> Boxes:
    """What is found in the whole image: the network answers with corners, scores and classes.

    Raises InferenceError as `maps` does.
    """
    with autocast(use, device):
        answer = network(image[None].to(device))
    parts = [part for part in answer if isinstance(part, Tensor)] if isinstance(answer, tuple | list) else []
    wide = 2 * (image.ndim - 1)
    if (
        [part.ndim for part in parts] != [2, 1, 1]
        or parts[0].shape[1] != wide
        or len({len(part) for part in parts}) > 1
    ):
        raise InferenceError(
            f"the network must answer with boxes: corners (boxes, {wide}), scores (boxes,) and classes (boxes,), but gave"
            f" {', '.join(map(_shape, parts)) or _shape(answer)}"
        )
    corners, scores, classes = (part.float().cpu() for part in parts)
    if not bool(torch.isfinite(corners).all()) or not bool(((scores >= 0) & (scores <= 1)).all()):
        raise InferenceError(
            "the network gave boxes whose corners are no finite numbers, or scores that are not from 0 to 1"
        )
    return Boxes(corners, scores, classes)


class _Predict:
    """A batch to its maps, of the same size: flipped as asked for, and averaged."""

    def __init__(self, network: Network, use: Use, device: torch.device) -> None:
        self._network = network
        self._use = use
        self._device = device

    def __call__(self, batch: Tensor) -> Tensor:
        # A slice has no axis 0, and the axes of its image come one earlier.
        shift = 1 if self._use.mode == "slices" else 2
        total = self._once(batch, [])
        for axes in self._use.flips:
            total = total + self._once(batch, [axis + shift for axis in axes])
        return total / (1 + len(self._use.flips))

    def _once(self, batch: Tensor, axes: list[int]) -> Tensor:
        with autocast(self._use, self._device):
            answer = self._network(torch.flip(batch, axes) if axes else batch)
        if not isinstance(answer, Tensor) or answer.ndim != batch.ndim or answer.shape[2:] != batch.shape[2:]:
            raise InferenceError(
                f"the network must answer with maps of the size that it is given, (batch, channels,"
                f" {', '.join(map(str, batch.shape[2:]))}), but gave {_shape(answer)}"
            )
        return torch.flip(answer, axes).float() if axes else answer.float()


def _by_slices(image: Tensor, predict: _Predict, use: Use, device: torch.device, room: Room) -> Iterator[Slab]:
    """Each plane of the first axis by itself, with its neighbours as channels; those beyond an end are that end again."""
    planes = image.shape[1]

    def stacked(first: int, end: int) -> Tensor:
        stacks = []
        for plane in range(first, end):
            near = [min(max(plane + by, 0), planes - 1) for by in range(-use.neighbours, use.neighbours + 1)]
            stacks.append(image[:, near].flatten(0, 1))
        return torch.stack(stacks)

    batch = SLICES_ON_CPU if use.batch == "auto" and device.type == "cpu" else use.batch
    for first, answer in Batches(predict, batch, device, room=room).of(planes, stacked):
        yield Slab(first, answer.transpose(0, 1))


def autocast(use: Use, device: torch.device) -> AbstractContextManager[object]:
    """The precision that the network is run in."""
    if use.precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=_PRECISIONS[use.precision])


def _shape(answer: object) -> str:
    return str(tuple(answer.shape)) if isinstance(answer, Tensor) else type(answer).__name__
