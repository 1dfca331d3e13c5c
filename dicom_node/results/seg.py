"""Findings to a Segmentation (PS3.3 A.51), BINARY, in the planes of the source: a bit a pixel, a frame for each segment in
each plane that it touches.

Each frame points to the source frame that it was made from, whatever the series is made of: single or multi-frame
instances, tilted or not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import SegmentationStorage

from dicom_node.results import seg_head
from dicom_node.results.check_seg import check_seg
from dicom_node.results.frame_items import MaskFrame, frame_items
from dicom_node.results.overlap import overlap
from dicom_node.results.result_type import ResultType
from dicom_node.results.scene import Scene
from dicom_node.results.seg_head import BY_POSITION, BY_SEGMENT, Coding
from dicom_node.results.seg_parts import parts
from dicom_node.results.segments import Numbered
from dicom_node.results.splice import Pixels, spliced
from dicom_node.results.writing import Written

CODING = Coding(SegmentationStorage, "BINARY", 1, (BY_SEGMENT, BY_POSITION))


def applies(scene: Scene) -> bool:
    """A Segmentation cannot show a segment without a voxel, so one at least must hold some."""
    return any(item.number for item in scene.segments)


def encode_seg(scene: Scene, ordered: str) -> Written:
    """The Segmentation of all segments that hold a voxel."""
    described = {item.number: item for item in scene.segments if item.number}
    frames = [MaskFrame(int(plane), n) for n, item in described.items() for plane in np.flatnonzero(item.pixels)]
    dataset = seg_head.head(scene, ordered, CODING)
    dataset.SegmentsOverlap = "YES" if overlap(scene.segments) else "NO"
    dataset.NumberOfFrames = len(frames)
    size = dataset.Rows * dataset.Columns
    masks = [(described[frame.number or 0], frame.plane) for frame in frames]
    pixels = Pixels(-(-size * len(frames) // 8), lambda out: pack(masks, out), is_dense=False)
    return spliced(dataset, seg_head.references(scene), frame_items(frames, scene.planes), pixels)


def check(scene: Scene, _ordered: str, seg: Written) -> list[str]:
    check_seg(seg.payload, scene.segments, scene.planes)
    return []


def pack(frames: Sequence[tuple[Numbered, int]], out: NDArray[np.uint8]) -> None:
    """Masks, each with its plane, to bits of `out`, the first pixel in the lowest bit (PS3.5 annex D).

    Frames follow each other without padding (8.1.1), so one may begin within a byte. Rows beyond the mask are not touched.
    """
    for index, (item, plane) in enumerate(frames):
        first, last = item.rows[plane].tolist()
        bits = item.on(plane, slice(first, last))
        rows, columns = item.shape
        begins = (index * rows + first) * columns
        packed = np.packbits(shifted(bits.ravel(), begins % 8), bitorder="little")
        out[begins // 8 : begins // 8 + packed.size] |= packed


def shifted(bits: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """The bits behind `by` zeros."""
    return np.concatenate([np.zeros(by, np.bool_), bits]) if by else bits


RESULT = ResultType("seg", applies, encode_seg, check, parts)
