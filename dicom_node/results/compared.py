"""Do two results of one kind say the same? Segment by segment, number by number, answer by answer; read as a viewer would.

Kinds that hold no finding of their own (pictures, pages, lists of images) are told apart by their pixels or attributes alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.results.reading import answers_of, comments_of, numbers_of, walk

_LABEL_MAP = "LABELMAP"
# What says nothing by itself: the frames and the items that a finding is read from.
_READ = ("PixelData", "FloatPixelData", "ContentSequence", "PerFrameFunctionalGroupsSequence")


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How close is the same: Dice coefficient of a segment; |a - b| <= absolute + relative x |a| for a number."""

    least_dice: float = 1.0
    absolute: float = 0.0
    relative: float = 1e-6

    def holds(self, then: float, now: float) -> bool:
        return abs(now - then) <= self.absolute + self.relative * abs(then)


@dataclass(frozen=True, slots=True)
class Pair:
    """One finding of the two: what it said then and now, and by how much that differs. holds: within the tolerance."""

    name: str
    then: str
    now: str
    difference: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Compared:
    """pairs: of the findings in it; none where it holds none. others: keywords of attributes that differ besides."""

    pairs: tuple[Pair, ...]
    others: tuple[str, ...]


def compare(then: bytes, now: bytes, tolerance: Tolerance) -> Compared:
    """Two Part 10 files of one kind in native encoding."""
    one, other = dcmread(BytesIO(then)), dcmread(BytesIO(now))
    differ = tuple(_differing(one, other))
    if one.SOPClassUID != other.SOPClassUID:
        return Compared((), ("SOPClassUID", *differ))
    if "SegmentSequence" in one:
        return Compared(tuple(_segments(one, other, tolerance)), differ)
    if "ContentSequence" in one and one.Modality == "SR":
        return Compared(tuple(_report(one, other, tolerance)), differ)
    if "FloatPixelData" in one:
        return Compared(tuple(_values(one, other, tolerance)), differ)
    return Compared((), (*differ, *_unread(one, other)))


def dice(one: float, other: float, common: float) -> float:
    """Of two sizes and of what they share (Dice 1945); 1 where both are empty."""
    return 2 * common / (one + other) if one + other else 1.0


def _segments(then: Dataset, now: Dataset, tolerance: Tolerance) -> Iterator[Pair]:
    old, new = _Frames(then), _Frames(now)
    for number, label in {**new.labels, **old.labels}.items():
        if number not in old.labels or number not in new.labels:
            yield Pair(label, *_there(number in old.labels), "only in one of them", holds=False)
            continue
        sizes, common = _overlap(old, new, number)
        found = dice(*sizes, common)
        words = [f"{size:,.0f} voxels" for size in sizes]
        yield Pair(label, words[0], words[1], f"Dice {found:.6f}", found >= tolerance.least_dice)


def _there(is_old: bool) -> tuple[str, str]:
    return ("found", "not found") if is_old else ("not found", "found")


def _overlap(old: _Frames, new: _Frames, number: int) -> tuple[tuple[float, float], float]:
    """Sizes in voxels and what they share; of probabilities their sums, and the sum of the smaller ones."""
    sizes, common = [0.0, 0.0], 0.0
    for place in {**old.places(number), **new.places(number)}:
        one, other = old.frame(number, place), new.frame(number, place)
        for index, frame in enumerate((one, other)):
            sizes[index] += 0.0 if frame is None else float(frame.sum(dtype=np.float64))
        if one is not None and other is not None and one.shape == other.shape:
            common += float(np.minimum(one, other).sum(dtype=np.float64))
    return (sizes[0], sizes[1]), common


