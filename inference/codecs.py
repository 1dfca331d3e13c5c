"""Compressed frames to stored values. One table: transfer syntax to decoder (PS3.5 section 8.2, annex A.4).

The codestream's own header is read first, so that one which lies about its size is refused before anything is
allocated. The decoders give up Python's lock, so frames decode side by side in threads. Two decoders of imagecodecs are
passed by, since broken frames make them read out of bounds (dicomrle) or never return (htj2k): OpenJPEG reads HTJ2K as
well, and RLE is put together here from PackBits segments.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid

from inference.memory import Scratch

RLE_HEADER_BYTES = 64
RLE_LARGEST_RATIO = 64
"""Two bytes of a PackBits run stand for at most 128 (PS3.5 annex G.3)."""


class CodecError(ValueError):
    """A frame that cannot be decoded; the message says why."""


@dataclass(frozen=True, slots=True)
class CodestreamSize:
    """What a JPEG family codestream says about its image."""

    rows: int
    columns: int
    components: int
    precision: int


def _jpeg_size(data: bytes) -> CodestreamSize:
    """Size from the frame header, SOFn or SOF55 for JPEG-LS (ITU-T T.81 B.2.2, T.87 C.2.2)."""
    at = 2
    while at + 9 < len(data):
        if data[at] != 0xFF:
            raise CodecError(f"JPEG marker expected at byte {at}, found 0x{data[at]:02X}")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            height, width = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
            return CodestreamSize(height, width, data[at + 9], data[at + 4])
        length = int.from_bytes(data[at + 2 : at + 4])
        at += 2 + max(2, length)
    raise CodecError("no JPEG frame header in the codestream")


def _jpeg2000_size(data: bytes) -> CodestreamSize:
    """Size from the SIZ marker segment (ITU-T T.800 A.5.1), also inside a JP2 file, which some devices send."""
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0 or len(data) < at + 43:
        raise CodecError("no JPEG 2000 image size (SIZ) in the codestream")
    siz = data[at + 4 :]
    x1, y1, x0, y0 = (int.from_bytes(siz[4 + 4 * i : 8 + 4 * i]) for i in range(4))
    return CodestreamSize(y1 - y0, x1 - x0, int.from_bytes(siz[36:38]), (siz[38] & 0x7F) + 1)


def _jpeg(data: bytes) -> NDArray[np.integer]:
    return np.asarray(imagecodecs.jpeg8_decode(data))


def _jpegls(data: bytes) -> NDArray[np.integer]:
    return np.asarray(imagecodecs.jpegls_decode(data))


def _jpeg2000(data: bytes) -> NDArray[np.integer]:
    return np.asarray(imagecodecs.jpeg2k_decode(data, numthreads=1))


def _rle(data: bytes | memoryview, pixels: int, bytes_a_value: int, scratch: Scratch) -> NDArray[np.integer]:
    """One PackBits segment for each byte of a value, the highest first, behind a header of 64 bytes (PS3.5 annex G)."""
    if len(data) < RLE_HEADER_BYTES:
        raise CodecError(f"{len(data)} bytes are too few for an RLE header")
    count, *offsets = np.frombuffer(data[:RLE_HEADER_BYTES], "<u4").tolist()
    if count != bytes_a_value:
        raise CodecError(f"{count} RLE segments, {bytes_a_value} needed")
    edges = [*offsets[:count], len(data)]
    if edges[0] < RLE_HEADER_BYTES or edges != sorted(edges):
        raise CodecError(f"RLE segments lie at {offsets[:count]} of {len(data)} bytes")
    cells, place = scratch.array("values", pixels, f"<u{bytes_a_value}"), scratch.array("bytes", pixels, "u1")
    for index in range(count):
        decoded = _packbits(memoryview(data)[edges[index] : edges[index + 1]], place)
        if len(decoded) < pixels:
            raise CodecError(f"RLE segment {index + 1} holds {len(decoded)} bytes, {pixels} needed")
        if index == 0:
            np.copyto(cells, decoded[:pixels])
        else:
            np.left_shift(cells, 8, out=cells)
            np.bitwise_or(cells, decoded[:pixels], out=cells)
    return cells


_unpack: Callable[..., Any] = imagecodecs.packbits_decode


def _packbits(segment: memoryview, place: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What was packed: in `place`, or elsewhere where it is more than that holds."""
    with suppress(RuntimeError):
        return np.asarray(_unpack(segment, out=place))
    try:
        return np.frombuffer(_unpack(segment), np.uint8)
    except RuntimeError:
        if bytes(segment[-1:]) != b"\0":
            raise
        return np.frombuffer(_unpack(segment[:-1]), np.uint8)  # segments are padded to even length


