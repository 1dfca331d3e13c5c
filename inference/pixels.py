"""Pixel Data to numbers: stored values (PS3.3 C.7.6.3.1, PS3.5 section 8.1) and the rescale of the Modality LUT
(C.11.1).

Bits outside Bits Stored (overlays, scanner junk) never reach a value: they are masked off, and negative numbers
are sign extended from the highest stored bit. Photometric Interpretation MONOCHROME1 or 2 only says how to show
values, not what they are, so it changes nothing. Pixel Padding Value is left in place; `padding_value` says
what it became.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from inference import codecs, elements
from inference.errors import NotAVolume
from inference.frames import Frame, frame_count

_BITS_ALLOCATED = Tag("BitsAllocated")
_BITS_STORED = Tag("BitsStored")
_HIGH_BIT = Tag("HighBit")
_SIGNED = Tag("PixelRepresentation")
_SAMPLES = Tag("SamplesPerPixel")
_PHOTOMETRIC = Tag("PhotometricInterpretation")
_PIXEL_DATA = Tag("PixelData")
_PADDING = Tag("PixelPaddingValue")
_MODALITY_LUT = Tag("ModalityLUTSequence")
_NATIVE = frozenset(
    (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
)


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How stored values lie in their cells. transfer_syntax_uid is empty for native pixels."""

    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    is_little_endian: bool
    transfer_syntax_uid: str

    @property
    def bytes_allocated(self) -> int:
        """Bytes that one value takes."""
        return self.bits_allocated // 8


def pixel_format(dataset: Dataset) -> PixelFormat:
    """The format of an instance's pixels. Raises NotAVolume for what is no grid of single numbers."""
    samples = elements.unsigned(dataset, _SAMPLES) or 1
    photometric = elements.text(dataset, _PHOTOMETRIC)
    if samples != 1 or not photometric.startswith("MONOCHROME"):
        raise NotAVolume(f"pixels are colours, not numbers: {photometric or 'no Photometric Interpretation'}")
    if _PIXEL_DATA not in dataset:
        raise NotAVolume("there is no Pixel Data")
    if _MODALITY_LUT in dataset:
        raise NotAVolume("values are given by a table (Modality LUT Sequence), not by slope and intercept")
    allocated = elements.unsigned(dataset, _BITS_ALLOCATED) or 0
    stored = elements.unsigned(dataset, _BITS_STORED) or allocated
    high_bit = elements.unsigned(dataset, _HIGH_BIT)
    high_bit = stored - 1 if high_bit is None else high_bit
    if allocated not in (8, 16, 32) or not stored - 1 <= high_bit < allocated:
        raise NotAVolume(f"Bits Allocated {allocated}, Bits Stored {stored}, High Bit {high_bit} make no number")
    syntax, is_little_endian = _encoding(dataset)
    if syntax and syntax not in codecs.SUPPORTED:
        raise NotAVolume(f"transfer syntax {syntax} cannot be decoded")
    is_signed = bool(elements.unsigned(dataset, _SIGNED))
    return PixelFormat(allocated, stored, high_bit, is_signed, is_little_endian, syntax)


def padding_value(dataset: Dataset, frame: Frame) -> float | None:
    """What Pixel Padding Value (0028,0120) is after rescale; None without one. Its VR follows Pixel
    Representation, which some devices get wrong, so it is read by bits."""
    stored = elements.unsigned(dataset, _PADDING)
    if stored is None:
        return None
    allocated = elements.unsigned(dataset, _BITS_ALLOCATED) or 16
    stored &= (1 << allocated) - 1
    if elements.unsigned(dataset, _SIGNED) and stored >> (allocated - 1):
        stored -= 1 << allocated
    return stored * frame.slope + frame.intercept


def read_frames(datasets: Sequence[Dataset], frames: Sequence[Frame], *, threads: int) -> NDArray[np.float32]:
    """Rescaled pixels of frames of one size, float32 (frames, rows, columns), in the order given.

    Raises NotAVolume, naming the frame, before anything is allocated where pixels cannot be as many as the
    header says.
    """
    instances = {frame.instance: _Instance(datasets[frame.instance], frame) for frame in frames}
    first = frames[0]
    stored = []
    for frame in frames:
        try:
            stored.append(instances[frame.instance].frame_bytes(frame))
        except (codecs.CodecError, ValueError) as error:
            raise NotAVolume(f"pixels of {frame.name} cannot be read: {error}") from error
    try:
        out = np.empty((len(frames), first.rows, first.columns), np.float32)
    except MemoryError as error:
        raise NotAVolume(
            f"{len(frames)} images of {first.rows} x {first.columns} need more memory than there is: {error}"
        ) from error

    def fill(index: int) -> None:
        frame, instance = frames[index], instances[frames[index].instance]
        try:
            _rescale(_values(stored[index], instance.format, frame), frame, out[index])
        except codecs.CodecError as error:
            raise NotAVolume(f"pixels of {frame.name} cannot be decoded: {error}") from error

    if threads == 1 or len(frames) == 1:
        for index in range(len(frames)):
            fill(index)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, range(len(frames))))
    return out


