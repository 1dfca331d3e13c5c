"""An object as its bytes say it, read without its frames: what checks need, in milliseconds for an object of any size."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from dicom_node.results.explicit_vr import UNDEFINED_LENGTH, WITH_LONG_LENGTH, encoded, items

_PER_FRAME = 0x52009230
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)


@dataclass(frozen=True, slots=True, eq=False)
class Skimmed:
    """A Part 10 file in Explicit VR Little Endian.

    dataset: all before the per-frame functional groups and pixel data; sequences in it are parsed when they are asked for.
    head: how many bytes of the file that is. frames_at: where in the file the value of Pixel Data, or of Float Pixel Data,
    begins; None where there is none. frames_size: its length in bytes, None where it is encapsulated.
    """

    dataset: FileDataset
    head: int
    frames_at: int | None
    frames_size: int | None


def skim(payload: bytes, size_bytes: int | None = None) -> Skimmed:
    """size_bytes: of the whole file, where `payload` need not have more of it than what comes before the frames' values.

    Raises ValueError where the file ends before an element does, or where per-frame items have no stated length.
    """
    end = len(payload) if size_bytes is None else size_bytes
    stream = BytesIO(payload)
    dataset = read_partial(stream, stop_when=_is_of_frames)
    head = at = stream.tell()
    while at < end:
        tag, value_at, size = _element(payload, at)
        if tag in _PIXELS and size == UNDEFINED_LENGTH:
            return Skimmed(dataset, head, value_at, None)
        if size == UNDEFINED_LENGTH:
            raise ValueError(f"the sequence at byte {at} does not state its length")
        at = value_at + size
        if at > end:
            raise ValueError(f"the file ends {at - end} bytes before its last element does")
        if tag in _PIXELS:
            return Skimmed(dataset, head, value_at, size)
    return Skimmed(dataset, head, None, None)


def _is_of_frames(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return bool(tag >= _PER_FRAME)


def _element(payload: bytes, at: int) -> tuple[int, int, int]:
    """Tag, where the value begins, its length."""
    try:
        group, element, vr, size = struct.unpack_from("<HH2sH", payload, at)
        if vr not in WITH_LONG_LENGTH:
            return group << 16 | element, at + 8, size
        (size,) = struct.unpack_from("<L", payload, at + 8)
    except struct.error as error:
        raise ValueError(f"the file ends within the element at byte {at}") from error
    return group << 16 | element, at + 12, size


def items_of_raw(dataset: Dataset, keyword: str) -> Iterator[bytes]:
    """The items of a sequence as bytes, so that none of them is parsed further than it must be; none where it is absent.

    Raises ValueError where items have no stated length.
    """
    if keyword not in dataset:
        return
    element = dataset.get_item(keyword)
    if isinstance(element, RawDataElement):
        yield from items(element.value or b"")
    else:
        yield from map(encoded, element.value)
