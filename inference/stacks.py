"""Which frames of a series belong together? By grid first; then, where images share positions, by what tells
them apart.

Pure decisions over frames: what they look like is asked for only when two share a position.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from inference.errors import NotAVolume
from inference.frames import Frame
from inference.geometry import StackGeometry, describe_position, same_orientation, stack_geometry

_PIXEL_SPACING_TOLERANCE = 1e-4
"""Relative: the last of 1,000 pixels is then at most a tenth of a pixel away."""

_MOST_GRIDS = 100
"""Rotating projections have a plane each; comparing thousands with each other would take minutes."""

Marks = Callable[[Frame], dict[str, str]]
StoredBytes = Callable[[Frame], bytes]
Keys = list[tuple[str, ...]]
Groups = dict[tuple[str, ...], list[int]]
Seen = dict[Frame, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Stack:
    """Frames with one image a position, in order along the normal. split_by tells it from others of its series."""

    frames: tuple[Frame, ...]
    geometry: StackGeometry
    split_by: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Separation:
    """Stacks, and frames that are the same picture as another one at their position."""

    stacks: tuple[Stack, ...]
    repeated: tuple[Frame, ...]


def by_grid(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames that share size, pixel spacing, orientation and frame of reference; the largest group first.

    Raises NotAVolume when there are more such groups than a series of stacks has."""
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            if _same_grid(group[0], frame):
                group.append(frame)
                break
        else:
            groups.append([frame])
            if len(groups) > _MOST_GRIDS:
                raise NotAVolume(f"images lie in more than {_MOST_GRIDS} different planes or grids")
    return sorted(groups, key=len, reverse=True)


def separate(frames: Sequence[Frame], marks: Marks, stored: StoredBytes) -> Separation:
    """Stacks with one image a position. Raises NotAVolume when images share a position and nothing tells them
    apart.

    In order: an attribute (or a pair) that splits the frames into stacks of the same positions; else pictures
    that occur twice are dropped, and an attribute may split them into stacks of different positions; else the
    order of acquisition does, when it runs through the positions in step.
    """
    geometry = _geometry(frames)
    if not geometry.duplicates:
        return Separation((_stack(frames),), ())
    seen = {frame: marks(frame) for frame in frames}
    found = _split_evenly(frames, geometry, seen)
    if found:
        return Separation(tuple(found), ())
    kept, repeated = _without_repeats(frames, geometry, stored)
    geometry = _geometry(kept)
    if not geometry.duplicates:
        return Separation((_stack(kept),), repeated)
    found = (
        _split_evenly(kept, geometry, seen)
        or _split_unevenly(kept, geometry, seen)
        or _by_acquisition_order(kept, geometry)
    )
    if found:
        return Separation(tuple(found), repeated)
    group = geometry.duplicates[0]
    where = describe_position(geometry.normal, kept[group[0]].position or ())
    raise NotAVolume(
        f"{len(group)} different images lie at {where} mm, and no attribute tells which volume each belongs to"
    )


def _same_grid(first: Frame, second: Frame) -> bool:
    if (first.rows, first.columns) != (second.rows, second.columns):
        return False
    if first.frame_of_reference_uid != second.frame_of_reference_uid:
        return False
    if first.pixel_spacing_mm != second.pixel_spacing_mm:
        pairs = zip(first.pixel_spacing_mm or (), second.pixel_spacing_mm or (), strict=True)
        if any(abs(a - b) > _PIXEL_SPACING_TOLERANCE * a for a, b in pairs):
            return False
    if first.orientation == second.orientation:
        return True
    return same_orientation(first.orientation or (), second.orientation or ())


def _geometry(frames: Sequence[Frame]) -> StackGeometry:
    found = stack_geometry([f.orientation for f in frames], [f.position for f in frames])
    if found is None:
        raise NotAVolume(f"Image Orientation (Patient) {frames[0].orientation} holds no unit vectors at right angles")
    return found


def _stack(frames: Sequence[Frame], split_by: tuple[tuple[str, str], ...] = ()) -> Stack:
    geometry = _geometry(frames)
    return Stack(tuple(frames[index] for index in geometry.order), geometry, split_by)


def _places(geometry: StackGeometry) -> list[int]:
    """For each frame the number of its position along the normal."""
    starts = set(geometry.distinct)
    places = [0] * len(geometry.order)
    place = -1
    for index in geometry.order:
        place += index in starts
        places[index] = place
    return places


