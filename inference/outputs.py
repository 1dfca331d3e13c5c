"""Keys of model.yaml that say what a model may answer, and in which coded words a report says it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from inference.manifested import CodedConcept, Color, Key, Label, Manifested, Share

Index = Annotated[int, Field(ge=0, le=65535)]


class SegmentOutput(Manifested):
    """index: of a network's channel, or class where the largest decides. Code that names its masks by key needs none."""

    key: Key
    label: Label
    category: CodedConcept
    type: CodedConcept
    color_rgb: Color
    finding_site: CodedConcept | None = None
    laterality: CodedConcept | None = None
    index: Index | None = None


class MapOutput(Manifested):
    """A number for each voxel, which becomes a heat map.

    of `answer`: channel `index` of the network's answer, after activation; `difference`: that, less the image as it was
    acquired; `uncertainty`: the standard deviation of the channel among the answers that a sampler draws.
    becomes: what 0 and 1 of the answer are in `unit`. shown: lowest and highest value that a display tells apart;
    hides_below: what a picture does not colour.
    """

    key: Key
    label: Label
    quantity: CodedConcept
    unit: CodedConcept
    of: Literal["answer", "difference", "uncertainty"] = "answer"
    index: Index = 0
    becomes: tuple[float, float] = (0.0, 1.0)
    shown: tuple[float, float]
    hides_below: float | None = None
    finding_site: CodedConcept | None = None
    laterality: CodedConcept | None = None

    @model_validator(mode="after")
    def in_order(self) -> Self:
        if not self.shown[0] < self.shown[1]:
            raise ValueError(f"shown must be two numbers, the lower first, but are {self.shown}")
        if self.becomes[0] == self.becomes[1]:
            raise ValueError(f"becomes must be two different numbers, but are {self.becomes}")
        return self


class MeasurementOutput(Manifested):
    """index: of the number in a network's answer. compute: of each segment (of those in `of`, where they are named), or of
    the maps that `of` names.

    Computed are the volume (unit mL), of images that are taken one by one the area (unit mm2 or cm2, where the image says how
    large its pixels are in the patient; else it is told in pixels), and of the values of the image within the segment the
    mean, minimum, maximum, standard deviation or a percentile, in the unit of the image, which `unit` names.
    """

    key: Key
    name: CodedConcept
    unit: CodedConcept
    derivation: CodedConcept | None = None
    method: CodedConcept | None = None
    index: Index | None = None
    compute: Literal["volume", "area", "mean", "minimum", "maximum", "deviation", "percentile"] | None = None
    percentile: Annotated[float, Field(ge=0, le=100)] | None = None
    of: tuple[Key, ...] = ()

    @model_validator(mode="after")
    def comes_from_one_place(self) -> Self:
        if self.index is not None and self.compute is not None:
            raise ValueError("index and compute exclude each other: a number is the network's, or computed")
        if (self.percentile is not None) != (self.compute == "percentile"):
            raise ValueError("percentile must be given for compute percentile, and for nothing else")
        if self.of and self.compute is None:
            raise ValueError("of names the segments that something is computed of; give compute, too")
        if self.compute == "volume" and self.unit.value != "mL":
            raise ValueError(f"a volume is computed in mL (UCUM), but unit is {self.unit.value}")
        if self.compute == "area" and self.unit.value not in ("mm2", "cm2"):
            raise ValueError(f"an area is computed in mm2 or cm2 (UCUM), but unit is {self.unit.value}")
        return self


class ClassificationOutput(Manifested):
    """index: of the probability in a network's answer. From threshold on it is present, below it absent; between the two of
    `indeterminate` (lower bound included) neither is said."""

    key: Key
    label: Label
    finding: CodedConcept
    index: Index
    threshold: Share
    indeterminate: tuple[Share, Share] | None = None
    finding_site: CodedConcept | None = None
    laterality: CodedConcept | None = None

    @model_validator(mode="after")
    def threshold_lies_within(self) -> Self:
        if self.indeterminate and not self.indeterminate[0] <= self.threshold <= self.indeterminate[1]:
            raise ValueError("threshold must lie within indeterminate, whose lower bound comes first")
        return self


class DetectionOutput(Manifested):
    """index: of the class that a network gives a box. Those with a score from least_score on are told, the surest first."""

    key: Key
    label: Label
    category: CodedConcept
    type: CodedConcept
    index: Index
    least_score: Share
    at_most: Annotated[int, Field(ge=1, le=1000)] = 100
    color_rgb: Color = (213, 94, 0)
    finding_site: CodedConcept | None = None
    laterality: CodedConcept | None = None


class Outputs(Manifested):
    """All that the model may say. What it says beyond this is refused, not reported."""

    segments: tuple[SegmentOutput, ...] = ()
    measurements: tuple[MeasurementOutput, ...] = ()
    classifications: tuple[ClassificationOutput, ...] = ()
    detections: tuple[DetectionOutput, ...] = ()
    maps: tuple[MapOutput, ...] = ()
    remarks: dict[Key, CodedConcept] = Field(default_factory=dict)
    not_analysed: dict[Key, CodedConcept]

    @model_validator(mode="after")
    def keys_are_unique(self) -> Self:
        found = [item.key for item in self.segments]
        found += [item.key for item in self.classifications]
        found += [item.key for item in self.detections]
        found += [item.key for item in self.maps]
        for keys in (found, [item.key for item in self.measurements]):
            if twice := _twice(keys):
                raise ValueError(f"key {twice} is given twice")
        numbers = [item.index for item in self.classifications] + [item.index for item in self.measurements]
        for indices in ([item.index for item in self.segments], numbers, [item.index for item in self.detections]):
            if twice := _twice([str(index) for index in indices if index is not None]):
                raise ValueError(f"index {twice} is given twice")
        return self

    @model_validator(mode="after")
    def what_is_computed_is_of_segments_or_maps(self) -> Self:
        maps = {item.key for item in self.maps}
        known = {item.key for item in self.segments} | maps
        for measurement in self.measurements:
            if stranger := next((key for key in measurement.of if key not in known), None):
                raise ValueError(f"measurement {measurement.key} is of {stranger}, which is no segment and no map")
            if measurement.compute == "volume" and (
                wrong := next((key for key in measurement.of if key in maps), None)
            ):
                raise ValueError(f"measurement {measurement.key} is the volume of {wrong}, which is a map and has none")
        return self


def _twice(values: Sequence[str]) -> str | None:
    return next((value for value in values if values.count(value) > 1), None)
