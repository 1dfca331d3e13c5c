"""Keys of model.yaml for networks that take noise away step by step (diffusion): the steps are the node's, not the package's."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from inference.manifested import Manifested

Beta = Annotated[float, Field(gt=0, lt=1)]


class Sampler(Manifested):
    """How an answer is drawn from a network that takes (image, timestep) and tells the noise in the image.

    What is drawn has so many `channels`, and goes into the network together with the image's, in this order (`joined`).
    kind ddim: Song et al. 2021, as MONAI and diffusers have it; eta 0 adds no noise on the way. steps: of train_steps;
    timesteps: which ones (leading: 0, T/steps, ...; trailing: T-1, T-1-T/steps, ...; linspace: from 0 to T-1). schedule,
    beta_start, beta_end: of the noise in training. prediction: what the network tells: the noise (epsilon), the image
    without it (sample), or v (Salimans and Ho 2022). clip: of the image without noise, at each step.
    ends: the two values of what is drawn that become 0 and 1. seed, ensemble: so many are drawn, from this seed on; their mean
    is the answer.
    """

    kind: Literal["ddim"]
    steps: int = Field(ge=1, le=1000)
    train_steps: int = Field(default=1000, ge=1, le=10_000)
    timesteps: Literal["leading", "trailing", "linspace"] = "leading"
    schedule: Literal["linear", "scaled_linear", "cosine"] = "linear"
    beta_start: Beta = 1e-4
    beta_end: Beta = 0.02
    prediction: Literal["epsilon", "sample", "v"] = "epsilon"
    clip: tuple[float, float] | None = (-1.0, 1.0)
    eta: float = Field(default=0.0, ge=0, le=1)
    channels: int = Field(default=1, ge=1, le=64)
    joined: tuple[Literal["drawn", "image"], Literal["drawn", "image"]] = ("drawn", "image")
    ends: tuple[float, float] = (-1.0, 1.0)
    seed: int = Field(default=0, ge=0, lt=2**32)
    ensemble: int = Field(default=1, ge=1, le=64)

    @model_validator(mode="after")
    def can_be_followed(self) -> Self:
        if self.steps > self.train_steps:
            raise ValueError(f"steps must be at most train_steps {self.train_steps}, but are {self.steps}")
        if self.schedule != "cosine" and not self.beta_start <= self.beta_end:
            raise ValueError(f"beta_start {self.beta_start:g} is above beta_end {self.beta_end:g}")
        for name, ends in (("clip", self.clip), ("ends", self.ends)):
            if ends is not None and not ends[0] < ends[1]:
                raise ValueError(f"{name} must be two numbers, the lower first, but are {ends}")
        if set(self.joined) != {"drawn", "image"}:
            raise ValueError("joined must name drawn and image, in the order in which the network takes them")
        return self
