"""Images that are taken one by one come in as they are: their values, sizes, sides, and what they say of their pixels."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

from inference import picture_series
from inference.contract import InputContract
from inference.errors import NotAVolume
from inference.instances import Parsed
from inference.picture_contract import PictureContract, PictureFacts
from inference.picture_series import read_each
from inference.series import SeriesReading
from inference.volume import Volume
from tests.inference.made_pictures import US, clip, colors, disc, header, radiograph

HAND = disc((12, 10), (5, 4), 3, 3000, 200)


def read(*datasets: Dataset, **contract: Any) -> SeriesReading:
    taken = {"modality": "CR", "images": "each"} | contract
    return read_each([Parsed(dataset) for dataset in datasets], InputContract.model_validate(taken))


def only(*datasets: Dataset, **contract: Any) -> Volume:
    (volume,) = read(*datasets, **contract).volumes
    return volume


def test_images_of_other_sizes_each_keep_their_values_and_their_size() -> None:
    second = disc((8, 14), (4, 7), 2, 90, 10)
    volume = only(radiograph(second, number=2), radiograph(HAND))
    assert [(one.instance_number, one.rows, one.columns) for one in volume.pictures] == [(1, 12, 10), (2, 8, 14)]
    for picture, stored in zip(volume.pictures, (HAND, second), strict=True):
        assert np.array_equal(volume.voxels[picture.slice, : picture.rows, : picture.columns], stored)
    assert not volume.voxels[1, 8:].any()


def test_what_monochrome1_shows_dark_is_dark() -> None:
    plain = only(radiograph(HAND))
    inverted = only(radiograph(4095 - HAND, photometric="MONOCHROME1"))
    assert np.array_equal(inverted.voxels, plain.voxels)
    assert (plain.pictures[0].inverted_at, inverted.pictures[0].inverted_at) == (None, 4095.0)


def test_signed_values_are_rescaled() -> None:
    stored = HAND - 2048
    volume = only(radiograph(stored, RescaleSlope=0.5, RescaleIntercept=10))
    assert np.array_equal(volume.voxels[0], stored * 0.5 + 10)


def test_signed_monochrome1_is_turned_about_the_middle_of_its_range() -> None:
    volume = only(radiograph(HAND - 2048, photometric="MONOCHROME1"))
    assert np.array_equal(volume.voxels[0], -1 - (HAND - 2048))


@pytest.mark.parametrize(
    ("said", "spacing_mm", "is_calibrated"),
    [
        ({}, None, False),
        ({"ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1), False),
        ({"PixelSpacing": [0.2, 0.1]}, (0.2, 0.1), True),
        ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1), False),
        ({"PixelSpacing": [0.18, 0.09], "ImagerPixelSpacing": [0.2, 0.1]}, (0.18, 0.09), True),
        (
            {"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.2, 0.1], "PixelSpacingCalibrationType": "FIDUCIAL"},
            (0.2, 0.1),
            True,
        ),
        ({"PixelSpacing": [0, 0.1]}, None, False),
    ],
)
def test_lengths_are_told_only_by_a_spacing_that_holds_in_the_patient(
    said: dict[str, Any], spacing_mm: tuple[float, float] | None, *, is_calibrated: bool
) -> None:
    (picture,) = only(radiograph(HAND, **said)).pictures
    assert (picture.pixel_spacing_mm, picture.is_calibrated) == (spacing_mm, is_calibrated)


def test_ultrasound_says_how_large_its_pixels_are_by_its_region() -> None:
    frames = np.zeros((2, 8, 9, 3), np.uint8)
    scaled, silent = (only(clip(frames, mm=mm), modality="US").pictures[0] for mm in (0.5, None))
    assert scaled.pixel_spacing_mm == pytest.approx((0.5, 0.5))
    assert scaled.is_calibrated
    assert (silent.pixel_spacing_mm, silent.is_calibrated) == (None, False)


def test_regions_of_two_scales_are_none() -> None:
    dataset = clip(np.zeros((1, 8, 9, 3), np.uint8))
    second = Dataset()
    second.update(dataset.SequenceOfUltrasoundRegions[0])
    second.PhysicalDeltaX = 0.2
    dataset.SequenceOfUltrasoundRegions.append(second)
    assert only(dataset, modality="US").pictures[0].pixel_spacing_mm is None


def test_colours_stay_and_grey_is_their_luminance() -> None:
    rgb = np.zeros((2, 3, 4, 3), np.uint8)
    rgb[1, 2, 3] = (200, 100, 50)
    volume = only(clip(rgb), modality="US")
    assert volume.colors is not None
    assert np.array_equal(volume.colors, rgb)
    assert volume.voxels[1, 2, 3] == pytest.approx(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert [one.source.frame_number for one in volume.pictures] == [1, 2]


def test_sides_and_views_are_those_of_the_image() -> None:
    view = Dataset()
    view.CodeValue, view.CodingSchemeDesignator, view.CodeMeaning = "399162004", "SCT", "cranio-caudal"
    first = radiograph(HAND, modality="MG", ImageLaterality="R", ViewPosition="MLO")
    second = radiograph(HAND, modality="MG", number=2, ImageLaterality="L", ViewCodeSequence=[view])
    found = [(one.laterality, one.view) for one in only(first, second, modality="MG").pictures]
    assert found == [("R", "MLO"), ("L", "cranio-caudal")]


@pytest.mark.parametrize(
    ("contract", "reason"),
    [
        ({"pictures": {"photometric_interpretations": ("MONOCHROME2",)}}, "MONOCHROME1 is not MONOCHROME2"),
        ({"pictures": {"samples_per_pixel": 3}}, "1 samples a pixel, and the model reads 3"),
        ({"pictures": {"views": ("PA", "AP")}}, "view LL is not PA or AP"),
        ({"max_pixel_spacing_mm": 0.15}, "pixel spacing 0.20 mm > 0.15 mm"),
        ({"min_pixel_spacing_mm": 0.3}, "pixel spacing 0.200 mm < 0.300 mm"),
    ],
)
def test_an_image_that_the_model_does_not_take_is_set_aside_and_the_others_are_read(
    contract: dict[str, Any], reason: str
) -> None:
    odd = radiograph(HAND, number=2, photometric="MONOCHROME1", ViewPosition="LL", ImagerPixelSpacing=[0.2, 0.2])
    with pytest.raises(NotAVolume, match=reason):
        read(odd, **contract)
    good = radiograph(HAND, ViewPosition="PA", PixelSpacing=[0.1, 0.1])
    if "samples_per_pixel" in contract.get("pictures", {}) or "min_pixel_spacing_mm" in contract:
        return
    reading = read(odd, good, **contract)
    assert [one.instance_number for one in reading.volumes[0].pictures] == [1]
    assert [reason in item.reason for item in reading.set_aside] == [True]


def test_an_image_that_does_not_say_how_large_its_pixels_are_is_set_aside_where_that_is_asked() -> None:
    with pytest.raises(NotAVolume, match="does not say how large its pixels are"):
        read(radiograph(HAND), max_pixel_spacing_mm=1.0)


def test_an_image_whose_pixels_are_cut_short_is_set_aside_and_leaves_no_empty_picture() -> None:
    broken = radiograph(HAND, number=1)
    broken.PixelData = broken.PixelData[:20]
    reading = read(broken, radiograph(HAND, number=2), radiograph(HAND + 1, number=3))
    assert [one.instance_number for one in reading.volumes[0].pictures] == [2, 3]
    assert [frame.instance_number for frame in reading.frames] == [2, 3]
    assert np.array_equal(reading.volumes[0].voxels, np.stack([HAND, HAND + 1]))
    assert "20 bytes" in reading.set_aside[0].reason


def test_more_pixels_than_there_is_room_for_are_refused_before_any_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_series, "MOST_PIXELS", 200)
    with pytest.raises(NotAVolume, match=r"240 pixels, more than 200: .*every_frame"):
        read(radiograph(HAND), radiograph(HAND, number=2))


def test_what_is_no_image_is_none() -> None:
    dataset = header("sr", "SR", "1.2.840.10008.5.1.4.1.1.88.33")
    with pytest.raises(NotAVolume, match="it is no image"):
        read(dataset)


@pytest.mark.parametrize(
    ("contract", "frames"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ({"every_frame": 4}, [0, 4, 8]),
        ({"frames_per_s": 10.0}, [0, 2, 4, 6, 8]),
        ({"most_frames": 3}, [1, 5, 8]),
        ({"every_frame": 2, "most_frames": 2}, [2, 6]),
    ],
)
def test_a_clip_is_sampled_as_the_model_asks(contract: dict[str, Any], frames: list[int]) -> None:
    facts = PictureFacts("RGB", 3, "", frames=10, frames_per_s=25.0)
    assert list(PictureContract.model_validate(contract).frames_shown(facts)) == frames


@pytest.mark.parametrize(
    ("name", "shape", "is_color"),
    [
        ("pydicom_test_files/examples_palette.dcm", (1, 350, 800), True),
        ("pydicom_test_files/examples_rgb_color.dcm", (1, 240, 320), True),
        ("pydicom_test_files/examples_jpeg2k.dcm", (1, 480, 640), True),
        ("pydicom_test_files/examples_ybr_color.dcm", (3, 240, 320), True),
        ("pydicom_test_files/SC_rgb_rle_16bit_2frame.dcm", (1, 100, 100), True),
        ("pydicom_test_files/SC_rgb_jls_lossy_line.dcm", (1, 100, 100), True),
        ("pydicom_test_files/SC_rgb_jpeg_gdcm.dcm", (1, 100, 100), True),
        ("pydicom_test_files/SC_rgb_dcmtk_+eb+cy+np.dcm", (1, 100, 100), True),
        ("ct_one_slice_16_syntaxes/US-YBR_FULL_422-EVRLE.dcm", (1, 555, 800), True),
        ("highdicom_test_files/dx_image.dcm", (1, 169, 211), False),
        ("pydicom_test_files/dicomdirtests/77654033/CR1/6154", (1, 16, 16), False),
    ],
)
def test_real_images_are_read(shared_data: Path, name: str, shape: tuple[int, ...], *, is_color: bool) -> None:
    volume = only(dcmread(shared_data / name), pictures={"every_frame": 10})
    assert volume.voxels.shape == shape
    assert (volume.colors is not None) == is_color
    assert volume.voxels.max() > volume.voxels.min() >= 0


def test_a_real_palette_gives_the_colours_that_its_peer_gives(shared_data: Path, peer: Any, tmp_path: Path) -> None:
    """DCMTK's dcm2img renders the same palette."""
    path = shared_data / "pydicom_test_files/examples_palette.dcm"
    subprocess.run([peer("dcm2pnm"), "+op", str(path), str(tmp_path / "by_dcmtk.ppm")], check=True, capture_output=True)
    theirs = np.asarray(Image.open(tmp_path / "by_dcmtk.ppm").convert("RGB"), np.int64)
    ours = only(dcmread(path)).colors
    assert ours is not None
    assert np.abs(ours[0] - theirs).max() <= 1


@pytest.mark.parametrize(
    "name", ["SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm", "SC_rgb_gdcm_KY.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm"]
)
def test_one_picture_has_the_same_colours_in_every_compression(shared_data: Path, name: str) -> None:
    """Bars of colour; the last one is lossy."""
    volume = only(dcmread(shared_data / "pydicom_test_files" / name))
    assert volume.colors is not None
    bars = volume.colors[0, [5, 25, 45, 95], 50].astype(int)
    assert np.abs(bars - [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]).max() <= 5


def test_colours_that_cannot_be_are_refused_by_name() -> None:
    dataset = colors(header("odd", "US", US), np.zeros((4, 4, 3), np.uint8))
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    with pytest.raises(NotAVolume, match="3 samples a pixel do not make PALETTE COLOR"):
        read(dataset, modality="US")