class _Frames:
    """The frames of a Segmentation by Segment Number and place."""

    def __init__(self, of: Dataset) -> None:
        self._of = of
        self._is_label_map = of.get("SegmentationType") == _LABEL_MAP
        described = ((int(item.SegmentNumber), str(item.SegmentLabel)) for item in of.SegmentSequence)
        # Number 0 of a label map is what belongs to no segment.
        self.labels = {number: label for number, label in described if number}
        self._size = int(of.Rows) * int(of.Columns)
        self._stored: NDArray[Any] = np.frombuffer(of.PixelData, np.uint16 if of.BitsAllocated == 16 else np.uint8)

    def places(self, number: int) -> Mapping[object, int]:
        return self._index.get(0 if self._is_label_map else number, {})

    def frame(self, number: int, place: object) -> NDArray[Any] | None:
        """(rows x columns,): 0 or 1, or a share of the largest value; None where the segment has none there."""
        index = self.places(number).get(place)
        if index is None:
            return None
        first, last = index * self._size, (index + 1) * self._size
        if self._of.BitsAllocated == 1:
            bits: NDArray[Any] = np.unpackbits(self._stored[first // 8 : -(-last // 8)], bitorder="little")
            return bits[first % 8 : first % 8 + self._size]
        stored: NDArray[Any] = self._stored[first:last]
        if self._is_label_map:
            return np.asarray(stored == number)
        return np.asarray(stored / np.float32(self._of.get("MaximumFractionalValue", 1)))

    @cached_property
    def _index(self) -> dict[int, dict[object, int]]:
        found: dict[int, dict[object, int]] = {}
        for index, item in enumerate(self._of.get("PerFrameFunctionalGroupsSequence") or _unnamed(self._of)):
            named = item.get("SegmentIdentificationSequence")
            number = int(named[0].ReferencedSegmentNumber) if named and not self._is_label_map else 0
            found.setdefault(number, {}).setdefault(_place(item) or index, index)
        return found


def _unnamed(of: Dataset) -> list[Dataset]:
    return [Dataset() for _ in range(int(of.get("NumberOfFrames", 1)))]


def _place(item: Dataset) -> object | None:
    """Where a frame lies: its position in the patient or on the slide, or the frame that it was made from."""
    if position := item.get("PlanePositionSequence"):
        return tuple(round(float(value), 3) for value in position[0].ImagePositionPatient)
    if position := item.get("PlanePositionSlideSequence"):
        one = position[0]
        return int(one.ColumnPositionInTotalImagePixelMatrix), int(one.RowPositionInTotalImagePixelMatrix)
    for derived in item.get("DerivationImageSequence") or ():
        for source in derived.get("SourceImageSequence") or ():
            return str(source.ReferencedSOPInstanceUID), str(source.get("ReferencedFrameNumber", ""))
    content = item.get("FrameContentSequence")
    return tuple(map(int, content[0].DimensionIndexValues[1:])) if content else None


def _report(then: Dataset, now: Dataset, tolerance: Tolerance) -> Iterator[Pair]:
    old, new = _numbers(then), _numbers(now)
    for key in {**old, **new}:
        name = f"{key[0]}: {key[1]}"
        if key not in old or key not in new:
            yield Pair(name, *_there(key in old), "only in one of them", holds=False)
            continue
        by = new[key] - old[key]
        share = f" ({by / old[key]:+.3%})" if old[key] else ""
        holds = tolerance.holds(old[key], new[key])
        yield Pair(
            name, f"{old[key]:.9g} {key[2]}", f"{new[key]:.9g} {key[2]}", f"{by:+.6g}{share}" if by else "none", holds
        )
    yield from _answers(then, now)
    said = [_sentences(report) for report in (then, now)]
    if said[0] != said[1]:
        yield Pair("sentences", str(len(said[0])), str(len(said[1])), "not the same words", holds=False)


def _numbers(report: Dataset) -> dict[tuple[str, str, str, int], float]:
    """By what they are about, name and unit; those that share all of it in their order."""
    seen: Counter[tuple[str, str, str]] = Counter()
    found = {}
    for number in numbers_of(report):
        key = number.about, number.name, number.unit
        found[*key, seen[key]] = number.value
        seen[key] += 1
    return found


def _answers(then: Dataset, now: Dataset) -> Iterator[Pair]:
    old, new = ({(item.about, item.question): item.answer for item in answers_of(report)} for report in (then, now))
    for key in {**old, **new}:
        one, other = old.get(key, "not said"), new.get(key, "not said")
        yield Pair(f"{key[0]}: {key[1]}", one, other, "none" if one == other else "another answer", one == other)


def _sentences(report: Dataset) -> list[str]:
    """What it says in words: of a report of text alone, all that it says."""
    if numbers_of(report):
        return list(comments_of(report))
    return [str(item.TextValue) for item in walk(report) if item.get("ValueType") == "TEXT"]


def _values(then: Dataset, now: Dataset, tolerance: Tolerance) -> Iterator[Pair]:
    one, other = (np.frombuffer(item.FloatPixelData, np.float32) for item in (then, now))
    if one.shape != other.shape:
        yield Pair("values", f"{one.size:,} values", f"{other.size:,} values", "not as many", holds=False)
        return
    apart = np.abs(one.astype(np.float64) - other)
    largest = float(np.nanmax(apart, initial=0.0))
    same_gaps = bool(np.array_equal(np.isnan(one), np.isnan(other)))
    allowed = tolerance.absolute + tolerance.relative * np.abs(one)
    holds = same_gaps and bool(np.all(np.isnan(apart) | (apart <= allowed)))
    means = [f"mean {np.nanmean(item, dtype=np.float64):.6g}" if item.size else "none" for item in (one, other)]
    yield Pair("values", means[0], means[1], f"at most {largest:.6g} apart", holds)


def _unread(then: Dataset, now: Dataset) -> Iterator[str]:
    """Of what no finding is read from, that which differs all the same."""
    pixels = [item.get("PixelData") for item in (then, now)]
    if pixels[0] != pixels[1]:
        yield _pixels(*(np.frombuffer(item or b"", np.uint8) for item in pixels))
    for keyword in ("ContentSequence", "PerFrameFunctionalGroupsSequence"):
        if then.get(keyword) != now.get(keyword):
            yield keyword


def _pixels(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> str:
    if one.size != other.size:
        return "PixelData (another size)"
    return f"PixelData ({np.count_nonzero(one != other) / one.size:.4%} of its bytes)"


def _differing(then: Dataset, now: Dataset) -> Iterable[str]:
    tags = sorted({*then.keys(), *now.keys()})
    for tag in tags:
        keyword = (then.get(tag) or now.get(tag)).keyword or str(tag)
        if keyword not in _READ and then.get(tag) != now.get(tag):
            yield keyword
