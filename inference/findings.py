"""Findings: what a model says, coded and with units. They know no DICOM object; a DICOM object knows no model.

Places are indices of the volume's grid: (slice, row, column), float, the centre of the first voxel being (0, 0, 0).
A key names a finding within its model and never changes between versions; tracking UIDs derive from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import EllipsisType
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept: value, coding scheme designator and meaning (PS3.3 section 8.8).

    Raises ValueError where one is longer than its VR allows: SH, SH and LO (PS3.5 6.2).
    """

    value: str
    scheme: str
    meaning: str

    def __post_init__(self) -> None:
        for name, text, longest in (
            ("value", self.value, 16),
            ("scheme", self.scheme, 16),
            ("meaning", self.meaning, 64),
        ):
            if not 1 <= len(text) <= longest:
                raise ValueError(f"code {name} must have 1 to {longest} characters, but is {text!r}")


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Where a label map holds one value. Many segments share one map: they cost no volume each, and cannot overlap.

    labels: unsigned integers (slices, rows, columns) on the volume's grid, 0 where there is no segment.
    """

    labels: NDArray[np.unsignedinteger]
    value: int

    def __post_init__(self) -> None:
        if self.labels.dtype not in (np.uint8, np.uint16) or self.labels.ndim != 3:
            raise ValueError(
                f"labels must be uint8 or uint16 in three dimensions, but are {self.labels.dtype} {self.labels.shape}"
            )
        if not 1 <= self.value <= np.iinfo(self.labels.dtype).max:
            raise ValueError(f"a label of {self.labels.dtype} must be from 1 to its largest value, but is {self.value}")


Region = NDArray[np.bool_] | NDArray[np.float32] | Labelled
"""On the volume's grid (slices, rows, columns): which voxels, how probable each is (0 to 1), or one value of a label map."""


