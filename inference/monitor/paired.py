"""Two answers to one series, finding by finding: how far apart are two versions of a model? Pure.

Findings are told by their keys, which never change between versions; what only one of them found is counted as such.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from inference.findings import Box, Contour, Detection, Findings, HeatMap, Landmark, Measurement, Point, Segment

Said = TypeVar("Said")

SAME_PLACE_MM = 5.0
"""Two small findings whose centres are at most so far apart are one; of larger ones, half of the larger one's diagonal."""
LONGEST_WORDS = 120


@dataclass(frozen=True, slots=True)
class SegmentPair:
    """voxels: of each; None where it has no such segment. dice: None unless both have it."""

    key: str
    label: str
    active_voxels: int | None
    other_voxels: int | None
    dice: float | None


@dataclass(frozen=True, slots=True)
class NumberPair:
    """A measurement, a distance between two landmarks, or how far two heat maps are apart. None where it is not said."""

    key: str
    label: str
    unit: str
    active: float | None
    other: float | None


@dataclass(frozen=True, slots=True)
class ClassPair:
    """What is said to a question: "present", "absent", "indeterminate", or words. None where nothing is."""

    key: str
    label: str
    active: str | None
    other: str | None


@dataclass(frozen=True, slots=True)
class DetectionPair:
    """Findings of one type: how many both have at the same place, and how many only one of them has."""

    key: str
    label: str
    both: int
    active_only: int
    other_only: int


