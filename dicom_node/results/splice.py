"""A large object, written once: its head by pydicom, then what there is for each frame, then the pixels.

Both of the latter have the highest tags of their objects, so they come last whatever else the data set holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset

from dicom_node.results import explicit_vr
from dicom_node.results.dicom_file import DicomFile, Frames
from dicom_node.results.large_pages import ask_for_large_pages
from dicom_node.results.sources import ResultRefused
from dicom_node.results.writing import Written, say_what_it_is_written_in, whole_file

PER_FRAME_FUNCTIONAL_GROUPS, FLOAT_PIXEL_DATA, PIXEL_DATA = 0x52009230, 0x7FE00008, 0x7FE00010
BITS_OF_FLOATS = 32
SEGMENT = 0x00620002


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """How many bytes there are, and what writes them into uint8 (size,), which is all zero before.

    is_dense: most of the bytes are written to, so that their memory is best had in large pieces.
    """

    size: int
    fill: Callable[[NDArray[np.uint8]], None]
    is_dense: bool = True


def spliced(dataset: Dataset, inserted: Mapping[int, bytes], frame_items: Iterable[bytes], pixels: Pixels) -> Written:
    """The object of a data set that has neither Per-Frame Functional Groups nor Pixel Data.

    inserted: the items of sequences that the data set does not have, by tag. frame_items: the content of each frame's item.
    Memory is that of the object alone: the pixels are never held twice.
    Raises ResultRefused where native Pixel Data cannot be that long: its length has four bytes (PS3.5 7.1.2).
    """
    stored = pixels.size + pixels.size % 2
    head = _head(dataset, inserted, frame_items, stored)
    # Memory of zeros that is given away without a copy: what no pixel is written to is never touched.
    buffer = BytesIO(bytes(len(head) + stored))
    with buffer.getbuffer() as whole:
        whole[: len(head)] = head
        _fill(whole[len(head) : len(head) + pixels.size], pixels)
    return Written(dataset, DicomFile(buffer.getvalue()))


def in_pieces(dataset: Dataset, inserted: Mapping[int, bytes], frame_items: Iterable[bytes], frames: Frames) -> Written:
    """As `spliced`, of frames of even length that stay where they are: memory is that of a frame at most."""
    return Written(dataset, DicomFile(_head(dataset, inserted, frame_items, frames.count * frames.size_bytes), frames))


def _head(dataset: Dataset, inserted: Mapping[int, bytes], frame_items: Iterable[bytes], pixels_bytes: int) -> bytes:
    """The file up to the values of its pixels. Raises ResultRefused as `spliced`."""
    if pixels_bytes > explicit_vr.LARGEST_LENGTH:
        raise ResultRefused(
            f"the frames of {dataset.SeriesDescription} take {pixels_bytes} bytes, and one object holds"
            f" {explicit_vr.LARGEST_LENGTH}: order another type of result, or split the series"
        )
    say_what_it_is_written_in(dataset)
    groups = b"".join(map(explicit_vr.item, frame_items))
    tag, vr = _pixels_of(dataset.BitsAllocated)
    return b"".join(
        [
            _before_frames(dataset, inserted),
            explicit_vr.element(PER_FRAME_FUNCTIONAL_GROUPS, b"SQ", groups),
            explicit_vr.long_header(tag, vr, pixels_bytes),
        ]
    )


def _before_frames(dataset: Dataset, inserted: Mapping[int, bytes]) -> bytes:
    """The file up to the items of frames. What may have hundreds of items is not left to pydicom, but put in place here."""
    encodings = convert_encodings(dataset.get("SpecificCharacterSet") or "ISO_IR 6")
    sequences = dict(inserted)
    if SEGMENT in dataset:
        sequences[SEGMENT] = explicit_vr.encoded_items(dataset[SEGMENT].value, encodings)
    rest = Dataset()
    rest.update({tag: dataset.get_item(tag) for tag in dataset.keys() - sequences.keys()})
    file = whole_file(rest)
    for tag, value in sequences.items():
        at = explicit_vr.place_of(file, tag)
        file = file[:at] + explicit_vr.element(tag, b"SQ", value) + file[at:]
    return file


def _pixels_of(bits: int) -> tuple[int, bytes]:
    """Tag and VR of the pixels: of one bit they are bytes, eight are bytes too; 16 are words, 32 are floats (PS3.5 8.2)."""
    if bits == BITS_OF_FLOATS:
        return FLOAT_PIXEL_DATA, b"OF"
    return PIXEL_DATA, b"OB" if bits <= 8 else b"OW"


def _fill(memory: memoryview, pixels: Pixels) -> None:
    """In a function of its own: the buffer can be handed out only when no array looks into it any more."""
    with memory:
        out = np.frombuffer(memory, np.uint8)
        if pixels.is_dense:
            ask_for_large_pages(out)
        pixels.fill(out)