Index = int | slice | EllipsisType | tuple[int | slice, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A region of the volume. Segments may overlap.

    key names the segment within its model and never changes between versions ("left_lung"); tracking UIDs derive from it.
    threshold: of a region of probabilities, that from which on a voxel belongs to the segment.
    finding_site and laterality say where in the body, for the report; color_rgb is 0-255 for each channel.
    """

    key: str
    label: str
    category: Code
    type: Code
    region: Region
    color_rgb: tuple[int, int, int]
    finding_site: Code | None = None
    laterality: Code | None = None
    threshold: float = 0.5

    def __post_init__(self) -> None:
        _require_region(self.region, self.label)
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold of {self.label!r} must be above 0 and at most 1, but is {self.threshold}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Slices, rows, columns."""
        return self.array.shape

    @property
    def mask(self) -> NDArray[np.bool_]:
        """bool (slices, rows, columns), made anew unless that is what the model gave: ask for `part` where it will do."""
        return self.part(...)

    @property
    def has_probabilities(self) -> bool:
        return not isinstance(self.region, Labelled) and self.region.dtype == np.float32

    def part(self, index: Index) -> NDArray[np.bool_]:
        """The mask where numpy's basic index says: `part(12)` is slice 12, `part(np.s_[:, 40])` a cut along a row."""
        return self.of(self.array[index])

    def of(self, values: NDArray[np.generic]) -> NDArray[np.bool_]:
        """Which of some values of its array belong to the segment."""
        if isinstance(self.region, Labelled):
            return np.asarray(values == self.region.value)
        if self.has_probabilities:
            return np.asarray(values >= np.float32(self.threshold))
        return np.asarray(values, np.bool_)

    @property
    def array(self) -> NDArray[np.generic]:
        """What the model gave; segments of one label map give the same one."""
        return self.region.labels if isinstance(self.region, Labelled) else self.region


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number with its unit (UCUM) about one finding, named by its key; about all that was analysed, where that is None.

    derivation says how the number was derived (mean, percentile; PS3.16 CID 7464), method how it was measured.
    uncertainty: half the width of its 95 % interval, in the same unit. pictures: of images that are taken one by one, those
    (by their number among the volume's pictures) that it was measured on; none for all.
    """

    name: Code
    value: float
    unit: Code
    finding_key: str | None
    derivation: Code | None = None
    method: Code | None = None
    uncertainty: float | None = None
    pictures: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.uncertainty is not None and not self.uncertainty >= 0:
            raise ValueError(f"uncertainty of {self.name.meaning!r} must be 0 or more, but is {self.uncertainty}")


@dataclass(frozen=True, slots=True)
class Classification:
    """Whether something is there, by a probability that was held against a threshold (both 0 to 1).

    "indeterminate": the model looked and cannot say. pictures: as of a measurement.
    """

    key: str
    label: str
    finding: Code
    state: Literal["present", "absent", "indeterminate"]
    probability: float | None = None
    threshold: float | None = None
    finding_site: Code | None = None
    laterality: Code | None = None
    pictures: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _require_share("probability", self.label, self.probability)
        _require_share("threshold", self.label, self.threshold)


@dataclass(frozen=True, slots=True)
class Point:
    """A place: (slice, row, column)."""

    at: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """All between two corners (slice, row, column), both within; on one slice where these are equal."""

    first: tuple[float, float, float]
    last: tuple[float, float, float]

    def __post_init__(self) -> None:
        if any(a > b for a, b in zip(self.first, self.last, strict=True)):
            raise ValueError(f"a box goes from its first corner to its last, but is {self.first} to {self.last}")


@dataclass(frozen=True, slots=True)
class Contour:
    """A closed outline in one slice: its corners (row, column), each once."""

    slice: int
    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if len(self.points) < 3:
            raise ValueError(f"a contour needs 3 points at least, but has {len(self.points)}")


@dataclass(frozen=True, slots=True)
class Detection:
    """Something found at a place. score: 0 to 1."""

    key: str
    label: str
    category: Code
    type: Code
    place: Point | Box | Contour
    score: float | None = None
    color_rgb: tuple[int, int, int] = (213, 94, 0)
    finding_site: Code | None = None
    laterality: Code | None = None

    def __post_init__(self) -> None:
        _require_share("score", self.label, self.score)


@dataclass(frozen=True, slots=True)
class Landmark:
    """A named point of the anatomy. uncertainty_mm: the radius within which it lies with 95 % probability."""

    key: str
    label: str
    type: Code
    at: Point
    uncertainty_mm: float | None = None
    finding_site: Code | None = None
    laterality: Code | None = None


@dataclass(frozen=True, slots=True, eq=False)
class HeatMap:
    """A number for each voxel: a probability, a saliency, a physical quantity.

    values: float32 (slices, rows, columns) on the volume's grid; NaN where there is none. shown: lowest and highest value
    that a display tells apart. hides_below: what a picture does not colour.
    """

    key: str
    label: str
    quantity: Code
    unit: Code
    values: NDArray[np.float32]
    shown: tuple[float, float]
    hides_below: float | None = None
    finding_site: Code | None = None
    laterality: Code | None = None

    def __post_init__(self) -> None:
        low, high = self.shown
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(
                f"heat map {self.label!r} must be shown between two numbers, the lower first: {self.shown}"
            )


@dataclass(frozen=True, slots=True)
class Text:
    """What the model says in words, under a coded name: an impression, a comment."""

    key: str
    name: Code
    text: str


@dataclass(frozen=True, slots=True)
class Remark:
    """A limitation that a reader must know before trusting a number: "slice spacing 8.0 mm > 5.0 mm validated"."""

    code: Code
    text: str


@dataclass(frozen=True, slots=True)
class NotAnalysed:
    """Why nothing was computed: a coded reason and the same in words, with the value that decided."""

    code: Code
    text: str


@dataclass(frozen=True, slots=True)
class Findings:
    """All that one model says about one volume. Where not_analysed is set, there is nothing else but remarks."""

    segments: tuple[Segment, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    classifications: tuple[Classification, ...] = ()
    detections: tuple[Detection, ...] = ()
    landmarks: tuple[Landmark, ...] = ()
    heat_maps: tuple[HeatMap, ...] = ()
    texts: tuple[Text, ...] = ()
    remarks: tuple[Remark, ...] = ()
    not_analysed: NotAnalysed | None = None
    parameters: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.not_analysed and (self.measurements or any(True for _ in self.keyed())):
            raise ValueError("findings that say 'not analysed' must hold nothing that was found")
        known: set[str] = set()
        for finding in self.keyed():
            if finding.key in known:
                raise ValueError(f"two findings have the key {finding.key!r}: each needs one of its own")
            known.add(finding.key)
        for measurement in self.measurements:
            if measurement.finding_key is not None and measurement.finding_key not in known:
                raise ValueError(
                    f"measurement {measurement.name.meaning!r} is about the unknown finding {measurement.finding_key!r}"
                )

    def keyed(self) -> Iterator[Segment | Classification | Detection | Landmark | HeatMap | Text]:
        """All that has a key, kind by kind, in the model's order."""
        for kind in (
            self.segments,
            self.classifications,
            self.detections,
            self.landmarks,
            self.heat_maps,
            self.texts,
        ):
            yield from kind

    def of(self, key: str | None) -> Sequence[Measurement]:
        """The measurements about one finding, in the model's order."""
        return [measurement for measurement in self.measurements if measurement.finding_key == key]


def _require_region(region: Region, of: str) -> None:
    """Raises ValueError for an array of another kind than Region names, or for probabilities that are none."""
    if isinstance(region, Labelled):
        return
    if region.dtype not in (np.bool_, np.float32) or region.ndim != 3:
        raise ValueError(
            f"region of {of!r} must be bool or float32 in three dimensions, but is {region.dtype} {region.shape}"
        )
    if region.dtype == np.float32 and region.size and not (region.min() >= 0 and region.max() <= 1):
        raise ValueError(f"probabilities of {of!r} must be from 0 to 1, but are {region.min()} to {region.max()}")


def _require_share(name: str, of: str, value: float | None) -> None:
    if value is not None and not 0 <= value <= 1:
        raise ValueError(f"{name} of {of!r} must be from 0 to 1, but is {value}")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """For whom a model was made, from what, and how well it does, in sentences; empty where its package does not say.

    qualification: whether it is stated to be approved as a medical device.
    """

    population: str = ""
    training_data: str = ""
    metrics: tuple[str, ...] = ()
    qualification: Literal["research", "product"] = "research"


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Who made a finding, as reports must say it (IHE AIR contributing equipment; TID 4019).

    device_uid changes whenever the model's content changes: it derives from content_sha256, the digest of the package.
    """

    name: str
    version: str
    manufacturer: str
    title: str
    intended_use: str
    limits: tuple[str, ...]
    device_uid: str
    content_sha256: str
    card: ModelCard = ModelCard()
