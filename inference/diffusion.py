"""Answers drawn from a network that takes noise away step by step: denoising diffusion implicit models (Song et al. 2021).

The whole of what is drawn is kept, and each step runs the network over all of it as `use` says: by windows that are blended or
slice by slice. So windows agree where they overlap, however they are batched; and the noise, which comes from a generator on the
CPU, is the same on every device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from inference.errors import InferenceError
from inference.network import Network, maps
from inference.recipe import Use
from inference.sampling import Sampler

_COSINE_OFFSET = 8e-3
_LARGEST_BETA = 0.999

Denoise = Callable[[Tensor, int], Tensor]
"""What is drawn so far (channels, *space) and a timestep to what the network tells, of the same shape; both on the CPU."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """mean: float32 (channels, *space) of all that was drawn, 0 to 1 between the sampler's `ends`. deviation: the standard
    deviation among them, likewise; None where one alone was drawn."""

    mean: Tensor
    deviation: Tensor | None


def drawn(image: Tensor, network: Network, use: Use, device: torch.device) -> Drawn:
    """As many answers to an image (channels, *space) as the sampler asks for, one after the other (Welford 1962).

    Raises InferenceError where the network answers with something else than what it is to tell.
    """
    if use.sampler is None:
        raise InferenceError("use.sampler is not given, so nothing can be drawn")
    sampler, count = use.sampler, use.sampler.ensemble
    denoise = _Denoise(image, network, use, sampler, device)
    mean = squares = torch.zeros((sampler.channels, *image.shape[1:]))
    low, high = sampler.ends
    for number in range(count):
        generator = torch.Generator().manual_seed(sampler.seed + number)
        share = (ddim(denoise, tuple(mean.shape), sampler, generator) - low) / (high - low)
        off = share - mean
        mean = mean + off / (number + 1)
        squares = squares + off * (share - mean)
    return Drawn(mean, (squares / count).clamp_(min=0).sqrt_() if count > 1 else None)


def parameters(sampler: Sampler) -> dict[str, str]:
    """What a report must say of how an answer was drawn, so that it can be drawn again."""
    return {
        "sampler": f"{sampler.kind} {sampler.steps}/{sampler.train_steps}, seed {sampler.seed}, {sampler.ensemble} drawn"
    }


def ddim(denoise: Denoise, shape: tuple[int, ...], sampler: Sampler, generator: torch.Generator) -> Tensor:
    """One drawing of a shape (channels, *space), from noise of the generator: formulas 12 and 16 of the paper."""
    kept = kept_shares(sampler)
    found = torch.randn(shape, generator=generator)
    for timestep in timesteps(sampler):
        before = timestep - sampler.train_steps // sampler.steps
        share, share_before = float(kept[timestep]), float(kept[before]) if before >= 0 else 1.0
        image, noise = _told_apart(denoise(found, timestep), found, share, sampler)
        if sampler.clip is not None:
            image = image.clamp(*sampler.clip)
        variance = (1 - share_before) / (1 - share) * (1 - share / share_before)
        deviation = sampler.eta * math.sqrt(variance)
        found = math.sqrt(share_before) * image + math.sqrt(max(1 - share_before - deviation**2, 0.0)) * noise
        if sampler.eta:
            found = found + deviation * torch.randn(shape, generator=generator)
    return found


def kept_shares(sampler: Sampler) -> Tensor:
    """float32 (train_steps,): how much of the image is left at each timestep, of the variance (the product of 1 - beta)."""
    steps = sampler.train_steps
    match sampler.schedule:
        case "linear":
            betas = torch.linspace(sampler.beta_start, sampler.beta_end, steps)
        case "scaled_linear":
            betas = torch.linspace(sampler.beta_start**0.5, sampler.beta_end**0.5, steps) ** 2
        case "cosine":
            at = torch.linspace(0, steps, steps + 1) / steps
            left = torch.cos((at + _COSINE_OFFSET) / (1 + _COSINE_OFFSET) * math.pi / 2) ** 2
            betas = (1 - left[1:] / left[:-1]).clamp(0, _LARGEST_BETA)
    return torch.cumprod(1 - betas, dim=0)


def timesteps(sampler: Sampler) -> list[int]:
    """The timesteps of training that are run, the noisiest first."""
    most, steps = sampler.train_steps, sampler.steps
    match sampler.timesteps:
        case "leading":
            return [number * (most // steps) for number in reversed(range(steps))]
        case "trailing":
            return [round(most - number * most / steps) - 1 for number in range(steps)]
        case "linspace":
            found: list[int] = torch.linspace(most - 1, 0, steps).round().int().tolist()
            return found


def _told_apart(told: Tensor, found: Tensor, share: float, sampler: Sampler) -> tuple[Tensor, Tensor]:
    """The image without noise, and the noise, by what the network tells."""
    of_image, of_noise = math.sqrt(share), math.sqrt(1 - share)
    match sampler.prediction:
        case "epsilon":
            return (found - of_noise * told) / of_image, told
        case "sample":
            return told, (found - of_image * told) / of_noise
        case "v":
            return of_image * found - of_noise * told, of_image * told + of_noise * found


class _Denoise:
    """The network on all of what is drawn so far, beside the image that it is drawn for."""

    def __init__(self, image: Tensor, network: Network, use: Use, sampler: Sampler, device: torch.device) -> None:
        self._image = image
        self._network = network
        self._use = use
        self._sampler = sampler
        self._device = device

    def __call__(self, found: Tensor, timestep: int) -> Tensor:
        parts = {"drawn": found, "image": self._image}
        joined = torch.cat([parts[name] for name in self._sampler.joined])

        def network(batch: Tensor) -> object:
            at = torch.full((len(batch),), timestep, dtype=torch.int64, device=batch.device)
            return self._network(self._without_neighbours(batch), at)

        told = torch.empty_like(found)
        for slab in maps(joined, network, self._use, self._device):
            if len(slab.values) != len(found):
                raise InferenceError(
                    f"the network must tell as many channels as are drawn (use.sampler.channels), {len(found)}, but told"
                    f" {len(slab.values)}"
                )
            told[:, slab.first : slab.first + slab.values.shape[1]] = slab.values.cpu()
        return told

    def _without_neighbours(self, batch: Tensor) -> Tensor:
        """Slices come with their neighbours, but what is drawn goes in without: it is drawn for the slice itself."""
        around = self._use.neighbours
        if not around:
            return batch
        wide = 2 * around + 1
        count = self._sampler.channels * wide
        first = 0 if self._sampler.joined[0] == "drawn" else batch.shape[1] - count
        own = batch[:, first : first + count][:, around::wide]
        parts = {"drawn": own, "image": torch.cat([batch[:, :first], batch[:, first + count :]], dim=1)}
        return torch.cat([parts[name] for name in self._sampler.joined], dim=1)