@dataclass(frozen=True, slots=True)
class Paired:
    """not_analysed: why not, in words, by each; None where it was analysed. seconds: of each, where they are known."""

    segments: tuple[SegmentPair, ...] = ()
    numbers: tuple[NumberPair, ...] = ()
    classes: tuple[ClassPair, ...] = ()
    detections: tuple[DetectionPair, ...] = ()
    active_not_analysed: str | None = None
    other_not_analysed: str | None = None

    def document(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def of_document(cls, tree: Mapping[str, Any]) -> Self:
        """Of what `document` made. Raises KeyError or TypeError for anything else."""
        return cls(
            segments=tuple(SegmentPair(**one) for one in tree["segments"]),
            numbers=tuple(NumberPair(**one) for one in tree["numbers"]),
            classes=tuple(ClassPair(**one) for one in tree["classes"]),
            detections=tuple(DetectionPair(**one) for one in tree["detections"]),
            active_not_analysed=tree["active_not_analysed"],
            other_not_analysed=tree["other_not_analysed"],
        )


def paired(active: Findings, other: Findings, spacing_mm: tuple[float, float, float]) -> Paired:
    """spacing_mm: of the volume that both are about (slice, row, column)."""
    steps = np.asarray(spacing_mm, np.float64)
    return Paired(
        segments=tuple(_segments(active.segments, other.segments)),
        numbers=(
            *_numbers(active, other),
            *_landmarks(active.landmarks, other.landmarks, steps),
            *_heat_maps(active.heat_maps, other.heat_maps),
        ),
        classes=(*_classes(active, other), *_texts(active, other)),
        detections=tuple(_detections(active.detections, other.detections, steps)),
        active_not_analysed=active.not_analysed.text if active.not_analysed else None,
        other_not_analysed=other.not_analysed.text if other.not_analysed else None,
    )


def difference(of: Paired) -> float:
    """How different the two answers are, 0 to 1, by the output in which they differ most.

    1 - Dice of a segment; of a number the difference as a share of the larger one; 1 where only one of them says something or
    where answers differ; of detections the share that only one has.
    """
    shares = [float((of.active_not_analysed is None) != (of.other_not_analysed is None))]
    shares += [1.0 if one.dice is None else 1.0 - one.dice for one in of.segments]
    shares += [_share(one) for one in of.numbers]
    shares += [float(one.active != one.other) for one in of.classes]
    for one in of.detections:
        apart = one.active_only + one.other_only
        shares.append(apart / (apart + one.both) if apart else 0.0)
    return max(shares)


def _share(one: NumberPair) -> float:
    if one.active is None or one.other is None:
        return 1.0
    largest = max(abs(one.active), abs(one.other))
    return min(1.0, abs(one.active - one.other) / largest) if largest else 0.0


def _met(
    active: Iterable[Said], other: Iterable[Said], key_of: Callable[[Any], str] = lambda item: item.key
) -> Iterator[tuple[str, Said, Said | None, Said | None]]:
    """By key what either says, what the active one says, and what the other one does."""
    ones, others = ({key_of(item): item for item in found} for found in (active, other))
    for key, told in {**others, **ones}.items():
        yield key, told, ones.get(key), others.get(key)


def _segments(active: Sequence[Segment], other: Sequence[Segment]) -> Iterator[SegmentPair]:
    for key, told, one, two in _met(active, other):
        voxels = [None if item is None else int(np.count_nonzero(item.mask)) for item in (one, two)]
        dice = None if one is None or two is None else _dice(one, two)
        yield SegmentPair(key, told.label, voxels[0], voxels[1], dice)


def _dice(one: Segment, other: Segment) -> float:
    """Dice coefficient (Dice 1945), slice by slice so that no mask is made whole; 1 where both are empty."""
    if one.shape != other.shape:
        return 0.0
    common = sizes = 0
    for index in range(one.shape[0]):
        mask, mask_of_other = one.part(index), other.part(index)
        sizes += int(np.count_nonzero(mask)) + int(np.count_nonzero(mask_of_other))
        common += int(np.count_nonzero(mask & mask_of_other))
    return 2 * common / sizes if sizes else 1.0


def _numbers(active: Findings, other: Findings) -> Iterator[NumberPair]:
    labels = {item.key: getattr(item, "label", item.key) for found in (other, active) for item in found.keyed()}
    for key, told, one, two in _met(active.measurements, other.measurements, _key):
        about = labels.get(told.finding_key, "all") if told.finding_key else "all"
        derived = f", {told.derivation.meaning.lower()}" if told.derivation else ""
        derived += f", picture {told.pictures[0] + 1}" if told.pictures else ""
        values = [None if item is None else item.value for item in (one, two)]
        yield NumberPair(key, f"{about}: {told.name.meaning}{derived}", told.unit.value, values[0], values[1])


def _key(item: Measurement) -> str:
    derivation = item.derivation.value if item.derivation else ""
    pictures = f"/{item.pictures[0] + 1}" if item.pictures else ""
    return f"{item.finding_key or ''}/{item.name.value}/{derivation}{pictures}"


def _landmarks(
    active: Sequence[Landmark], other: Sequence[Landmark], steps: NDArray[np.float64]
) -> Iterator[NumberPair]:
    """The distance between the two as a number that should be 0."""
    for key, told, one, two in _met(active, other):
        apart = 0.0
        if one is not None and two is not None:
            apart = float(np.linalg.norm((np.asarray(one.at.at) - np.asarray(two.at.at)) * steps))
        values = None if one is None else 0.0, None if two is None else apart
        yield NumberPair(f"landmark/{key}", f"{told.label}: distance", "mm", *values)


def _heat_maps(active: Sequence[HeatMap], other: Sequence[HeatMap]) -> Iterator[NumberPair]:
    """The mean of each, over the voxels where both have a value."""
    for key, told, one, two in _met(active, other):
        maps = [None if item is None else item.values for item in (one, two)]
        if maps[0] is not None and maps[1] is not None and maps[0].shape == maps[1].shape:
            shared = np.isfinite(maps[0]) & np.isfinite(maps[1])
            maps = [values[shared] for values in maps if values is not None]
        means = [None if values is None else _mean(values) for values in maps]
        yield NumberPair(f"heat map/{key}", f"{told.label}: mean", told.unit.value, means[0], means[1])


def _mean(values: NDArray[np.float32]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean(dtype=np.float64)) if finite.size else 0.0


def _classes(active: Findings, other: Findings) -> Iterator[ClassPair]:
    for key, told, one, two in _met(active.classifications, other.classifications):
        yield ClassPair(key, told.label, one.state if one else None, two.state if two else None)


def _texts(active: Findings, other: Findings) -> Iterator[ClassPair]:
    for key, told, one, two in _met(active.texts, other.texts):
        said = [None if item is None else item.text[:LONGEST_WORDS] for item in (one, two)]
        yield ClassPair(f"text/{key}", told.name.meaning, said[0], said[1])


def _detections(
    active: Sequence[Detection], other: Sequence[Detection], steps: NDArray[np.float64]
) -> Iterator[DetectionPair]:
    types = {item.type.value: item.type.meaning for item in (*other, *active)}
    for value, meaning in types.items():
        ones, others = (
            [_extent(item.place, steps) for item in found if item.type.value == value] for found in (active, other)
        )
        both = _matched(ones, others)
        yield DetectionPair(value, meaning, both, len(ones) - both, len(others) - both)


Extent = tuple[NDArray[np.float64], float]
"""Centre in mm, and half the diagonal in mm."""


def _extent(place: Point | Box | Contour, steps: NDArray[np.float64]) -> Extent:
    if isinstance(place, Point):
        return np.asarray(place.at) * steps, 0.0
    if isinstance(place, Contour):
        points = np.asarray(place.points)
        first, last = ((place.slice, *getattr(points, end)(axis=0)) for end in ("min", "max"))
    else:
        first, last = place.first, place.last
    low, high = np.asarray(first) * steps, np.asarray(last) * steps
    return (low + high) / 2, float(np.linalg.norm(high - low)) / 2


def _matched(ones: Sequence[Extent], others: Sequence[Extent]) -> int:
    """How many of each are the same as one of the others, the nearest first, each once."""
    near = []
    for index, (centre, reach) in enumerate(ones):
        for number, (other_centre, other_reach) in enumerate(others):
            apart = float(np.linalg.norm(centre - other_centre))
            if apart <= max(reach, other_reach, SAME_PLACE_MM):
                near.append((apart, index, number))
    taken: set[int] = set()
    taken_of_others: set[int] = set()
    for _, index, number in sorted(near):
        if index not in taken and number not in taken_of_others:
            taken.add(index)
            taken_of_others.add(number)
    return len(taken)
