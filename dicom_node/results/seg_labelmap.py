"""Findings to a Label Map Segmentation (PS3.3 A.51, Supplement 243): a frame for each plane, pixels are Segment Numbers.

Pixels of no segment are 0: the Pixel Padding Value, and, as every value must be described, a segment "Background". Its item
stands last: OHIF up to 3.13 takes the first item for segment 1, whatever its number, and would colour each segment as the one
before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.results import codes, seg_head
from dicom_node.results.check_seg import check_seg
from dicom_node.results.explicit_vr import LARGEST_LENGTH
from dicom_node.results.frame_items import MaskFrame, frame_items
from dicom_node.results.overlap import overlap
from dicom_node.results.result_type import ResultType
from dicom_node.results.scene import Scene
from dicom_node.results.seg_head import BY_POSITION, Coding
from dicom_node.results.seg_parts import parts
from dicom_node.results.segments import Numbered
from dicom_node.results.shared_maps import has_those_alone, touching_each, value_of
from dicom_node.results.splice import Pixels, spliced
from dicom_node.results.writing import Written
from inference.findings import Labelled

LABEL_MAP_SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"
BACKGROUND, MOST_IN_A_BYTE = 0, 255

Labels = NDArray[np.uint8] | NDArray[np.uint16]


def applies(scene: Scene) -> bool:
    """Something was found, no two segments share a voxel, and it goes into one object; else the BINARY one has to do."""
    described = [item for item in scene.segments if item.number]
    if not described or overlap(described):
        return False
    rows, columns = described[0].shape
    return rows * columns * len(shown(described)) * bits(described) // 8 <= LARGEST_LENGTH


def encode_labelmap(scene: Scene, ordered: str) -> Written:
    """The label map of all segments that hold a voxel, in the planes that they touch."""
    described = [item for item in scene.segments if item.number]
    frames = [MaskFrame(plane) for plane in shown(described)]
    coding = Coding(LABEL_MAP_SEGMENTATION_STORAGE, "LABELMAP", bits(described), (BY_POSITION,))
    dataset = seg_head.head(scene, ordered, coding)
    dataset.SegmentSequence = [*dataset.SegmentSequence, background()]
    dataset.PixelPaddingValue = BACKGROUND
    dataset.SegmentsOverlap = "NO"
    dataset.NumberOfFrames = len(frames)
    rows, columns = dataset.Rows, dataset.Columns

    def fill(out: NDArray[np.uint8]) -> None:
        values: Labels = out if coding.bits == 8 else out.view(np.dtype("<u2"))
        size = rows * columns
        touching = touching_each(described)
        for index, frame in enumerate(frames):
            draw(touching[frame.plane], frame.plane, values[index * size : (index + 1) * size].reshape(rows, columns))

    pixels = Pixels(rows * columns * len(frames) * coding.bits // 8, fill)
    return spliced(dataset, seg_head.references(scene), frame_items(frames, scene.planes), pixels)


def check(scene: Scene, _ordered: str, seg: Written) -> list[str]:
    check_seg(seg.payload, scene.segments, scene.planes)
    return []


def bits(described: Sequence[Numbered]) -> int:
    """Of a pixel: the numbers of more than 255 segments need two bytes."""
    return 8 if max(item.number for item in described) <= MOST_IN_A_BYTE else 16


def shown(described: Sequence[Numbered]) -> list[int]:
    """The planes in which any segment has a pixel."""
    return [int(plane) for plane in np.flatnonzero(sum(item.pixels for item in described))]


def draw(here: Sequence[Numbered], plane: int, out: Labels) -> None:
    """Write the numbers of the segments that touch a plane into zeros (rows, columns)."""
    maps: dict[int, list[Numbered]] = {}
    for item in here:
        if isinstance(item.segment.region, Labelled):
            maps.setdefault(id(item.segment.array), []).append(item)
        else:
            rows = slice(*item.rows[plane].tolist())
            out[rows][item.on(plane, rows)] = item.number
    for items in maps.values():
        labels = items[0].array_on(plane)
        if len(items) == len(here) and has_those_alone(labels, items, plane):
            out[:] = labels
        else:
            table = np.zeros(1 << 8 * labels.itemsize, out.dtype)
            table[[value_of(item) for item in items]] = [item.number for item in items]
            out += table[labels]


def background() -> Dataset:
    """Segment 0: what belongs to no segment (125040, DCM), with the category that DCMTK gives it, and black."""
    item: Dataset = SegmentDescription(
        segment_number=1,
        segment_label=codes.BACKGROUND.meaning,
        segmented_property_category=codes.concept(codes.SPATIAL_CONCEPT),
        segmented_property_type=codes.concept(codes.BACKGROUND),
        algorithm_type=SegmentAlgorithmTypeValues.MANUAL,
        display_color=CIELabColor(0.0, 0.0, 0.0),
    )
    item.SegmentNumber = BACKGROUND
    return item


RESULT = ResultType("seg_labelmap", applies, encode_labelmap, check, parts)
