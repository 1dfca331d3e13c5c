"""Frames of images that are taken one by one, to numbers: grey values after the rescale, or colours as RGB.

Grey values come as they do into a volume. Colours of every kind become RGB of 8 bits (PS3.3 C.7.6.3.1.2), and grey is then
their luminance. What a display would do to values (VOI LUT, presentation) is left out: a network sees what was acquired.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.processing import apply_color_lut, convert_color_space
from pydicom.pixels.utils import iter_pixels
from pydicom.tag import Tag
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from inference import codecs, elements, pixels
from inference.errors import NotAVolume
from inference.frames import Frame, frame_count
from inference.instances import Instance

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601, by which YBR_FULL is defined as well."""

_PHOTOMETRIC = Tag("PhotometricInterpretation")
_LOSSLESS_JPEG = (JPEGLossless, JPEGLosslessSV1)
_DECODERS = {
    JPEGBaseline8Bit: "pillow",
    JPEG2000Lossless: "pillow",
    JPEG2000: "pillow",
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    RLELossless: "pydicom",
}
"""Those that every install has, whatever else there is: the same pictures give the same findings everywhere."""
_AT_ONCE = 64
"""Frames that are read beside those that are there already."""


@dataclass(frozen=True, slots=True, eq=False)
class PixelsOfPicture:
    """grey: float32 (rows, columns). rgb: uint8 (rows, columns, 3), of an image in colour."""

    grey: NDArray[np.float32]
    rgb: NDArray[np.uint8] | None = None


def is_color(attributes: elements.Attributes) -> bool:
    return not elements.text(attributes, _PHOTOMETRIC).startswith("MONOCHROME")


def read_pictures(instances: Sequence[Instance], frames: Sequence[Frame], *, threads: int) -> Iterator[PixelsOfPicture]:
    """The pixels of frames of one instance, in the order given. Raises NotAVolume, naming the frame, where one has none."""
    first = frames[0]
    instance = instances[first.instance]
    if not is_color(instance.attributes):
        for start in range(0, len(frames), _AT_ONCE):
            for grey in pixels.read_frames(instances, frames[start : start + _AT_ONCE], threads=threads):
                yield PixelsOfPicture(grey)
        return
    dataset = instance.whole()
    try:
        _require_colors(dataset, first)
        for rgb in _in_color(dataset, [frame.index for frame in frames]):
            yield PixelsOfPicture(rgb @ _LUMINANCE, rgb)
    except (codecs.CodecError, RuntimeError, *elements.UNREADABLE) as error:
        raise NotAVolume(f"pixels of {first.name} cannot be decoded: {error}") from error


def inverted_at(dataset: Dataset, slope: float, intercept: float) -> float | None:
    """Of MONOCHROME1, where the least value is shown white: the sum of its least and largest value after the rescale.

    Less a value it is the value that MONOCHROME2 would have; None for what is no MONOCHROME1.
    """
    if dataset.get("PhotometricInterpretation") != "MONOCHROME1":
        return None
    bits = int(dataset.get("BitsStored") or dataset.get("BitsAllocated") or 16)
    low = -(1 << (bits - 1)) if dataset.get("PixelRepresentation") else 0
    return (2 * low + (1 << bits) - 1) * slope + 2 * intercept


def _in_color(dataset: Dataset, indices: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    """RGB of 8 bits; a palette is applied."""
    if dataset.file_meta.TransferSyntaxUID in _LOSSLESS_JPEG:
        yield from _from_lossless_jpeg(dataset, indices)
        return
    has_palette = dataset.PhotometricInterpretation == "PALETTE COLOR"
    plugin = _DECODERS.get(dataset.file_meta.TransferSyntaxUID, "")
    # The decoder would take 0 frames for all of them.
    for stored in iter_pixels(dataset, indices=list(indices), decoding_plugin=plugin) if indices else ():
        colors = apply_color_lut(stored, dataset) if has_palette else stored
        bits = colors.dtype.itemsize * 8 if has_palette else int(dataset.BitsStored)
        shift = max(bits - 8, 0)
        yield np.ascontiguousarray((colors >> shift).astype(np.uint8))


def _from_lossless_jpeg(dataset: Dataset, indices: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    """For which pydicom's own decoders are of no free kind."""
    stored = list(generate_frames(dataset.PixelData, number_of_frames=frame_count(dataset)))
    for index in indices:
        colors = codecs.decode_colors(stored[index])
        if colors.dtype != np.uint8 or colors.ndim != 3:
            raise ValueError(f"lossless JPEG of {colors.dtype} {colors.shape} holds no colours of 8 bits")
        photometric = str(dataset.PhotometricInterpretation)
        yield np.ascontiguousarray(convert_color_space(colors, photometric, "RGB") if photometric != "RGB" else colors)


def _require_colors(dataset: Dataset, first: Frame) -> None:
    """Raises ValueError, before anything is allocated, where pixels cannot be as many as the header says."""
    samples = int(dataset.SamplesPerPixel)
    if samples not in (1, 3) or (samples == 1) != (dataset.PhotometricInterpretation == "PALETTE COLOR"):
        raise ValueError(f"{samples} samples a pixel do not make {dataset.PhotometricInterpretation}")
    if int(dataset.BitsAllocated) not in (8, 16, 32) or dataset.get("PixelRepresentation"):
        raise ValueError(f"colours must be unsigned, of 8 or 16 bits, but have {dataset.BitsAllocated}")
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    if not syntax.is_encapsulated:
        return
    for data in generate_frames(dataset.PixelData, number_of_frames=frame_count(dataset)):
        codecs.check_frame(data, syntax, first.rows, first.columns, int(dataset.BitsAllocated) // 8, samples=samples)