def _varying(frames: Sequence[Frame], seen: Seen) -> list[str]:
    """Attributes that have more than one value, the surest first."""
    names = list(dict.fromkeys(name for frame in frames for name in seen[frame]))
    return [name for name in names if len({seen[frame].get(name, "") for frame in frames}) > 1]


def _grouped(keys: Keys, places: Sequence[int]) -> Groups | None:
    """Frame indices by key; None when a key has two frames at one place."""
    groups: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        groups[key].append(index)
    if any(len({places[i] for i in group}) < len(group) for group in groups.values()):
        return None
    return groups


def _split_evenly(frames: Sequence[Frame], geometry: StackGeometry, seen: Seen) -> list[Stack]:
    """Stacks that each have every position, by the first attribute or pair of attributes that makes such."""
    places, names = _places(geometry), _varying(frames, seen)
    for choice in [(name,) for name in names] + list(combinations(names, 2)):
        keys: Keys = [tuple(seen[frame].get(name, "") for name in choice) for frame in frames]
        if len(set(keys)) * len(geometry.distinct) != len(frames):
            continue
        groups = _grouped(keys, places)
        if groups:
            return _stacks(frames, choice, groups)
    return []


def _split_unevenly(frames: Sequence[Frame], geometry: StackGeometry, seen: Seen) -> list[Stack]:
    """Stacks of different positions, by an attribute with as many values as images share a position."""
    places, most = _places(geometry), max(map(len, geometry.duplicates))
    for name in _varying(frames, seen):
        keys: Keys = [(seen[frame].get(name, ""),) for frame in frames]
        groups = _grouped(keys, places) if len(set(keys)) == most else None
        if groups:
            return _stacks(frames, (name,), groups)
    return []


def _stacks(frames: Sequence[Frame], names: tuple[str, ...], groups: Groups) -> list[Stack]:
    def in_order(key: tuple[str, ...]) -> tuple[tuple[float, str], ...]:
        return tuple((_as_number(value), value) for value in key)

    return [
        _stack([frames[i] for i in groups[key]], tuple(zip(names, key, strict=True)))
        for key in sorted(groups, key=in_order)
    ]


def _as_number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return float("inf")


def _without_repeats(
    frames: Sequence[Frame], geometry: StackGeometry, stored: StoredBytes
) -> tuple[list[Frame], tuple[Frame, ...]]:
    """Drop frames whose pixels and rescale equal those of another at their position; the lowest instance number
    stays."""
    repeated: set[Frame] = set()
    for group in geometry.duplicates:
        pictures: set[tuple[bytes, float, float]] = set()
        for frame in sorted((frames[i] for i in group), key=lambda f: (f.instance_number, f.index)):
            picture = stored(frame), frame.slope, frame.intercept
            if picture in pictures:
                repeated.add(frame)
            pictures.add(picture)
    kept = [frame for frame in frames if frame not in repeated]
    return kept, tuple(frame for frame in frames if frame in repeated)


def _by_acquisition_order(frames: Sequence[Frame], geometry: StackGeometry) -> list[Stack]:
    """Stacks by rank within each position, when instance numbers run through all positions again and again, or
    through all images of one position after those of the other."""
    places, positions = _places(geometry), len(geometry.distinct)
    order = sorted(range(len(frames)), key=lambda i: (frames[i].instance_number, frames[i].index))
    times, remainder = divmod(len(frames), positions)
    if remainder or len({(frames[i].instance_number, frames[i].index) for i in order}) < len(frames):
        return []
    visited = [places[i] for i in order]
    rounds = [visited[start : start + positions] for start in range(0, len(visited), positions)]
    blocks = [visited[start : start + times] for start in range(0, len(visited), times)]
    if all(sorted(one) == list(range(positions)) and one == rounds[0] for one in rounds):
        chosen = [order[start : start + positions] for start in range(0, len(order), positions)]
    elif all(len(set(one)) == 1 for one in blocks) and len({one[0] for one in blocks}) == positions:
        chosen = [order[rank::times] for rank in range(times)]
    else:
        return []
    return [
        _stack([frames[i] for i in group], (("order of InstanceNumber", str(rank + 1)),))
        for rank, group in enumerate(chosen)
    ]
