"""What the images of a series tell of its size: numbers in their headers, and whether they fill what they sample.

None of it is exact. A number may count something else than the series, and what closes may be the beginning of more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dicom_node.arrival_facts import Facts
from inference.geometry import StackGeometry, same_orientation, stack_geometry

# Two images always make a regular stack, so they prove nothing.
LEAST_POSITIONS = 3
# More directions than these are no stacks beside each other.
MOST_ORIENTATIONS = 6

Header = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Images:
    """is_closed: something says that the series is all there, and nothing that more is to come.

    is_short: something says that images are missing. words: all of these. expected: a number that was given.
    """

    is_closed: bool
    is_short: bool
    words: tuple[str, ...]
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class _Sign:
    words: str
    proves: bool = False
    # That there is more to come; weightier than any proof.
    vetoes: bool = False
    # That there seem to be holes.
    has_holes: bool = False
    expected: int | None = None


def in_images(facts: Facts) -> Images:
    """What the headers tell, each in one sentence."""
    headers = [image.header for image in facts.images]
    found = [
        _related_instances(headers, len(headers) + len(facts.left_out)),
        _study_related_instances(headers, facts.study_instance_count),
        _images_in_acquisition(headers),
        _temporal_positions(headers),
        _concatenation(headers),
        _geometry(headers),
    ]
    signs = [sign for sign in found if sign is not None]
    vetoed = any(sign.vetoes for sign in signs)
    return Images(
        is_closed=any(sign.proves for sign in signs) and not vetoed,
        is_short=vetoed or any(sign.has_holes for sign in signs),
        words=tuple(sign.words for sign in signs),
        expected=next((sign.expected for sign in signs if sign.expected is not None), None),
    )


def _same(headers: Sequence[Header], keyword: str) -> int | None:
    """The number that all of them give; None where one gives none or another, or where it counts nothing."""
    values = {header.get(keyword) for header in headers}
    (value,) = values if len(values) == 1 else (None,)
    return int(value) if value is not None and int(value) > 0 else None


def _related_instances(headers: Sequence[Header], came: int) -> _Sign | None:
    """Number of Series Related Instances (0020,1209), where whoever sends the images wrote it into them."""
    expected = _same(headers, "NumberOfSeriesRelatedInstances")
    if expected is None or expected < came:
        return None
    words = f"{came} of {expected} by Number of Series Related Instances"
    return _Sign(words, proves=expected == came, vetoes=expected > came, expected=expected)


def _study_related_instances(headers: Sequence[Header], study_came: int | None) -> _Sign | None:
    """Number of Study Related Instances (0020,1208): what it lacks may belong to other series."""
    expected = _same(headers, "NumberOfStudyRelatedInstances")
    if expected is None or expected != study_came:
        return None
    return _Sign(f"{expected} of {expected} of the study by Number of Study Related Instances", proves=True)


def _images_in_acquisition(headers: Sequence[Header]) -> _Sign | None:
    """Images in Acquisition (0020,1002) where Acquisition Number tells which images it counts.

    An acquisition that was made into several series gives more than one of them holds: it then costs a longer wait.
    """
    if any(header.get("AcquisitionNumber") is None for header in headers):
        return None
    acquisitions: defaultdict[int, list[Header]] = defaultdict(list)
    for header in headers:
        acquisitions[int(header["AcquisitionNumber"])].append(header)
    expected = {number: _same(images, "ImagesInAcquisition") for number, images in acquisitions.items()}
    if any(value is None or value < len(acquisitions[number]) for number, value in expected.items()):
        return None
    total = sum(value for value in expected.values() if value is not None)
    several = f"{len(expected)} acquisitions" if len(expected) > 1 else f"acquisition {next(iter(expected))}"
    words = f"{len(headers)} of {total} by Images in Acquisition of {several}"
    return _Sign(words, proves=total == len(headers), vetoes=total > len(headers))


def _temporal_positions(headers: Sequence[Header]) -> _Sign | None:
    """Number of Temporal Positions (0020,0105): each of them must be there, with as many images as the others."""
    expected = _same(headers, "NumberOfTemporalPositions")
    if expected is None or expected < 2:
        return None
    keyword = next(
        (
            key
            for key in ("TemporalPositionIdentifier", "TemporalPositionIndex")
            if all(key in item for item in headers)
        ),
        None,
    )
    if keyword is None:
        return None
    images = Counter(int(header[keyword]) for header in headers)
    if len(images) > expected:
        return None
    words = f"{len(images)} of {expected} temporal positions"
    if len(images) < expected:
        return _Sign(f"{words} came", vetoes=True)
    if len(set(images.values())) > 1:
        return _Sign(f"{words}, some with more images than others", vetoes=True)
    return _Sign(f"{words} with {images.most_common(1)[0][1]} images each", proves=True)


def _concatenation(headers: Sequence[Header]) -> _Sign | None:
    """In-concatenation Total Number (0020,9163): a multi-frame object that was cut into several instances."""
    expected = _same(headers, "InConcatenationTotalNumber")
    if expected is None or expected < 2 or expected < len(headers):
        return None
    words = f"{len(headers)} of {expected} parts of a concatenation"
    return _Sign(words, proves=expected == len(headers), vetoes=expected > len(headers), expected=expected)


def _geometry(headers: Sequence[Header]) -> _Sign:
    """Whether the images fill a regular grid without a gap and their instance numbers have none."""
    if len(headers) == 1 and headers[0].get("frames"):
        frames = int(headers[0].get("NumberOfFrames") or 1)
        return _Sign(f"one multi-frame instance of {frames} frames is the series", proves=frames > 1)
    groups = _by_orientation(headers)
    stacks = [
        stack_geometry(
            [_vector(item, "ImageOrientationPatient") for item in group],
            [_vector(item, "ImagePositionPatient") for item in group],
        )
        for group in groups
    ]
    known = [stack for stack in stacks if stack is not None]
    if not stacks or len(known) < len(stacks):
        return _Sign(f"{len(headers)} instances without a common geometry")
    large = [stack for stack in known if len(stack.distinct) >= LEAST_POSITIONS]
    if not large:
        positions = sum(len(stack.distinct) for stack in known)
        return _Sign(f"{positions} image positions are too few to tell whether the geometry closes")
    reason = next((why for stack in large if (why := _open_reason(stack))), "") or _numbers_missing(headers)
    if reason:
        return _Sign(f"geometry does not close: {reason}", has_holes=True)
    beside = len(headers) - sum(len(stack.order) for stack in large)
    more = f", {beside} images beside" if beside else ""
    return _Sign(f"geometry closes: {' and '.join(map(_grid, large))}, instance numbers contiguous{more}", proves=True)


def _by_orientation(headers: Sequence[Header]) -> list[list[Header]]:
    """A localizer lies in the same series as what it is for: images of each direction make a stack of their own."""
    groups: list[tuple[tuple[float, ...], list[Header]]] = []
    for header in headers:
        orientation = _vector(header, "ImageOrientationPatient")
        if orientation is None or len(orientation) != 6:
            return []
        for known, group in groups:
            if known == orientation or same_orientation(known, orientation):
                group.append(header)
                break
        else:
            if len(groups) == MOST_ORIENTATIONS:
                return []
            groups.append((orientation, [header]))
    return [group for _, group in groups]


def _grid(geometry: StackGeometry) -> str:
    positions, images = len(geometry.distinct), len(geometry.order)
    several = f" x {images // positions}" if images > positions else ""
    return f"{positions} positions{several} every {geometry.spacing_mm:.2f} mm"


def _open_reason(geometry: StackGeometry) -> str:
    if not geometry.is_uniform:
        return geometry.reason
    repeats = {len(group) for group in geometry.duplicates}
    everywhere = len(geometry.duplicates) == len(geometry.distinct)
    if repeats and not (everywhere and len(repeats) == 1):
        return "some positions have more images than others"
    return ""


def _numbers_missing(headers: Sequence[Header]) -> str:
    numbers = [header.get("InstanceNumber") for header in headers]
    if any(number is None for number in numbers):
        return "an image has no instance number"
    distinct = {int(number) for number in numbers if number is not None}
    missing = max(distinct) - min(distinct) + 1 - len(distinct)
    if missing:
        return f"{missing} instance numbers between {min(distinct)} and {max(distinct)} are missing"
    return ""


def _vector(header: Header, keyword: str) -> tuple[float, ...] | None:
    value = header.get(keyword)
    return tuple(float(part) for part in value) if value else None
