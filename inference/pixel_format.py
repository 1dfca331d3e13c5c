"""How pixels lie in an instance: stored values (PS3.3 C.7.6.3.1, PS3.5 section 8.1) and the rescale that follows them."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from inference import codecs, elements
from inference.errors import NotAVolume
from inference.frames import Frame

_BITS_ALLOCATED = elements.tag_of("BitsAllocated")
_BITS_STORED = elements.tag_of("BitsStored")
_HIGH_BIT = elements.tag_of("HighBit")
_SIGNED = elements.tag_of("PixelRepresentation")
_SAMPLES = elements.tag_of("SamplesPerPixel")
_PHOTOMETRIC = elements.tag_of("PhotometricInterpretation")
_PIXEL_DATA = elements.tag_of("PixelData")
_PADDING = elements.tag_of("PixelPaddingValue")
_MODALITY_LUT = elements.tag_of("ModalityLUTSequence")
READ = (_BITS_ALLOCATED, _BITS_STORED, _HIGH_BIT, _SIGNED, _SAMPLES, _PHOTOMETRIC, _PADDING, _MODALITY_LUT)
"""All that is asked for here, beside whether there is Pixel Data."""

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


def pixel_format(dataset: elements.Attributes) -> PixelFormat:
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


def padding_value(dataset: elements.Attributes, frame: Frame) -> float | None:
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


def _encoding(dataset: elements.Attributes) -> tuple[str, bool]:
    """Transfer syntax UID where frames are compressed, else empty; and whether native values are little endian."""
    if isinstance(dataset, elements.Encoded):
        return ("" if dataset.transfer_syntax_uid in _NATIVE else dataset.transfer_syntax_uid), True
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:
        return "", dataset.original_encoding[1] is not False
    return ("" if syntax in _NATIVE else str(syntax)), syntax != ExplicitVRBigEndian