def stored_bytes(dataset: Dataset, frame: Frame) -> bytes:
    """A frame's pixels as stored, compressed or not: two equal ones are one picture. Raises NotAVolume."""
    try:
        return bytes(_Instance(dataset, frame).frame_bytes(frame))
    except (codecs.CodecError, ValueError) as error:
        raise NotAVolume(f"pixels of {frame.name} cannot be read: {error}") from error


class _Instance:
    """Pixel Data of one instance, cut into frames."""

    def __init__(self, dataset: Dataset, frame: Frame) -> None:
        try:
            self.format = pixel_format(dataset)
            element = dataset.get_item(_PIXEL_DATA)
            value = None if element is None else element.value
            self._data: bytes = value if isinstance(value, bytes) else bytes(dataset.PixelData)
        except (NotAVolume, *elements.UNREADABLE) as error:
            raise NotAVolume(f"{frame.name}: {error}") from error
        self._count = frame_count(dataset)
        self._encapsulated: list[bytes] | None = None

    def frame_bytes(self, frame: Frame) -> memoryview | bytes:
        needed = frame.rows * frame.columns * self.format.bytes_allocated
        if not needed:
            raise ValueError(f"Rows {frame.rows} x Columns {frame.columns} hold no pixel")
        if not self.format.transfer_syntax_uid:
            start = frame.index * needed
            if len(self._data) < start + needed:
                raise ValueError(f"Pixel Data holds {len(self._data)} bytes, {start + needed} needed")
            return memoryview(self._data)[start : start + needed]
        if self._encapsulated is None:
            self._encapsulated = list(generate_frames(self._data, number_of_frames=self._count))
        if frame.index >= len(self._encapsulated):
            raise ValueError(f"Pixel Data holds {len(self._encapsulated)} frames")
        data = self._encapsulated[frame.index]
        codecs.check_frame(
            data, self.format.transfer_syntax_uid, frame.rows, frame.columns, self.format.bytes_allocated
        )
        return data


def _encoding(dataset: Dataset) -> tuple[str, bool]:
    """Transfer syntax UID where frames are compressed, else empty; and whether native values are little endian."""
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:
        return "", dataset.original_encoding[1] is not False
    return ("" if syntax in _NATIVE else str(syntax)), syntax != ExplicitVRBigEndian


def _values(data: memoryview | bytes, form: PixelFormat, frame: Frame) -> NDArray[np.integer]:
    """Stored values of one frame as signed or unsigned integers (rows, columns)."""
    cells: NDArray[np.integer]
    if form.transfer_syntax_uid:
        cells = codecs.decode_frame(
            bytes(data), form.transfer_syntax_uid, frame.rows, frame.columns, form.bytes_allocated
        )
    elif form.is_little_endian or form.bits_allocated > 8:
        order = "<" if form.is_little_endian else ">"
        cells = np.frombuffer(data, f"{order}u{form.bytes_allocated}").reshape(frame.rows, frame.columns)
    else:
        cells = _swapped_bytes(data).reshape(frame.rows, frame.columns)
    return _stored_bits(cells, form)


def _swapped_bytes(data: memoryview | bytes) -> NDArray[np.uint8]:
    """8-bit values of a big endian OW, whose bytes come in pairs (PS3.5 section 8.1.1)."""
    cells = np.frombuffer(data, np.uint8)
    even = cells.size // 2 * 2
    return np.concatenate([cells[:even].reshape(-1, 2)[:, ::-1].reshape(-1), cells[even:]])


def _stored_bits(cells: NDArray[np.integer], form: PixelFormat) -> NDArray[np.integer]:
    """Keep Bits Stored up to High Bit, with their sign."""
    width = cells.dtype.itemsize * 8
    order = cells.dtype.byteorder
    unsigned = np.dtype(f"u{width // 8}").newbyteorder(order)
    signed = np.dtype(f"i{width // 8}").newbyteorder(order)
    cells = cells.view(unsigned)
    lowest = form.high_bit + 1 - form.bits_stored
    if lowest and not form.transfer_syntax_uid:
        cells = cells >> lowest
    spare = width - form.bits_stored
    if not form.is_signed:
        return cells & ((1 << form.bits_stored) - 1) if spare > 0 else cells
    values = cells.view(signed)
    return (values << spare) >> spare if spare > 0 else values


def _rescale(values: NDArray[np.integer], frame: Frame, out: NDArray[np.float32]) -> None:
    """out = values * slope + intercept, in double precision where float32 cannot hold the stored values."""
    if values.dtype.itemsize > 2:
        out[...] = values.astype(np.float64) * frame.slope + frame.intercept
        return
    out[...] = values
    if frame.slope != 1.0:
        out *= np.float32(frame.slope)
    if frame.intercept != 0.0:
        out += np.float32(frame.intercept)
