"""Keys of model.yaml that say how a network is used: what is done to the images before it, how it is run, and what its numbers
mean. A model that brings no code says all of it here."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, model_validator

from inference.manifested import Key, Manifested
from inference.sampling import Sampler

THIS_SERIES = "series"
"""The channel of the series that the model runs on; others are named as its companions."""

Positive = Annotated[float, Field(gt=0)]
Whole = Annotated[int, Field(ge=1)]
OfPlane = tuple[Whole, Whole]
"""Of rows and columns, where images are taken one by one."""


class Clip(Manifested):
    """Values outside low to high become low or high."""

    kind: Literal["clip"]
    low: float
    high: float

    @model_validator(mode="after")
    def in_order(self) -> Self:
        return _in_order(self, self.low, self.high)


class Scale(Manifested):
    """low to high becomes to[0] to to[1]; what lies outside is clipped, unless clip is false. A window is such a step."""

    kind: Literal["scale"]
    low: float
    high: float
    to: tuple[float, float] = (0.0, 1.0)
    clip: bool = True

    @model_validator(mode="after")
    def in_order(self) -> Self:
        return _in_order(self, self.low, self.high)


class Percentiles(Manifested):
    """As scale, between two percentiles of the image."""

    kind: Literal["percentiles"]
    low: float = Field(ge=0, le=100)
    high: float = Field(ge=0, le=100)
    to: tuple[float, float] = (0.0, 1.0)
    clip: bool = True

    @model_validator(mode="after")
    def in_order(self) -> Self:
        return _in_order(self, self.low, self.high)


class Standardise(Manifested):
    """Less the mean, divided by the standard deviation: those given, else those of the image (without zeros: non_zero)."""

    kind: Literal["standardise"]
    mean: float | None = None
    std: Positive | None = None
    non_zero: bool = False

    @model_validator(mode="after")
    def together(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std must be given together, or neither: then they are those of the image")
        if self.non_zero and self.mean is not None:
            raise ValueError("non_zero is for the mean and std of the image, and these are given")
        return self


Intensity = Annotated[Clip | Scale | Percentiles | Standardise, Field(discriminator="kind")]


class Crop(Manifested):
    """To the box that holds all voxels above a value (in the unit of the images), with a margin around it."""

    above: float
    margin_mm: float = Field(default=0.0, ge=0)


class Preprocessing(Manifested):
    """From the volume to what the network takes, in this order: axes, spacing or size, crop, fit or size_multiple, intensity.

    axes: the ends that the axes of the network's input run to ("RAS" as in MONAI; "SPL" is slices to the head, rows to the
    back, columns to the left), or as_acquired. spacing_mm, size_multiple: along those axes. outside: the value where there is
    no image. channels: `series`, or names of companions. size: so many voxels along each axis, whatever their spacing becomes.
    fit: cut or padded on both sides to so many, what is cut and padded being the same on both.
    Of images that are taken one by one, spacing_mm, size and size_multiple are two numbers, of rows and columns.
    """

    axes: Literal["as_acquired"] | Annotated[str, Field(pattern=r"^[RLAPSI]{3}$")] = "as_acquired"
    spacing_mm: tuple[Positive, Positive, Positive] | tuple[Positive, Positive] | None = None
    size: tuple[Whole, Whole, Whole] | OfPlane | None = None
    interpolation: Literal["linear", "nearest"] = "linear"
    crop: Crop | None = None
    fit: tuple[Whole, Whole, Whole] | None = None
    size_multiple: tuple[Whole, Whole, Whole] | OfPlane | None = None
    outside: float = 0.0
    intensity: tuple[Intensity, ...] = ()
    channels: tuple[str, ...] = Field(default=(THIS_SERIES,), min_length=1, max_length=16)

    @model_validator(mode="after")
    def has_one_size(self) -> Self:
        for one, other in (("size", "spacing_mm"), ("fit", "size_multiple")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"{one} and {other} exclude each other: each decides how many voxels there are")
        return self

    @model_validator(mode="after")
    def begins_with_the_series(self) -> Self:
        if THIS_SERIES not in self.channels:
            raise ValueError(f"channels must hold {THIS_SERIES}: what is found lies on its images")
        return self


class Use(Manifested):
    """How the network is run.

    mode `whole`: once, on all. `windows`: on windows of `patch` voxels that overlap by a share and are blended. `slices`: on
    each plane of the first axis, with so many `neighbours` on each side as further channels (2.5D).
    batch: how many windows or slices at once; `auto`: as many as there is memory for.
    flips: axes (0 the first) that are flipped for further predictions, which are averaged. sampler: for a network that takes
    noise away; it is then run so at each of its steps.
    Of images that are taken one by one a patch has two numbers, and axes 0 and 1 are rows and columns.
    """

    mode: Literal["whole", "windows", "slices"] = "whole"
    patch: tuple[Whole, Whole, Whole] | OfPlane | None = None
    overlap: float = Field(default=0.25, ge=0, lt=1)
    blending: Literal["constant", "gaussian"] = "gaussian"
    batch: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = "auto"
    neighbours: Annotated[int, Field(ge=0, le=16)] = 0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    flips: tuple[tuple[Annotated[int, Field(ge=0, le=2)], ...], ...] = Field(default=(), max_length=7)
    sampler: Sampler | None = None

    @model_validator(mode="after")
    def belongs_to_its_mode(self) -> Self:
        if (self.patch is not None) != (self.mode == "windows"):
            raise ValueError("patch must be given for mode windows, and for no other")
        if self.neighbours and self.mode != "slices":
            raise ValueError("neighbours are for mode slices")
        if self.mode == "slices" and any(0 in axes for axes in self.flips):
            raise ValueError("flips of mode slices are of axes 1 and 2: a slice has no axis 0")
        if self.sampler and self.flips:
            raise ValueError("flips are not for a sampler: ask it for an ensemble")
        return self


class Cleaning(Manifested):
    """What is done to segments, by their keys; without keys, to each.

    largest_component keeps the largest connected part, fill_holes fills what is enclosed, remove_small takes away parts below
    `below_ml`; of images that are taken one by one, those of fewer pixels than `below_pixels`.
    """

    kind: Literal["largest_component", "fill_holes", "remove_small"]
    segments: tuple[Key, ...] = ()
    below_ml: Positive | None = None
    below_pixels: Whole | None = None

    @model_validator(mode="after")
    def says_how_small(self) -> Self:
        given = sum(limit is not None for limit in (self.below_ml, self.below_pixels))
        if given != (self.kind == "remove_small"):
            raise ValueError("below_ml must be given for remove_small, or below_pixels, and for no other")
        return self


class Postprocessing(Manifested):
    """From the network's numbers to what they mean.

    activation: what the network left to be done. decide: which segment a voxel belongs to: the class of the largest value
    (argmax; class 0 is none), or each one whose value is at least `threshold`.
    combine: of images that are taken one by one, whether the network's numbers (after the activation) are told for each, or
    their mean or maximum for all of the series.
    """

    activation: Literal["none", "softmax", "sigmoid"] = "none"
    decide: Literal["argmax", "threshold"] = "argmax"
    threshold: float = 0.5
    combine: Literal["none", "mean", "maximum"] = "none"
    cleaning: tuple[Cleaning, ...] = ()


_Step = TypeVar("_Step", bound=Manifested)


def _in_order(step: _Step, low: float, high: float) -> _Step:
    if not low < high:
        raise ValueError(f"low must be below high, but they are {low} and {high}")
    return step
