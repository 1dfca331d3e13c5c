"""Stored values: bits, signs, byte order, rescale, and every compressed transfer syntax."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder

from inference import codecs
from inference.errors import NotAVolume
from inference.series import read_series
from tests.inference.series_factory import Shape, as_multi_frame, make_series, received, with_compressed

ROWS, COLUMNS = 24, 20


def one_image(**changes: object) -> Dataset:
    """A lone CT image with slope 1 and intercept 0, its attributes changed."""
    dataset = make_series(Shape(slices=1, rows=ROWS, columns=COLUMNS, intercept=0)).datasets[0]
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return received(dataset)


def values_of(dataset: Dataset) -> NDArray[np.float32]:
    return read_series([dataset]).volumes[0].voxels[0]


def ramp(low: int, high: int) -> NDArray[np.int64]:
    """Values from low to high, both included, with some texture for the codecs."""
    return np.linspace(low, high, ROWS * COLUMNS).round().astype(np.int64).reshape(ROWS, COLUMNS)


def test_junk_above_unsigned_12_bits_never_reaches_a_value() -> None:
    wanted = ramp(0, 4095)
    junk = (np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) % 16) << 12
    dataset = one_image(PixelData=(wanted | junk).astype("<u2").tobytes())
    assert np.array_equal(values_of(dataset), wanted)


def test_signed_12_bits_are_sign_extended_over_junk() -> None:
    wanted = ramp(-2048, 2047)
    junk = (np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) % 16) << 12
    stored = (wanted & 0xFFF) | junk
    dataset = one_image(PixelRepresentation=1, PixelData=stored.astype("<u2").tobytes())
    assert np.array_equal(values_of(dataset), wanted)


def test_values_in_the_upper_bits_are_moved_down_and_an_overlay_below_is_dropped() -> None:
    wanted = ramp(0, 4095)
    dataset = one_image(HighBit=15, PixelData=((wanted << 4) | 0b0101).astype("<u2").tobytes())
    assert np.array_equal(values_of(dataset), wanted)


@pytest.mark.parametrize(("bits", "signed"), [(8, 0), (8, 1), (16, 0), (16, 1), (32, 0), (32, 1)])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_width_sign_and_byte_order_is_read(bits: int, signed: int, order: str) -> None:
    low = -(1 << (bits - 1)) if signed else 0
    wanted = ramp(low, low + (1 << min(bits, 20)) - 1)
    cells = wanted.astype(f"{order}{'i' if signed else 'u'}{bits // 8}")
    data = cells.tobytes()
    if bits == 8 and order == ">":
        data = cells.reshape(-1, 2)[:, ::-1].tobytes()
    dataset = one_image(
        BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=signed, PixelData=data
    )
    dataset["PixelData"].VR = "OW"
    if order == ">":
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    assert np.array_equal(values_of(dataset), wanted.astype(np.float32))


def test_monochrome1_changes_no_value() -> None:
    dataset = one_image()
    inverse = one_image(PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(values_of(dataset), values_of(inverse))


def test_each_slice_is_rescaled_by_its_own_slope_and_intercept() -> None:
    made = make_series(Shape(slices=4, slope=1, intercept=0))
    for index, dataset in enumerate(made.datasets):
        dataset.RescaleSlope, dataset.RescaleIntercept = f"0.{index + 1}37", f"{-10.5 * index}"
    volume = read_series([received(d) for d in made.datasets]).volumes[0]
    for index in range(4):
        wanted = made.voxels[index].astype(np.float64) * float(f"0.{index + 1}37") - 10.5 * index
        assert np.allclose(volume.voxels[index], wanted, rtol=1e-6, atol=1e-4)


def test_pixel_padding_is_left_in_place_and_named_after_rescale() -> None:
    stored = ramp(-1000, 3000)
    stored[:4] = -2000
    dataset = one_image(
        BitsStored=16,
        HighBit=15,
        PixelRepresentation=1,
        RescaleIntercept=-24,
        PixelData=stored.astype("<i2").tobytes(),
    )
    dataset.add_new("PixelPaddingValue", "US", 63536)  # -2000, with the VR that some scanners write
    volume = read_series([received(dataset)]).volumes[0]
    assert volume.padding_value == -2024
    assert np.all(volume.voxels[0, :4] == -2024)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}, "colours.*RGB"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colours"),
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, "Bits Allocated 1"),
        ({"BitsStored": 17, "HighBit": 16}, "Bits Stored 17"),
        ({"BitsAllocated": 24}, "Bits Allocated 24"),
        ({"PixelData": b"\0" * 100}, "holds 100 bytes, 960 needed"),
        ({"Rows": 60000, "Columns": 60000}, "7200000000 needed"),
        ({"Rows": 0}, "hold no pixel"),
        ({"ModalityLUTSequence": [Dataset()]}, "Modality LUT Sequence"),
    ],
)
def test_pixels_that_are_no_numbers_are_refused_by_their_header(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(NotAVolume, match=reason):
        read_series([one_image(**changes)])


def test_an_image_without_pixel_data_is_refused() -> None:
    dataset = one_image()
    del dataset.PixelData
    with pytest.raises(NotAVolume, match="no Pixel Data"):
        read_series([dataset])


def _rle(values: NDArray[np.uint16]) -> bytes:
    encoded = RLELosslessEncoder.encode(
        values,
        rows=ROWS,
        columns=COLUMNS,
        samples_per_pixel=1,
        number_of_frames=1,
        bits_allocated=16,
        bits_stored=16,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
        encoding_plugin="pydicom",
    )
    return bytes(encoded)


def _j2k(values: NDArray[np.uint16]) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(values, level=0, reversible=True, codecformat="j2k"))


LOSSLESS: dict[str, Callable[[NDArray[np.uint16]], bytes]] = {
    uid.RLELossless: _rle,
    uid.JPEGLossless: lambda values: bytes(imagecodecs.ljpeg_encode(values)),
    uid.JPEGLosslessSV1: lambda values: bytes(
        imagecodecs.jpeg8_encode(values, lossless=True, predictor=1, bitspersample=16)
    ),
    uid.JPEGLSLossless: lambda values: bytes(imagecodecs.jpegls_encode(values)),
    uid.JPEG2000Lossless: _j2k,
    uid.JPEG2000: _j2k,
    uid.HTJ2KLossless: lambda values: bytes(imagecodecs.htj2k_encode(values)),
    uid.HTJ2KLosslessRPCL: lambda values: bytes(imagecodecs.htj2k_encode(values)),
}


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: uid.UID(syntax).name)
@pytest.mark.parametrize("signed", [0, 1])
def test_every_lossless_syntax_gives_back_each_value(syntax: str, signed: int) -> None:
    wanted = ramp(-30000, 30000) if signed else ramp(0, 65000)
    frame = LOSSLESS[syntax]((wanted & 0xFFFF).astype(np.uint16))
    frame += b"\0" * (len(frame) % 2)
    dataset = one_image(BitsStored=16, HighBit=15, PixelRepresentation=signed)
    assert np.array_equal(values_of(with_compressed(dataset, [frame], syntax)), wanted)


def test_signed_12_bits_in_a_codestream_that_knows_no_sign_are_sign_extended() -> None:
    wanted = ramp(-2048, 2047)
    frame = bytes(imagecodecs.jpegls_encode((wanted & 0xFFF).astype(np.uint16)))
    dataset = with_compressed(one_image(PixelRepresentation=1), [frame], uid.JPEGLSLossless)
    assert np.array_equal(values_of(dataset), wanted)


def test_baseline_jpeg_is_decoded_as_pillow_does() -> None:
    buffer = BytesIO()
    Image.fromarray(ramp(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    dataset = one_image(BitsAllocated=8, BitsStored=8, HighBit=7)
    decoded = values_of(with_compressed(dataset, [buffer.getvalue()], uid.JPEGBaseline8Bit))
    assert np.abs(decoded - np.asarray(Image.open(buffer), np.float32)).max() <= 1


def test_extended_jpeg_keeps_its_12_bits() -> None:
    wanted = ramp(0, 4095)
    frame = bytes(imagecodecs.jpeg8_encode(wanted.astype(np.uint16), level=98, bitspersample=12))
    decoded = values_of(with_compressed(one_image(), [frame], uid.JPEGExtended12Bit))
    assert decoded.max() > 4000
    assert np.abs(decoded - wanted).max() < 40


def test_htj2k_is_decoded_as_another_library_does() -> None:
    openjpeg = pytest.importorskip("openjpeg")
    frame = bytes(imagecodecs.htj2k_encode(ramp(0, 65000).astype(np.uint16)))
    dataset = with_compressed(one_image(BitsStored=16, HighBit=15), [frame], uid.HTJ2KLossless)
    assert np.array_equal(values_of(dataset), openjpeg.decode(frame))


def test_a_frame_in_several_fragments_is_put_together() -> None:
    frame = _j2k(ramp(0, 4095).astype(np.uint16))
    dataset = with_compressed(one_image(), [frame], uid.JPEG2000Lossless)
    dataset.PixelData = encapsulate([frame], fragments_per_frame=3)
    assert np.array_equal(values_of(dataset), ramp(0, 4095))


def test_compressed_frames_of_a_multi_frame_instance_keep_their_order() -> None:
    made = make_series(Shape(slices=3, rows=ROWS, columns=COLUMNS))
    frames = [_j2k(np.frombuffer(d.PixelData, "<u2").reshape(ROWS, COLUMNS)) for d in reversed(made.datasets)]
    whole = with_compressed(as_multi_frame(made.datasets[::-1]), frames, uid.JPEG2000Lossless)
    assert np.array_equal(read_series([whole]).volumes[0].voxels, made.voxels)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_a_frame_cut_short_is_refused_in_every_syntax(syntax: str) -> None:
    frame = LOSSLESS[syntax](np.random.default_rng(0).integers(0, 60000, (ROWS, COLUMNS)).astype(np.uint16))
    cut = frame[: len(frame) // 4 * 2]
    dataset = with_compressed(one_image(BitsStored=16, HighBit=15), [cut], syntax)
    with pytest.raises(NotAVolume, match=r"image 1 .* cannot be (read|decoded)"):
        read_series([dataset])


@pytest.mark.parametrize("syntax", [uid.JPEGLossless, uid.JPEGLSLossless, uid.JPEG2000, uid.HTJ2KLossless])
def test_a_codestream_of_another_size_is_refused_before_it_is_decoded(
    syntax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = LOSSLESS[syntax](ramp(0, 4095).astype(np.uint16))
    dataset = with_compressed(one_image(Rows=512, Columns=512), [frame], syntax)
    monkeypatch.setattr(codecs, "decode_frame", lambda *_, **__: pytest.fail("it was decoded"))
    with pytest.raises(NotAVolume, match=r"24 x 20 .* 512 x 512"):
        read_series([dataset])


def test_rle_that_cannot_fill_the_image_is_refused_before_memory_is_taken() -> None:
    frame = _rle(ramp(0, 4095).astype(np.uint16))
    dataset = with_compressed(one_image(Rows=65000, Columns=65000), [frame], uid.RLELossless)
    with pytest.raises(NotAVolume, match="cannot hold 8450000000 bytes"):
        read_series([dataset])


def test_a_transfer_syntax_without_decoder_is_named() -> None:
    dataset = with_compressed(one_image(), [b"\0\0"], uid.MPEG2MPML)
    with pytest.raises(NotAVolume, match=r"1\.2\.840\.10008\.1\.2\.4\.100 cannot be decoded"):
        read_series([dataset])


def test_bytes_that_are_no_codestream_are_refused() -> None:
    for syntax in LOSSLESS:
        dataset = with_compressed(one_image(), [b"\x01\x02\x03\x04" * 300], syntax)
        with pytest.raises(NotAVolume, match="cannot be"):
            read_series([dataset])
