"""Does the written Segmentation hold the masks that were found, where they were found? Asked of the bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.results.segments import Numbered
from dicom_node.results.sources import Plane, ResultRefused

SAME_PLACE_MM = 0.01
"""Decimal strings keep 16 characters, so a position comes back much closer than this."""


def check_seg(payload: bytes, segments: Sequence[Numbered], planes: Sequence[Plane]) -> None:
    """Read the Segmentation back: every frame lies where its source frame lies and holds that part of the mask.

    Raises ResultRefused.
    """
    dataset = dcmread(BytesIO(payload))
    by_number = {item.number: item for item in segments if item.number}
    slices = {(plane.reference.sop_instance_uid, plane.reference.frame_number): i for i, plane in enumerate(planes)}
    seen: set[tuple[int, int]] = set()
    groups = dataset.PerFrameFunctionalGroupsSequence
    for frame, (group, stored) in enumerate(zip(groups, unpack(dataset), strict=True), start=1):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        index = slices.get((source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber")))
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        if index is None or number not in by_number:
            raise ResultRefused(f"frame {frame} of the Segmentation refers to what is not a source, or to no segment")
        position = np.asarray(group.PlanePositionSequence[0].ImagePositionPatient, np.float64)
        apart_mm = float(np.linalg.norm(position - planes[index].position))
        if apart_mm > SAME_PLACE_MM:
            raise ResultRefused(f"frame {frame} of the Segmentation lies {apart_mm:.2f} mm from its source frame")
        if not np.array_equal(stored, by_number[number].on(index)):
            raise ResultRefused(f"frame {frame} of the Segmentation is not image {index} of segment {number}")
        seen.add((number, index))
    expected = {(number, int(i)) for number, item in by_number.items() for i in np.flatnonzero(item.pixels)}
    if seen != expected or len(groups) != len(expected):
        raise ResultRefused(f"the Segmentation holds {len(seen)} of {len(expected)} frames that are not empty")


def unpack(dataset: Dataset) -> Iterator[NDArray[np.bool_]]:
    """The frames of a BINARY Segmentation as bool (rows, columns); bits follow without padding (PS3.5 8.1.1)."""
    size = dataset.Rows * dataset.Columns
    packed = np.frombuffer(dataset.PixelData, np.uint8)
    for index in range(int(dataset.NumberOfFrames)):
        first, last = index * size, (index + 1) * size
        bits = np.unpackbits(packed[first // 8 : -(-last // 8)], bitorder="little")
        yield bits[first % 8 : first % 8 + size].reshape(dataset.Rows, dataset.Columns).astype(np.bool_)