_Decode = Callable[[bytes], NDArray[np.integer]]
_Size = Callable[[bytes], CodestreamSize]

_CODESTREAMS: dict[str, tuple[_Size, _Decode]] = {
    uid.JPEGBaseline8Bit: (_jpeg_size, _jpeg),
    uid.JPEGExtended12Bit: (_jpeg_size, _jpeg),
    "1.2.840.10008.1.2.4.53": (_jpeg_size, _jpeg),
    "1.2.840.10008.1.2.4.55": (_jpeg_size, _jpeg),
    uid.JPEGLossless: (_jpeg_size, _jpeg),
    uid.JPEGLosslessSV1: (_jpeg_size, _jpeg),
    uid.JPEGLSLossless: (_jpeg_size, _jpegls),
    uid.JPEGLSNearLossless: (_jpeg_size, _jpegls),
    uid.JPEG2000Lossless: (_jpeg2000_size, _jpeg2000),
    uid.JPEG2000: (_jpeg2000_size, _jpeg2000),
    uid.HTJ2KLossless: (_jpeg2000_size, _jpeg2000),
    uid.HTJ2KLosslessRPCL: (_jpeg2000_size, _jpeg2000),
    uid.HTJ2K: (_jpeg2000_size, _jpeg2000),
}
_END_MARKER = b"\xff\xd9"
"""EOI of JPEG and JPEG-LS, EOC of JPEG 2000. Decoders fill what a cut codestream lacks with grey and report
success."""
_TAIL_BYTES = 64

SUPPORTED = frozenset(_CODESTREAMS) | {uid.RLELossless}
"""Transfer syntaxes with compressed frames that can be decoded."""


def check_frame(
    data: bytes, transfer_syntax_uid: str, rows: int, columns: int, bytes_a_value: int, *, samples: int = 1
) -> None:
    """Raise CodecError where a frame cannot be rows x columns of so many samples; cheap, decodes nothing."""
    if transfer_syntax_uid in _CODESTREAMS:
        if data.rfind(_END_MARKER, max(0, len(data) - _TAIL_BYTES)) < 0:
            raise CodecError("the codestream is cut short: it has no end marker")
        size = _CODESTREAMS[transfer_syntax_uid][0](data)
        if (size.rows, size.columns, size.components) != (rows, columns, samples):
            raise CodecError(
                f"the codestream holds {size.rows} x {size.columns} of {size.components} component(s),"
                f" Rows x Columns say {rows} x {columns} of {samples}"
            )
        if size.precision > 8 * bytes_a_value:
            raise CodecError(
                f"the codestream holds {size.precision} bits a value, Bits Allocated is {8 * bytes_a_value}"
            )
    elif transfer_syntax_uid == uid.RLELossless:
        check_rle(len(data), rows * columns * bytes_a_value * samples)


def check_rle(length: int, needed: int) -> None:
    """As `check_frame`, of so many bytes that have not been read."""
    if length * RLE_LARGEST_RATIO < needed:
        raise CodecError(f"{length} bytes of RLE cannot hold {needed} bytes of pixels")


def decode_frame(
    data: bytes | memoryview,
    transfer_syntax_uid: str,
    rows: int,
    columns: int,
    bytes_a_value: int,
    *,
    scratch: Scratch | None = None,
) -> NDArray[np.integer]:
    """Decode one frame of one sample a pixel to integers (rows, columns). Raises CodecError.

    scratch: memory that the frame may lie in, until the next one is decoded with it in the same thread.
    """
    try:
        if transfer_syntax_uid in _CODESTREAMS:
            codestream = bytes(data)
            check_frame(codestream, transfer_syntax_uid, rows, columns, bytes_a_value)
            decoded = _CODESTREAMS[transfer_syntax_uid][1](codestream)
        else:
            check_rle(len(data), rows * columns * bytes_a_value)
            decoded = _rle(data, rows * columns, bytes_a_value, scratch or Scratch())
    except (RuntimeError, ValueError) as error:
        raise CodecError(str(error)) from error
    if decoded.size < rows * columns:
        raise CodecError(f"{decoded.size} values decoded, {rows * columns} needed")
    return decoded.reshape(-1)[: rows * columns].reshape(rows, columns)


def decode_colors(data: bytes) -> NDArray[np.integer]:
    """A JPEG frame of three components as they are stored (rows, columns, 3). Raises CodecError."""
    try:
        return np.asarray(imagecodecs.jpeg8_decode(data, colorspace="RGB", outcolorspace="RGB"))
    except (RuntimeError, ValueError) as error:
        raise CodecError(str(error)) from error
