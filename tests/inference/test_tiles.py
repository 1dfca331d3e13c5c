"""A slide in tiles is one picture: put together as it was cut, analysed by windows, the finest resolution that is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from inference import picture_preparing, tiles
from inference.contract import InputContract
from inference.errors import InferenceError, NotAVolume
from inference.instances import Parsed
from inference.picture_series import read_each
from inference.predict import predict
from inference.series import SeriesReading
from tests.inference.made_models import Above
from tests.inference.made_pictures import clip, disc, slide
from tests.inference.test_by_picture import of, segments

MATRIX = np.repeat(disc((50, 70), (20, 30), 12, 220, 30)[..., None], 3, -1).astype(np.uint8)


def read(*datasets: Dataset, **contract: Any) -> SeriesReading:
    taken = {"modality": "SM", "images": "each"} | contract
    return read_each([Parsed(dataset) for dataset in datasets], InputContract.model_validate(taken))


@pytest.mark.parametrize("is_sparse", [False, True])
def test_tiles_are_put_together_as_they_were_cut(*, is_sparse: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)
    volume = read(slide(noise, (16, 24), is_sparse=is_sparse)).volumes[0]
    assert volume.colors is not None
    assert np.array_equal(volume.colors[0], noise)
    assert volume.voxels.shape == (1, 50, 70)
    assert {(one.rows, one.columns) for one in volume.pictures} == {(16, 24)}
    for picture in volume.pictures:
        assert picture.row % 16 == picture.column % 24 == 0


def test_the_finest_resolution_that_the_model_takes_is_analysed() -> None:
    fine, coarse = slide(MATRIX, (16, 16)), slide(MATRIX[::2, ::2], (16, 16), number=2)
    coarse.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [0.001, 0.001]
    label = slide(MATRIX, (16, 16), number=3)
    label.ImageType = ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]
    reading = read(coarse, label, fine)
    assert reading.volumes[0].voxels.shape == (1, 50, 70)
    assert sorted(item.reason for item in reading.set_aside) == [
        "a coarser resolution of the slide",
        "it is the label of a slide, not the slide",
    ]
    with pytest.raises(NotAVolume, match="pixel spacing"):
        read(fine, min_pixel_spacing_mm=0.1)


def test_a_slide_that_there_is_no_room_for_is_refused_and_a_coarser_one_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "MOST_PIXELS", 1000)
    with pytest.raises(NotAVolume, match="a slide of 50 x 70 pixels is larger than the 1,000"):
        read(slide(MATRIX, (16, 16)))
    reading = read(slide(MATRIX, (16, 16)), slide(MATRIX[::2, ::2], (16, 16), number=2))
    assert reading.volumes[0].voxels.shape == (1, 25, 35)


def test_several_focal_planes_are_refused() -> None:
    dataset = slide(MATRIX, (16, 16))
    frames = int(dataset.NumberOfFrames)
    dataset.NumberOfFrames, dataset.PixelData = 2 * frames, dataset.PixelData * 2
    with pytest.raises(NotAVolume, match="several focal planes"):
        read(dataset)


def test_a_slide_is_no_clip() -> None:
    with pytest.raises(NotAVolume, match="no clip"):
        read(slide(MATRIX, (16, 16)), images="clip")


@pytest.mark.parametrize("most_at_once", [1 << 26, 100], ids=["at once", "window by window"])
def test_a_slide_is_segmented_by_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_at_once: int) -> None:
    monkeypatch.setattr(picture_preparing, "MOST_AT_ONCE", most_at_once)
    model = of(
        tmp_path,
        Above(0.5, axes=2),
        input={"modality": "SM", "images": "each"},
        preprocessing={"intensity": [{"kind": "scale", "low": 0.0, "high": 255.0}]},
        use={"mode": "windows", "patch": [20, 20]},
        outputs=segments(),
    )
    volume = read(slide(MATRIX, (16, 24))).volumes[0]
    found = predict(volume, model, "cpu")
    assert np.array_equal(found.segments[0].mask[0], MATRIX[..., 0] > 127)
    (area,) = found.measurements
    assert area.pictures == ()
    assert area.value == pytest.approx(np.count_nonzero(MATRIX[..., 0] > 127) * 0.0005**2)


def test_what_cannot_be_done_window_by_window_is_refused_for_a_large_slide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_preparing, "MOST_AT_ONCE", 100)
    taken = {"input": {"modality": "SM", "images": "each"}, "outputs": segments()}
    volume = read(slide(MATRIX, (16, 24))).volumes[0]
    whole = of(tmp_path / "whole", Above(0.5, axes=2), **taken)
    with pytest.raises(InferenceError, match=r"needs use\.mode windows"):
        predict(volume, whole, "cpu")
    resized = of(tmp_path / "resized", Above(0.5, axes=2), **taken, preprocessing={"size": [10, 10]})
    with pytest.raises(InferenceError, match="prepared window by window"):
        predict(volume, resized, "cpu")


def test_images_that_are_not_in_tiles_are_set_aside_beside_a_slide() -> None:
    other = clip(np.zeros((1, 8, 9, 3), np.uint8), number=2)
    assert [item.reason for item in read(slide(MATRIX, (16, 16)), other).set_aside] == [
        "it is not in tiles, and a slide is"
    ]
