"""The same object with fewer bytes, nothing lost: what destinations are sent that want it so (PS3.5 annex A).

Objects are kept, and were checked, uncompressed. A compressed form has the same UIDs (PS3.3 C.12.1.1, lossless), and is
decompressed again before it goes anywhere: what does not come back bit by bit is not used.

Frames of 8 and 16 bits can be compressed by RLE and JPEG 2000, and whole data sets can be deflated, whatever they hold.
Frames of one bit are left to the latter: PS3.5 8.2 permits RLE of them since 2025, but hardly a decoder knows that.
Floating point pixels are never compressed by frame (PS3.5 A.4).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from dicom_node.lossless import TRANSFER_SYNTAXES, Method
from dicom_node.part10 import data_set_at, file_meta
from dicom_node.results.explicit_vr import UNDEFINED_LENGTH, long_header
from dicom_node.results.skimmed import Skimmed, skim

_PIXEL_DATA, _ITEM, _DELIMITER = 0x7FE00010, 0xFFFEE000, 0xFFFEE0DD
_LONG_HEADER_BYTES = 12
_RLE_HEADER = struct.Struct("<16L")
_LARGEST_OFFSET = 0xFFFFFFFF
_PIECE_BYTES = 1024**2
# Of what is nearly all zeros this takes a quarter of the time of the usual level, and both leave a hundredth of it.
_LEVEL = 3

Frame = NDArray[np.unsignedinteger]
"""(rows, columns) or (rows, columns, samples), uint8 or uint16."""


class NotTheSame(ValueError):
    """What was compressed does not come back as it was."""


@dataclass(frozen=True, slots=True, eq=False)
class Compressed:
    """A Part 10 file in the transfer syntax that it names."""

    transfer_syntax_uid: str
    part10: bytes


def compressed(part10: bytes, methods: Sequence[Method]) -> Compressed | None:
    """The object by the first of the methods that can be used for it; None for what has no pixels, or where none can.

    part10: in Explicit VR Little Endian. Raises NotTheSame.
    """
    if not methods:
        return None
    skimmed = skim(part10)
    if skimmed.frames_at is None or not skimmed.frames_size:
        return None
    for method in methods:
        if method == "deflated":
            return _in_file(skimmed, method, _deflated(part10))
        frames = _frames(part10, skimmed)
        if frames is not None:
            head = part10[data_set_at(part10) : skimmed.frames_at - _LONG_HEADER_BYTES]
            return _in_file(skimmed, method, head + _encapsulated(map(_ENCODERS[method], frames)))
    return None


def _in_file(skimmed: Skimmed, method: Method, data_set: bytes) -> Compressed:
    dataset, syntax = skimmed.dataset, TRANSFER_SYNTAXES[method]
    meta = file_meta(
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        transfer_syntax_uid=syntax,
    )
    return Compressed(syntax, meta + data_set)


def _deflated(part10: bytes) -> bytes:
    """The data set as a raw deflate stream (RFC 1951), padded to an even length (PS3.5 A.5)."""
    plain = memoryview(part10)[data_set_at(part10) :]
    packer = zlib.compressobj(_LEVEL, wbits=-zlib.MAX_WBITS)
    packed = packer.compress(plain) + packer.flush()
    if not _inflates_to(packed, plain):
        raise NotTheSame("the deflated data set is another one")
    return packed + b"\0" * (len(packed) % 2)


def _inflates_to(packed: bytes, plain: memoryview) -> bool:
    """Piece by piece: the data set is not held a second time."""
    unpacker, at, rest = zlib.decompressobj(wbits=-zlib.MAX_WBITS), 0, packed
    while not unpacker.eof:
        piece = unpacker.decompress(rest, _PIECE_BYTES)
        if (not piece and not unpacker.eof) or piece != plain[at : at + len(piece)]:
            return False
        at, rest = at + len(piece), unpacker.unconsumed_tail
    return at == len(plain)


def _frames(part10: bytes, skimmed: Skimmed) -> NDArray[np.unsignedinteger] | None:
    """(frames, rows, columns) and samples, where the object ends with integers of one or two bytes; else None."""
    dataset, at, size = skimmed.dataset, skimmed.frames_at or 0, skimmed.frames_size or 0
    group, element = struct.unpack_from("<HH", part10, at - _LONG_HEADER_BYTES)
    bits, samples = dataset.BitsAllocated, dataset.SamplesPerPixel
    is_planar = samples > 1 and dataset.get("PlanarConfiguration", 0) != 0
    if group << 16 | element != _PIXEL_DATA or bits not in (8, 16) or is_planar or at + size != len(part10):
        return None
    count = int(dataset.get("NumberOfFrames") or 1)
    shape = (count, dataset.Rows, dataset.Columns, *((samples,) if samples > 1 else ()))
    values = np.frombuffer(part10, f"<u{bits // 8}", int(np.prod(shape)), at)
    return values.reshape(shape)


def _encapsulated(frames: Iterable[bytes]) -> bytes:
    """Pixel Data of one fragment a frame, behind a Basic Offset Table, which is empty where offsets do not fit (PS3.5 A.4)."""
    fragments = [frame + b"\0" * (len(frame) % 2) for frame in frames]
    begins = np.cumsum([0, *(8 + len(fragment) for fragment in fragments[:-1])])
    table = begins.astype("<u4").tobytes() if begins[-1] <= _LARGEST_OFFSET else b""
    parts = [long_header(_PIXEL_DATA, b"OB", UNDEFINED_LENGTH)]
    for content in (table, *fragments):
        parts += [_item(_ITEM, len(content)), content]
    return b"".join([*parts, _item(_DELIMITER, 0)])


def _item(tag: int, length: int) -> bytes:
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, length)


def _rle(frame: Frame) -> bytes:
    """A segment for each byte of each sample, the highest first; no run goes on into the next row (PS3.5 annex G)."""
    segments = []
    for plane in _byte_planes(frame):
        packed = bytes(imagecodecs.packbits_encode(plane))
        if bytes(imagecodecs.packbits_decode(packed)) != plane.tobytes():
            raise NotTheSame("a frame compressed by RLE is another one")
        segments.append(packed + b"\0" * (len(packed) % 2))
    begins = np.cumsum([_RLE_HEADER.size, *(len(segment) for segment in segments[:-1])]).tolist()
    header = _RLE_HEADER.pack(len(segments), *begins, *[0] * (15 - len(begins)))
    return b"".join([header, *segments])


def _byte_planes(frame: Frame) -> Iterator[NDArray[np.uint8]]:
    """uint8 (rows, columns)."""
    for sample in np.moveaxis(np.atleast_3d(frame), -1, 0):
        for shift in range(8 * (frame.itemsize - 1), -1, -8):
            yield np.ascontiguousarray(sample >> shift & 0xFF).astype(np.uint8)


def _jpeg2000(frame: Frame) -> bytes:
    """A codestream of the reversible transforms. Colours stay RGB, so no multiple component transform (PS3.5 8.2.4)."""
    native = np.ascontiguousarray(frame, frame.dtype.newbyteorder("="))
    packed = bytes(imagecodecs.jpeg2k_encode(native, level=0, codecformat="J2K", reversible=True, mct=False))
    if not np.array_equal(imagecodecs.jpeg2k_decode(packed), native):
        raise NotTheSame("a frame compressed by JPEG 2000 is another one")
    return packed


_ENCODERS: dict[Method, Callable[[Frame], bytes]] = {"rle": _rle, "jpeg2000": _jpeg2000}
