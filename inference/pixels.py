"""Pixel Data to numbers: stored values, as `pixel_format` says that they lie, and the rescale of the Modality LUT (PS3.3
C.11.1).

Bits outside Bits Stored (overlays, scanner junk) never reach a value: they are masked off, and negative numbers
are sign extended from the highest stored bit. Photometric Interpretation MONOCHROME1 or 2 only says how to show
values, not what they are, so it changes nothing. Pixel Padding Value is left in place; `padding_value` says
what it became.

Values go straight from where they lie into the volume, one frame at a time in each thread: a frame fits the processor's
cache, a series does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.uid import RLELossless

from inference import codecs, elements, memory
from inference.errors import NotAVolume
from inference.frames import Frame, frame_count
from inference.instances import Instance, Unread
from inference.pixel_format import PixelFormat, pixel_format

Stored = bytes | memoryview | Unread


def read_frames(instances: Sequence[Instance], frames: Sequence[Frame], *, threads: int) -> NDArray[np.float32]:
    """Rescaled pixels of frames of one size, float32 (frames, rows, columns), in the order given.

    Raises NotAVolume, naming the frame, before anything is allocated where pixels cannot be as many as the
    header says.
    """
    first = frames[0]
    stored, formats = _stored(instances, frames)
    try:
        out = memory.VOXELS.array((len(frames), first.rows, first.columns), np.float32)
    except MemoryError as error:
        raise NotAVolume(
            f"{len(frames)} images of {first.rows} x {first.columns} need more memory than there is: {error}"
        ) from error
    scratch = memory.Scratch()

    def fill(index: int) -> None:
        frame, data = frames[index], stored[index]
        stored[index] = b""  # what has been read takes no more room
        try:
            values = _values(_filled(data, scratch), formats[index], frame, scratch)
            rescale(values, frame.slope, frame.intercept, out[index])
        except codecs.CodecError as error:
            raise NotAVolume(f"pixels of {frame.name} cannot be decoded: {error}") from error

    _in_threads(fill, len(frames), threads)
    return out


def _stored(instances: Sequence[Instance], frames: Sequence[Frame]) -> tuple[list[Stored], list[PixelFormat]]:
    """Of each frame, in the order given."""
    cuts = {frame.instance: _Cut(instances[frame.instance], frame) for frame in frames}
    stored = []
    for frame in frames:
        try:
            stored.append(cuts[frame.instance].stored(frame))
        except (codecs.CodecError, ValueError) as error:
            raise NotAVolume(f"pixels of {frame.name} cannot be read: {error}") from error
    return stored, [cuts[frame.instance].format for frame in frames]


def stored_bytes(instance: Instance, frame: Frame) -> bytes:
    """A frame's pixels as stored, compressed or not: two equal ones are one picture. Raises NotAVolume."""
    try:
        return bytes(_filled(_Cut(instance, frame).stored(frame), memory.Scratch()))
    except (codecs.CodecError, ValueError) as error:
        raise NotAVolume(f"pixels of {frame.name} cannot be read: {error}") from error


def rescale(values: NDArray[np.integer], slope: float, intercept: float, out: NDArray[np.float32]) -> None:
    """out = values * slope + intercept, in double precision where float32 cannot hold the stored values."""
    if values.dtype.itemsize > 2:
        out[...] = values.astype(np.float64) * slope + intercept
    elif slope != 1.0:
        np.multiply(values, np.float32(slope), out=out, dtype=np.float32, casting="same_kind")
        if intercept != 0.0:
            out += np.float32(intercept)
    elif intercept != 0.0:
        np.add(values, np.float32(intercept), out=out, dtype=np.float32, casting="same_kind")
    else:
        out[...] = values


def _in_threads(work: Callable[[int], None], count: int, threads: int) -> None:
    if threads == 1 or count == 1:
        for index in range(count):
            work(index)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(count)))


def _filled(data: Stored, scratch: memory.Scratch) -> memoryview | bytes:
    """The bytes themselves; those that were unread are read one frame after the other into the same buffer."""
    if not isinstance(data, Unread):
        return data
    view = scratch.array("stored", len(data), np.uint8).data
    data.file.read_into(data.start, view)
    return view


class _Cut:
    """Pixel Data of one instance, cut into frames."""

    def __init__(self, instance: Instance, frame: Frame) -> None:
        try:
            self.format = pixel_format(instance.attributes)
            # What can be told of a codestream before it is decoded stands in it; of RLE its length says all.
            self._rle = instance.lone_fragment() if self.format.transfer_syntax_uid == RLELossless else None
            self._data = self._rle or instance.pixel_data()
        except (NotAVolume, *elements.UNREADABLE) as error:
            raise NotAVolume(f"{frame.name}: {error}") from error
        self._count = frame_count(instance.attributes)
        self._encapsulated: list[bytes] | None = None

    def stored(self, frame: Frame) -> Stored:
        """Raises ValueError where there are too few bytes."""
        needed = frame.rows * frame.columns * self.format.bytes_allocated
        if not needed:
            raise ValueError(f"Rows {frame.rows} x Columns {frame.columns} hold no pixel")
        if self._rle is not None:
            codecs.check_rle(len(self._rle), needed)
            return self._rle
        if isinstance(self._data, Unread) or not self.format.transfer_syntax_uid:
            start, end = frame.index * needed, (frame.index + 1) * needed
            if len(self._data) < end:
                raise ValueError(f"Pixel Data holds {len(self._data)} bytes, {end} needed")
            return self._data[start:end] if isinstance(self._data, Unread) else memoryview(self._data)[start:end]
        if self._encapsulated is None:
            self._encapsulated = list(generate_frames(self._data, number_of_frames=self._count))
        if frame.index >= len(self._encapsulated):
            raise ValueError(f"Pixel Data holds {len(self._encapsulated)} frames")
        data = self._encapsulated[frame.index]
        codecs.check_frame(
            data, self.format.transfer_syntax_uid, frame.rows, frame.columns, self.format.bytes_allocated
        )
        return data


def _values(data: memoryview | bytes, form: PixelFormat, frame: Frame, scratch: memory.Scratch) -> NDArray[np.integer]:
    """Stored values of one frame as signed or unsigned integers (rows, columns)."""
    cells: NDArray[np.integer]
    if form.transfer_syntax_uid:
        cells = codecs.decode_frame(
            data, form.transfer_syntax_uid, frame.rows, frame.columns, form.bytes_allocated, scratch=scratch
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
    """Keep Bits Stored up to High Bit, with their sign; in place where the cells may be written to."""
    width = cells.dtype.itemsize * 8
    order = cells.dtype.byteorder
    unsigned = np.dtype(f"u{width // 8}").newbyteorder(order)
    signed = np.dtype(f"i{width // 8}").newbyteorder(order)
    cells = cells.view(unsigned)  # so that no sign comes in from above
    lowest = form.high_bit + 1 - form.bits_stored
    if lowest and not form.transfer_syntax_uid:
        cells = np.right_shift(cells, lowest)
    spare = width - form.bits_stored
    if not form.is_signed:
        if spare > 0:
            return np.asarray(np.bitwise_and(cells, (1 << form.bits_stored) - 1, out=_place_for(cells)))
        return cells
    values: NDArray[np.integer] = cells.view(signed)
    if spare <= 0:
        return values
    values = np.left_shift(values, spare, out=_place_for(values))
    return np.asarray(np.right_shift(values, spare, out=values))


def _place_for(cells: NDArray[np.integer]) -> NDArray[np.integer]:
    return cells if cells.flags.writeable else np.empty_like(cells)
