"""Does the written Segmentation hold the masks that were found, where they were found? Asked of the bytes.

Only the head is read by pydicom. What is said of each frame is walked through here, since a data set for each of
thousands of frames takes longer than all else; the same pieces occur again and again, and are read once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.results import explicit_vr
from dicom_node.results import frame_items as tags
from dicom_node.results.fractions import fractions_on, touched
from dicom_node.results.segments import Numbered
from dicom_node.results.shared_maps import has_those_alone, touching_each
from dicom_node.results.sources import Plane, ResultRefused
from dicom_node.results.splice import PIXEL_DATA

SAME_PLACE_MM = 0.01
"""Decimal strings keep 16 characters, so a position comes back much closer than this."""

SEGMENT_NUMBER = 0x00620004
SAME_GRID = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """A Segmentation as its bytes have it: its head, the Segment Numbers that it describes, the items of its frames, and the
    stored pixels as bytes."""

    head: Dataset
    described: tuple[int, ...]
    frames: tuple[bytes, ...]
    pixels: NDArray[np.uint8]


Key = tuple[int, int]
"""Segment Number (0: the label map, which holds all) and index of the acquired plane."""


def check_seg(payload: bytes, segments: Sequence[Numbered], planes: Sequence[Plane]) -> None:
    """Read the Segmentation back: every frame lies where its source frame lies and holds that part of the mask.

    Raises ResultRefused.
    """
    try:
        read = read_back(payload)
        keys = list(_keys(read, planes))
    except (ValueError, KeyError, StopIteration, UnicodeDecodeError) as error:
        raise ResultRefused(f"the Segmentation cannot be read back: {error}") from error
    _check_shared(read.head, planes[0])
    described = {item.number: item for item in segments if item.number}
    expected, is_right = _comparison(read, described)
    for frame, (key, stored) in enumerate(zip(keys, _stored(read), strict=True), start=1):
        number, plane = key
        if number and number not in described:
            raise ResultRefused(f"frame {frame} of the Segmentation refers to what is not a source, or to no segment")
        if key not in expected or not is_right(key, stored):
            what = f"segment {number}" if number else "the label map"
            raise ResultRefused(f"frame {frame} of the Segmentation is not image {plane} of {what}")
    if set(keys) != expected or len(keys) != len(expected):
        held = len(set(keys) & expected)
        raise ResultRefused(f"the Segmentation holds {held} of {len(expected)} frames that are not empty")
    numbers = set(read.described) - {0}
    if numbers != set(described):
        raise ResultRefused(f"the Segmentation describes the segments {sorted(numbers)}, not {sorted(described)}")


def read_back(payload: bytes) -> Read:
    """Raises ValueError where there are not as many frames, described or stored, as the head says."""
    file = BytesIO(payload)
    head = dcmread(file, stop_before_pixels=True)
    if head.file_meta.TransferSyntaxUID != ExplicitVRLittleEndian:
        raise ValueError(f"its transfer syntax is {head.file_meta.TransferSyntaxUID.name}")
    at = file.tell()
    if payload[at : at + 4] != explicit_vr.long_header(PIXEL_DATA, b"OB", 0)[:4]:
        raise ValueError("it has no Pixel Data")
    pixels = np.frombuffer(payload, np.uint8, offset=at + 12)
    frames = tuple(explicit_vr.items(_raw(head, "PerFrameFunctionalGroupsSequence")))
    size = -(-len(frames) * head.Rows * head.Columns * head.BitsAllocated // 8)
    stored = int.from_bytes(payload[at + 8 : at + 12], "little")
    if not stored == pixels.size == size + size % 2 or len(frames) != head.NumberOfFrames:
        raise ValueError(f"{len(frames)} of {head.NumberOfFrames} frames are described, with {stored} bytes of pixels")
    described = (explicit_vr.elements(one)[SEGMENT_NUMBER] for one in explicit_vr.items(_raw(head, "SegmentSequence")))
    return Read(head, tuple(int.from_bytes(one, "little") for one in described), frames, pixels)


def _raw(head: Dataset, keyword: str) -> bytes:
    """The bytes of a sequence that was not asked for yet. Raises ValueError where there is none."""
    found = head.get_item(keyword)
    if not isinstance(found, RawDataElement) or found.value is None:
        raise ValueError(f"it has no {keyword} of defined length")
    return found.value


def _keys(read: Read, planes: Sequence[Plane]) -> Iterator[Key]:
    """What each frame says that it is. Raises ResultRefused where it says so of a place that is not its own."""
    known = {(plane.reference.sop_instance_uid, plane.reference.frame_number): i for i, plane in enumerate(planes)}
    source_of, number_of = cache(_source), cache(_number)
    apart = cache(lambda position, plane: float(np.linalg.norm(_numbers(position) - planes[plane].position)))
    is_labelmap = read.head.SegmentationType == "LABELMAP"
    for frame, content in enumerate(read.frames, start=1):
        groups = explicit_vr.elements(content)
        plane = known.get(source_of(groups[tags.DERIVATION_IMAGE]))
        if plane is None:
            raise ResultRefused(f"frame {frame} of the Segmentation refers to what is not a source, or to no segment")
        apart_mm = apart(groups[tags.PLANE_POSITION], plane) if planes[plane].has_place else 0.0
        if (tile := planes[plane].tile) is not None and _tile(groups[tags.PLANE_POSITION_SLIDE]) != tile:
            raise ResultRefused(f"frame {frame} of the Segmentation lies elsewhere on the slide than its source frame")
        if not apart_mm <= SAME_PLACE_MM:
            raise ResultRefused(f"frame {frame} of the Segmentation lies {apart_mm:.2f} mm from its source frame")
        yield (0 if is_labelmap else number_of(groups[tags.SEGMENT_IDENTIFICATION])), plane


def _within(sequence: bytes, *path: int) -> bytes:
    """The value at the end of a path of tags, through the first item of each sequence."""
    value = sequence
    for tag in path:
        value = explicit_vr.elements(next(explicit_vr.items(value)))[tag]
    return value


def _source(derivation: bytes) -> tuple[str, int | None]:
    image = explicit_vr.elements(next(explicit_vr.items(_within(derivation, tags.SOURCE_IMAGE))))
    number = image.get(tags.REFERENCED_FRAME)
    return image[tags.REFERENCED_SOP_INSTANCE].rstrip(b"\0").decode("ascii"), None if number is None else int(number)


def _numbers(position: bytes) -> NDArray[np.float64]:
    return np.array(_within(position, tags.IMAGE_POSITION).split(b"\\"), np.float64)


def _tile(position: bytes) -> tuple[int, int]:
    """Row and column in the total pixel matrix, counted from 0."""
    row, column = (int.from_bytes(_within(position, tag), "little") - 1 for tag in (tags.TILE_ROW, tags.TILE_COLUMN))
    return row, column


def _number(segment: bytes) -> int:
    return int.from_bytes(_within(segment, tags.REFERENCED_SEGMENT), "little")


def _check_shared(head: Dataset, plane: Plane) -> None:
    """Rows, columns, directions and distances of the pixels are those of the source. Raises ResultRefused."""
    shared = head.SharedFunctionalGroupsSequence[0]
    if not plane.has_place:
        if (head.Rows, head.Columns) != (plane.rows, plane.columns):
            raise ResultRefused(
                f"the Segmentation has {head.Rows} x {head.Columns} pixels, its sources {plane.rows} x {plane.columns}"
            )
        return
    said = (*shared.PlaneOrientationSequence[0].ImageOrientationPatient, *shared.PixelMeasuresSequence[0].PixelSpacing)
    ours = (*plane.orientation, *(plane.pixel_spacing_mm or ()))
    if (head.Rows, head.Columns) != (plane.rows, plane.columns) or not np.allclose(said, ours, atol=SAME_GRID):
        raise ResultRefused(
            f"the Segmentation has {head.Rows} x {head.Columns} pixels with the axes and distances {list(said)}, its"
            f" sources {plane.rows} x {plane.columns} with {list(ours)}"
        )


def _stored(read: Read) -> Iterator[NDArray[np.generic]]:
    """The pixels of each frame (rows, columns): bool, uint8 or uint16."""
    head = read.head
    shape, count = (head.Rows, head.Columns), len(read.frames)
    if head.BitsAllocated == 1:
        yield from unpack(read.pixels, count, shape)
    else:
        values = read.pixels[: count * head.Rows * head.Columns * head.BitsAllocated // 8]
        yield from values.view(f"<u{head.BitsAllocated // 8}").reshape(count, *shape)


def unpack(packed: NDArray[np.uint8], count: int, shape: tuple[int, int]) -> Iterator[NDArray[np.bool_]]:
    """Frames of one bit a pixel as bool (rows, columns); bits follow without padding (PS3.5 8.1.1)."""
    size = shape[0] * shape[1]
    for index in range(count):
        first, last = index * size, (index + 1) * size
        bits = np.unpackbits(packed[first // 8 : -(-last // 8)], bitorder="little")
        yield bits[first % 8 : first % 8 + size].reshape(shape).view(np.bool_)


IsRight = Callable[[Key, NDArray[np.generic]], bool]


def _comparison(read: Read, described: Mapping[int, Numbered]) -> tuple[set[Key], IsRight]:
    """The frames that there should be, and whether stored pixels are those of a frame."""
    kind = read.head.SegmentationType
    if kind == "LABELMAP":
        touching = touching_each(described.values())
        return {(0, plane) for plane in touching}, lambda key, stored: _is_labelled(touching[key[1]], key[1], stored)
    if kind == "FRACTIONAL":
        fractions = {(number, plane) for number, item in described.items() for plane in touched(item)}
        return fractions, lambda key, stored: np.array_equal(stored, fractions_on(described[key[0]], key[1]))
    masks = {(number, int(plane)) for number, item in described.items() for plane in np.flatnonzero(item.pixels)}
    return masks, lambda key, stored: _same(stored, described[key[0]].on(key[1]))


def _same(stored: NDArray[np.generic], mask: NDArray[np.bool_]) -> bool:
    """Equal, eight pixels at a time where they can be taken so."""
    if stored.size % 8 == 0 and stored.flags.c_contiguous and mask.flags.c_contiguous:
        return np.array_equal(stored.reshape(-1).view(np.uint64), mask.reshape(-1).view(np.uint64))
    return np.array_equal(stored, mask)


def _is_labelled(here: Sequence[Numbered], plane: int, stored: NDArray[np.generic]) -> bool:
    """True where each segment's pixels, and no others, have its number."""
    maps = {id(item.segment.array) for item in here}
    labels = here[0].array_on(plane)
    if len(maps) == 1 and has_those_alone(labels, here, plane) and np.array_equal(stored, labels):
        return True
    if np.count_nonzero(stored) != sum(int(item.pixels[plane]) for item in here):
        return False
    return all((stored[item.on(plane)] == item.number).all() for item in here)
