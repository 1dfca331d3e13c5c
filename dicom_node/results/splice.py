"""A large object, written once: its head by pydicom, then what there is for each frame, then the pixels.

Both of the latter have the highest tags of their objects, so they come last whatever else the data set holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.results import explicit_vr
from dicom_node.results.sources import ResultRefused
from dicom_node.results.writing import Written, part10

PER_FRAME_FUNCTIONAL_GROUPS, FLOAT_PIXEL_DATA, PIXEL_DATA = 0x52009230, 0x7FE00008, 0x7FE00010
BITS_OF_FLOATS = 32


def spliced(
    dataset: Dataset, frame_items: Iterable[bytes], pixel_bytes: int, fill: Callable[[NDArray[np.uint8]], None]
) -> Written:
    """The object of a data set that has neither Per-Frame Functional Groups nor pixels.

    frame_items: the content of each frame's item. fill: writes the pixels into uint8 (pixel_bytes,), all zero before.
    Memory is that of the object alone: the pixels are never held twice.
    Raises ResultRefused where native Pixel Data cannot be that long (PS3.5 8.1.1: its length has four bytes).
    """
    stored = pixel_bytes + pixel_bytes % 2
    if stored > explicit_vr.LARGEST_LENGTH:
        raise ResultRefused(
            f"the frames of {dataset.SeriesDescription} take {pixel_bytes} bytes, and one object holds"
            f" {explicit_vr.LARGEST_LENGTH}: order another type of Segmentation, or split the series"
        )
    groups = b"".join(map(explicit_vr.item, frame_items))
    tag, vr = _pixels_of(dataset.BitsAllocated)
    head = b"".join(
        [
            part10(dataset),
            explicit_vr.element(PER_FRAME_FUNCTIONAL_GROUPS, b"SQ", groups),
            explicit_vr.long_header(tag, vr, stored),
        ]
    )
    # Memory of zeros that is given away without a copy: what no pixel is written to is never touched.
    buffer = BytesIO(bytes(len(head) + stored))
    with buffer.getbuffer() as whole:
        whole[: len(head)] = head
        _fill(whole[len(head) : len(head) + pixel_bytes], fill)
    return Written(dataset, buffer.getvalue())


def _pixels_of(bits: int) -> tuple[int, bytes]:
    """Tag and VR of the pixels: of one bit they are bytes, eight are bytes too; 16 are words, 32 are floats (PS3.5 8.2)."""
    if bits == BITS_OF_FLOATS:
        return FLOAT_PIXEL_DATA, b"OF"
    return PIXEL_DATA, b"OB" if bits <= 8 else b"OW"


def _fill(pixels: memoryview, fill: Callable[[NDArray[np.uint8]], None]) -> None:
    """In a function of its own: the buffer can be handed out only when no array looks into it any more."""
    with pixels:
        fill(np.frombuffer(pixels, np.uint8))
