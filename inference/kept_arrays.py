"""Arrays of findings as plain bytes: what is not zero of each, within the box around it, masks as bits.

What is read may come from a process that ran foreign weights: every size is checked before anything is made of that size.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference import memory
from inference.errors import InferenceError

Array = NDArray[np.generic]
Buffer = bytes | bytearray | memoryview

ALIGNMENT = 64
MAX_ARRAYS = 65536
_MAX_SIDE = 2**31 - 1
_DTYPES: Mapping[str, np.dtype[Any]] = {
    name: np.dtype(name).newbyteorder("<") for name in ("bool", "uint8", "uint16", "float32")
}
_KEYS = {"dtype", "shape", "first", "size", "packed", "bytes"}


class KeptError(InferenceError):
    """Bytes that are no findings, or no sound ones; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How an array is kept: of `shape`, zero but for a box of `size` voxels that begins at `first`.

    packed: whether the box is compressed (RFC 1950). bytes_kept: so many bytes of the block, which begins at a multiple of
    ALIGNMENT.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    first: tuple[int, ...]
    size: tuple[int, ...]
    packed: bool
    bytes_kept: int

    @property
    def bytes_of_box(self) -> int:
        """Unpacked. The bits of a mask begin anew with each row."""
        if self.dtype == np.bool_:
            return math.prod(self.size[:-1]) * -(-self.size[-1] // 8)
        return math.prod(self.size) * self.dtype.itemsize

    @property
    def bytes_whole(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def written(self) -> dict[str, object]:
        return {
            "dtype": self.dtype.name,
            "shape": self.shape,
            "first": self.first,
            "size": self.size,
            "packed": self.packed,
            "bytes": self.bytes_kept,
        }


def kept_array(array: Array, *, packed: bool) -> tuple[Layout, Buffer]:
    """How it is kept, and the bytes. Raises KeptError for a dtype that no finding has."""
    dtype = _DTYPES.get(array.dtype.name)
    if dtype is None or not array.ndim:
        raise KeptError(f"an array of findings must be {', '.join(_DTYPES)}, but is {array.dtype} {array.shape}")
    first, size = _box(array)
    if not packed and dtype != np.bool_ and 2 * math.prod(size) > array.size:
        # Read in place. Of less, a reader makes an array anew: its box and the block together take more than all of it.
        first, size = (0,) * array.ndim, array.shape
    box = array[tuple(slice(start, start + length) for start, length in zip(first, size, strict=True))]
    plain = np.packbits(box.view(np.bool_), axis=-1) if dtype == np.bool_ else np.ascontiguousarray(box, dtype)
    content: Buffer = plain.reshape(-1).view(np.uint8).data
    if packed:
        content = zlib.compress(content, level=1)
    return Layout(dtype, array.shape, first, size, packed, len(content)), content


def layouts(told: object, *, most_bytes: int) -> list[Layout]:
    """The layouts that a header tells. most_bytes: what all arrays may take together. Raises KeptError."""
    if not isinstance(told, list) or len(told) > MAX_ARRAYS:
        raise KeptError(f"arrays must be a list of at most {MAX_ARRAYS}")
    found = [_layout(item, f"arrays[{index}]") for index, item in enumerate(told)]
    if (wanted := sum(item.bytes_whole for item in found)) > most_bytes:
        raise KeptError(f"arrays would take {wanted} bytes, more than the {most_bytes} that they may")
    return found


def read_array(layout: Layout, block: memoryview) -> Array:
    """The array; a view of the block where nothing must be made anew. Raises KeptError where the block is not as told."""
    content = _unpacked(block, layout.bytes_of_box) if layout.packed else block
    if len(content) != layout.bytes_of_box:
        raise KeptError(f"an array of {layout.bytes_of_box} bytes is {len(content)} bytes long")
    if layout.dtype == np.bool_:
        return _mask(layout, content)
    box = np.frombuffer(content, layout.dtype).reshape(layout.size)
    if layout.size == layout.shape:
        return box
    array = memory.zeros(layout.shape, layout.dtype.type)
    array[_slices(layout)] = box
    return array


def _mask(layout: Layout, content: Buffer) -> Array:
    """Slice by slice: bits take eight times their room as bytes."""
    array = memory.zeros(layout.shape, np.bool_)
    if not math.prod(layout.size):
        return array
    within, width = array[_slices(layout)], layout.size[-1]
    bits = np.frombuffer(content, np.uint8).reshape(*layout.size[:-1], -1)
    if within.ndim == 1:
        within[:] = np.unpackbits(bits, count=width)
        return array
    for into, row in zip(within, bits, strict=True):
        into[...] = np.unpackbits(row, axis=-1, count=width)
    return array


def _box(array: Array) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """First index and size of the box around all that is not zero; of no size where all is."""
    first, size = [0] * array.ndim, list(array.shape)
    within = array
    for axis in range(array.ndim):
        others = tuple(other for other in range(array.ndim) if other != axis)
        # NaN is not zero, and np.any takes it for true.
        there = np.flatnonzero(within.any(axis=others))
        if not there.size:
            return (0,) * array.ndim, (0,) * array.ndim
        first[axis], size[axis] = int(there[0]), int(there[-1] - there[0] + 1)
        within = within[(slice(None),) * axis + (slice(first[axis], first[axis] + size[axis]),)]
    return tuple(first), tuple(size)


def _layout(told: object, where: str) -> Layout:
    if not isinstance(told, dict) or set(told) != _KEYS:
        raise KeptError(f"{where}: must have the keys {', '.join(sorted(_KEYS))}")
    dtype = _DTYPES.get(told["dtype"]) if isinstance(told["dtype"], str) else None
    if dtype is None:
        raise KeptError(f"{where}: dtype must be one of {', '.join(_DTYPES)}")
    shape, first, size = (_sides(told[key], f"{where}.{key}") for key in ("shape", "first", "size"))
    if not len(shape) == len(first) == len(size):
        raise KeptError(f"{where}: shape, first and size must be of one length")
    if any(start + length > whole for start, length, whole in zip(first, size, shape, strict=True)):
        raise KeptError(f"{where}: the box of {size} at {first} must lie within {shape}")
    if not isinstance(told["packed"], bool):
        raise KeptError(f"{where}.packed: must be true or false")
    (length,) = _sides([told["bytes"]], f"{where}.bytes", most=2**62)
    layout = Layout(dtype, shape, first, size, told["packed"], length)
    if not layout.packed and length != layout.bytes_of_box:
        raise KeptError(f"{where}.bytes: must be {layout.bytes_of_box} for a box of {size}, but is {length}")
    return layout


def _sides(told: object, where: str, most: int = _MAX_SIDE) -> tuple[int, ...]:
    if not isinstance(told, list) or not 1 <= len(told) <= 4:
        raise KeptError(f"{where}: must be 1 to 4 whole numbers")
    if not all(type(item) is int and 0 <= item <= most for item in told):
        raise KeptError(f"{where}: must be whole numbers from 0 to {most}")
    return tuple(told)


def _slices(layout: Layout) -> tuple[slice, ...]:
    return tuple(slice(start, start + length) for start, length in zip(layout.first, layout.size, strict=True))


def _unpacked(block: memoryview, length: int) -> bytes:
    """Never more than `length` bytes, whatever the block claims."""
    reader = zlib.decompressobj()
    try:
        content = reader.decompress(block, length + 1)
    except zlib.error as error:
        raise KeptError(f"an array cannot be unpacked ({error})") from error
    if not reader.eof or reader.unused_data:
        raise KeptError(f"an array must end with its {length} bytes, but does not")
    return content


def starts(found: Sequence[Layout], after: int) -> list[int]:
    """Where each block begins, and where the last one ends, when `after` bytes come before."""
    places, end = [], after
    for layout in found:
        begin = -(-end // ALIGNMENT) * ALIGNMENT
        places.append(begin)
        end = begin + layout.bytes_kept
    return [*places, end]
