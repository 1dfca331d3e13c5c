"""What is said of each frame, put together from bytes that were made once for each plane and each segment.

A Segmentation of 100 segments has thousands of frames, and each item of theirs is made of the same few pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from struct import pack

from pydicom.valuerep import DSfloat

from dicom_node.results import codes
from dicom_node.results.explicit_vr import element, encoded, item, text
from dicom_node.results.sources import Plane, Reference
from inference.findings import Code

DERIVATION_IMAGE, SOURCE_IMAGE, DERIVATION_CODE = 0x00089124, 0x00082112, 0x00089215
REFERENCED_SOP_CLASS, REFERENCED_SOP_INSTANCE, REFERENCED_FRAME = 0x00081150, 0x00081155, 0x00081160
SPATIAL_LOCATIONS_PRESERVED, PURPOSE_OF_REFERENCE = 0x0028135A, 0x0040A170
FRAME_CONTENT, DIMENSION_INDEX_VALUES, FRAME_LABEL = 0x00209111, 0x00209157, 0x00209453
PLANE_POSITION, IMAGE_POSITION = 0x00209113, 0x00200032
PLANE_POSITION_SLIDE, TILE_COLUMN, TILE_ROW = 0x0048021A, 0x0048021E, 0x0048021F
X_OFFSET, Y_OFFSET, Z_OFFSET = 0x0040072A, 0x0040073A, 0x0040074A
SEGMENT_IDENTIFICATION, REFERENCED_SEGMENT = 0x0062000A, 0x0062000B


@dataclass(frozen=True, slots=True)
class MaskFrame:
    """One frame: its acquired plane, and its Segment Number; None where frames are not of one segment each."""

    plane: int
    number: int | None = None


def frame_items(
    frames: Sequence[MaskFrame], planes: Sequence[Plane], derived_by: Code = codes.SEGMENTATION
) -> Iterator[bytes]:
    """The content of each frame's item: its place, its segment, and the source frame that it was made from.

    Frames are indexed by segment, where there is one, then by position among the planes that occur. Planes that have no
    place have a label instead.
    """
    used = sorted({frame.plane for frame in frames})
    numbers = {frame.number for frame in frames if frame.number is not None}
    ranks = {plane: pack("<I", rank) for rank, plane in enumerate(used, start=1)}
    derivations = {plane: derivation(planes[plane], derived_by) for plane in used}
    if planes[used[0]].tile is not None:
        ranks = tile_ranks(planes, used)
    positions = {plane: placed(planes[plane]) for plane in used}
    labels = {plane: label_of(planes[plane], rank) for rank, plane in enumerate(used, start=1)}
    indices = {number: pack("<I", number) for number in numbers}
    segments = {number: segment(number) for number in numbers}
    for frame in frames:
        index = ranks[frame.plane] if frame.number is None else indices[frame.number] + ranks[frame.plane]
        content = derivations[frame.plane] + content_of(index, labels[frame.plane]) + positions[frame.plane]
        yield content if frame.number is None else content + segments[frame.number]


def derivation(plane: Plane, derived_by: Code) -> bytes:
    """Derivation Image Sequence (PS3.3 C.7.6.16.2.6): the one source frame, which lies where the frame lies."""
    image = reference(plane.reference)
    image += element(SPATIAL_LOCATIONS_PRESERVED, b"CS", b"YES ")
    image += element(PURPOSE_OF_REFERENCE, b"SQ", code_item(codes.SOURCE_OF_PROCESSING))
    how = element(DERIVATION_CODE, b"SQ", code_item(derived_by))
    return element(DERIVATION_IMAGE, b"SQ", item(element(SOURCE_IMAGE, b"SQ", item(image)) + how))


def reference(source: Reference) -> bytes:
    """The content of an item that references an image (PS3.3 table 10-3)."""
    image = element(REFERENCED_SOP_CLASS, b"UI", text(source.sop_class_uid, b"\0"))
    image += element(REFERENCED_SOP_INSTANCE, b"UI", text(source.sop_instance_uid, b"\0"))
    if source.frame_number is not None:
        image += element(REFERENCED_FRAME, b"IS", text(str(source.frame_number)))
    return image


@cache
def code_item(code: Code) -> bytes:
    """The code as the one item of a code sequence."""
    return item(encoded(codes.concept(code)))


def content_of(index: bytes, label: bytes = b"") -> bytes:
    """Frame Content Sequence (PS3.3 C.7.6.16.2.2) with its Dimension Index Values, and a label where that is an index."""
    return element(FRAME_CONTENT, b"SQ", item(element(DIMENSION_INDEX_VALUES, b"UL", index) + label))


def frame_label(rank: int) -> bytes:
    """Frame Label: which of the images it is."""
    return element(FRAME_LABEL, b"LO", text(f"{rank:06d}"))


def tile_ranks(planes: Sequence[Plane], used: Sequence[int]) -> dict[int, bytes]:
    """Of each tile the rank of its row and of its column among those that occur."""
    tiles = {index: planes[index].tile or (0, 0) for index in used}
    rows, columns = (sorted({tile[axis] for tile in tiles.values()}) for axis in (0, 1))
    down = {row: rank for rank, row in enumerate(rows, start=1)}
    across = {column: rank for rank, column in enumerate(columns, start=1)}
    return {index: pack("<II", down[row], across[column]) for index, (row, column) in tiles.items()}


def label_of(plane: Plane, rank: int) -> bytes:
    """Of an image that lies nowhere: which of the images it is."""
    return b"" if plane.has_place or plane.tile is not None else frame_label(rank)


def placed(plane: Plane) -> bytes:
    """Where the frame lies: in the patient, on the slide, or nowhere."""
    if plane.has_place:
        return position(plane)
    return b"" if plane.tile is None else position_on_slide(plane)


def position_on_slide(plane: Plane) -> bytes:
    """Plane Position (Slide) Sequence (PS3.3 C.8.12.6.1)."""
    row, column = plane.tile or (0, 0)
    offsets = zip((X_OFFSET, Y_OFFSET, Z_OFFSET), plane.offset_mm, strict=True)
    content = b"".join(element(tag, b"DS", text(str(DSfloat(mm, auto_format=True)))) for tag, mm in offsets)
    content += element(TILE_COLUMN, b"SL", pack("<i", column + 1)) + element(TILE_ROW, b"SL", pack("<i", row + 1))
    return element(PLANE_POSITION_SLIDE, b"SQ", item(content))


def position(plane: Plane) -> bytes:
    """Plane Position Sequence (PS3.3 C.7.6.16.2.3)."""
    written = "\\".join(str(DSfloat(value, auto_format=True)) for value in plane.position)
    return element(PLANE_POSITION, b"SQ", item(element(IMAGE_POSITION, b"DS", text(written))))


def segment(number: int) -> bytes:
    """Segment Identification Sequence (PS3.3 C.8.20.3.1)."""
    return element(SEGMENT_IDENTIFICATION, b"SQ", item(element(REFERENCED_SEGMENT, b"US", pack("<H", number))))
