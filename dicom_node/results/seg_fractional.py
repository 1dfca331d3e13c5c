"""Findings to a Segmentation (PS3.3 A.51), FRACTIONAL: a byte a pixel, 255 for a probability of 1.

A segment that the model gave as a mask is 0 and 255. Segments have the numbers that they have in the BINARY one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import SegmentationStorage

from dicom_node.results import seg_head
from dicom_node.results.check_seg import check_seg
from dicom_node.results.explicit_vr import LARGEST_LENGTH
from dicom_node.results.fractions import LARGEST, fractions_on, touched
from dicom_node.results.frame_items import MaskFrame, frame_items
from dicom_node.results.result_type import ResultType
from dicom_node.results.scene import Scene
from dicom_node.results.seg_head import BY_POSITION, BY_SEGMENT, Coding
from dicom_node.results.seg_parts import parts
from dicom_node.results.splice import Pixels, spliced
from dicom_node.results.writing import Written

CODING = Coding(SegmentationStorage, "FRACTIONAL", 8, (BY_SEGMENT, BY_POSITION))


def applies(scene: Scene) -> bool:
    """Something was found, and a byte for each of its pixels goes into one object; else the BINARY one has to do."""
    pixels = sum(item.shape[0] * item.shape[1] * len(touched(item)) for item in scene.segments if item.number)
    return 0 < pixels <= LARGEST_LENGTH


def encode_fractional(scene: Scene, ordered: str) -> Written:
    """The Segmentation of all segments that hold a voxel."""
    described = {item.number: item for item in scene.segments if item.number}
    frames = [MaskFrame(plane, number) for number, item in described.items() for plane in touched(item)]
    dataset = seg_head.head(scene, ordered, CODING)
    dataset.SegmentationFractionalType = "PROBABILITY"
    dataset.MaximumFractionalValue = int(LARGEST)
    dataset.SegmentsOverlap = "UNDEFINED" if len(described) > 1 else "NO"
    dataset.NumberOfFrames = len(frames)
    rows, columns = dataset.Rows, dataset.Columns

    def fill(out: NDArray[np.uint8]) -> None:
        for frame, pixels in zip(frames, out.reshape(len(frames), rows, columns), strict=True):
            pixels[:] = fractions_on(described[frame.number or 0], frame.plane)

    pixels = Pixels(rows * columns * len(frames), fill)
    return spliced(dataset, seg_head.references(scene), frame_items(frames, scene.planes), pixels)


def check(scene: Scene, _ordered: str, seg: Written) -> list[str]:
    check_seg(seg.payload, scene.segments, scene.planes)
    return []


RESULT = ResultType("seg_fractional", applies, encode_fractional, check, parts)
