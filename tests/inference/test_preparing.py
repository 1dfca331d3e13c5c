"""What a network is given: values scaled as the manifest says, several series on one grid, no more voxels than memory holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from monai import transforms
from monai.data import MetaTensor
from monai.transforms import Spacing
from torch import Tensor

from inference.errors import InferenceError
from inference.preparing import prepared, scaled
from inference.recipe import Clip, Crop, Percentiles, Preprocessing, Scale, Standardise
from inference.series import read_series
from inference.volume import Volume
from tests.inference.series_factory import Shape, make_series

VALUES = torch.tensor([-1000.0, -500.0, 0.0, 100.0, 400.0])


def close(found: Tensor, expected: list[float]) -> bool:
    return torch.allclose(found, torch.tensor(expected, dtype=torch.float32), atol=1e-6)


def test_values_are_clipped_and_scaled() -> None:
    assert close(scaled(VALUES, [Clip(kind="clip", low=-600, high=300)]), [-600, -500, 0, 100, 300])
    assert close(scaled(VALUES, [Scale(kind="scale", low=-500, high=500)]), [0, 0, 0.5, 0.6, 0.9])
    scale = Scale(kind="scale", low=-500, high=500, to=(-1.0, 1.0), clip=False)
    assert close(scaled(VALUES, [scale]), [-2, -1, 0, 0.2, 0.8])
    assert close(scaled(VALUES, [Percentiles(kind="percentiles", low=0, high=100)]), [0, 5 / 14, 5 / 7, 11 / 14, 1])


def test_steps_follow_each_other() -> None:
    steps = [Clip(kind="clip", low=0, high=100), Scale(kind="scale", low=0, high=200)]
    assert close(scaled(VALUES, steps), [0, 0, 0, 0.5, 0.5])


def test_values_are_standardised_by_what_is_given_or_by_the_image() -> None:
    assert close(scaled(VALUES, [Standardise(kind="standardise", mean=100.0, std=50.0)]), [-22, -12, -2, 0, 6])
    own = scaled(VALUES, [Standardise(kind="standardise")])
    assert own.mean() == pytest.approx(0, abs=1e-6)
    assert own.std(correction=0) == pytest.approx(1, abs=1e-6)
    without = scaled(VALUES, [Standardise(kind="standardise", non_zero=True)])
    counted = np.array([-1000.0, -500.0, 100.0, 400.0])
    assert without[2] == 0
    assert without[4] == pytest.approx((400 - counted.mean()) / counted.std(), rel=1e-5)


@pytest.mark.parametrize("step", [Standardise(kind="standardise"), Percentiles(kind="percentiles", low=1, high=99)])
def test_an_image_of_one_value_stays_finite(step: Standardise | Percentiles) -> None:
    assert scaled(torch.full((4,), 7.0), [step]).unique().tolist() == [0.0]


def volume_of(shape: Shape) -> Volume:
    return read_series(make_series(shape).datasets).volumes[0]


def ramp(volume: Volume) -> Volume:
    """The same with values that say where in the patient a voxel is: linear, so that interpolation is exact."""
    index = np.stack(np.meshgrid(*(np.arange(size) for size in volume.voxels.shape), indexing="ij"), axis=-1)
    places = index @ volume.affine_lps[:3, :3].T + volume.affine_lps[:3, 3]
    return replace(volume, voxels=(places @ [1.0, 10.0, 100.0]).astype(np.float32))


def test_another_series_is_brought_onto_the_grid_wherever_it_lies() -> None:
    """The prior has other spacings, other sizes and another orientation; a ramp tells which place each voxel shows."""
    current = ramp(volume_of(Shape()))
    other = Shape(
        9, 9, 30, (2.0, 1.5, 1.1), orientation=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0), origin_lps=(-2.0, -28.0, -18.0)
    )
    recipe = Preprocessing(axes="RAS", spacing_mm=(0.6, 1.0, 2.0), channels=("series", "prior"), outside=-9999.0)
    made = prepared(current, {"prior": ramp(volume_of(other))}, recipe)
    assert made.image.shape == (2, *made.grid.size)
    seen = made.image[1] != -9999.0
    assert seen.float().mean() > 0.5
    assert torch.allclose(made.image[1][seen], made.image[0][seen], atol=0.05)


@pytest.mark.parametrize("size", [(9, 4, 11), (5, 6, 7), (3, 3, 3)])
def test_a_size_is_what_monai_makes_of_it(size: tuple[int, int, int]) -> None:
    volume = volume_of(Shape())
    theirs = transforms.Resize(size, mode="trilinear")(volume.voxels[None]).as_tensor()
    made = prepared(volume, {}, Preprocessing(size=size))
    assert torch.allclose(made.image, theirs, atol=1e-2)
    assert made.image.shape == (1, *size)


@pytest.mark.parametrize("size", [(4, 9, 2), (5, 6, 7), (8, 3, 12), (7, 7, 7)])
def test_what_is_cut_and_padded_is_what_monai_cuts_and_pads(size: tuple[int, int, int]) -> None:
    volume = volume_of(Shape())
    theirs = transforms.ResizeWithPadOrCrop(size, value=-1024)(volume.voxels[None]).as_tensor()
    assert torch.equal(prepared(volume, {}, Preprocessing(fit=size, outside=-1024.0)).image, theirs)


@pytest.mark.parametrize("key", ["size", "fit"])
def test_a_size_that_would_take_all_memory_is_refused(key: str) -> None:
    with pytest.raises(InferenceError, match=rf"preprocessing\.{key} would make 900 x 900 x 900 voxels"):
        prepared(volume_of(Shape()), {}, Preprocessing.model_validate({key: (900, 900, 900)}))


def test_a_spacing_that_would_take_all_memory_is_refused() -> None:
    with pytest.raises(InferenceError, match=r"preprocessing\.spacing_mm would make"):
        prepared(volume_of(Shape()), {}, Preprocessing(spacing_mm=(0.01, 0.01, 0.01)))


def test_a_crop_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(InferenceError, match="no voxel is above 100000"):
        prepared(volume_of(Shape()), {}, Preprocessing(crop=Crop(above=100000.0)))


def test_a_crop_keeps_a_margin_around_what_is_above_its_value() -> None:
    volume = volume_of(Shape(slices=9, rows=20, columns=20))
    voxels = np.full(volume.voxels.shape, -1000.0, np.float32)
    voxels[4, 10:12, 8] = 50
    made = prepared(replace(volume, voxels=voxels), {}, Preprocessing(crop=Crop(above=0.0, margin_mm=2.4)))
    # 2.4 mm are one slice of 2.5, three rows of 0.8 and four columns of 0.7.
    assert [(axis.first, axis.size) for axis in made.grid.axes] == [(3, 3), (7, 8), (4, 9)]
    assert made.image[0, 1, 3:5, 4].tolist() == [50, 50]


@pytest.mark.parametrize("spacing_mm", [(2.0, 2.0, 2.0), (7.0, 9.0, 3.3), (0.8, 4.4, 1.0)])
def test_another_spacing_gives_the_points_and_values_that_monai_gives(spacing_mm: tuple[float, float, float]) -> None:
    volume = volume_of(Shape(slices=7, rows=23, columns=18))
    made = prepared(volume, {}, Preprocessing(spacing_mm=spacing_mm))
    affine = np.diag([*volume.spacing_mm, 1.0])
    theirs = Spacing(spacing_mm, mode="bilinear")(MetaTensor(torch.from_numpy(volume.voxels)[None], affine=affine))
    assert made.image.shape == theirs.shape
    assert torch.allclose(made.image, theirs.as_tensor(), atol=1e-2)
