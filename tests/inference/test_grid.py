"""A volume prepared for a model, and predictions led back: the same places, whichever way the axes run."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inference.grid import Grid, as_acquired, boxed, grown, oriented, returned, sampled, spaced

SHAPE = (5, 7, 9)
AXIAL = np.diag([1.0, 1.0, 1.0, 1.0])[:, [2, 1, 0, 3]]  # slices to the head, rows to the back, columns to the left
LETTERS = ["".join(word) for word in ("RAS", "LPS", "SPL", "IAR", "PSL", "ASR")]


def voxels(shape: tuple[int, int, int] = SHAPE) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def turned(affine: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """Leaning about the left-right axis."""
    angle = np.radians(degrees)
    lean = np.eye(4)
    lean[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return np.asarray(lean @ affine)


@pytest.mark.parametrize("letters", LETTERS)
@pytest.mark.parametrize("affine", [AXIAL, turned(AXIAL, 30), AXIAL[:, [1, 2, 0, 3]], AXIAL * [[-1], [1], [1], [1]]])
def test_axes_run_as_nibabel_has_them(letters: str, affine: NDArray[np.float64]) -> None:
    grid = oriented(as_acquired(SHAPE), affine, letters)
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    image = nibabel.Nifti1Image(voxels().numpy(), ras)
    transform = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(ras), nibabel.orientations.axcodes2ornt(letters)
    )
    theirs = image.as_reoriented(transform)
    ours = sampled(voxels(), grid, "linear", fill=0.0)
    assert np.array_equal(ours.numpy(), np.asarray(theirs.dataobj))


@pytest.mark.parametrize("letters", ["RA", "RLS", "XYZ", "ras"])
def test_letters_that_name_no_three_directions_are_refused(letters: str) -> None:
    with pytest.raises(ValueError, match="one end each of right-left"):
        oriented(as_acquired(SHAPE), AXIAL, letters)


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_resampling_gives_what_simpleitk_gives(interpolation: str) -> None:
    spacing_mm, wanted_mm = (3.0, 0.8, 0.7), (1.1, 1.3, 0.5)
    grid = spaced(as_acquired(SHAPE), spacing_mm, wanted_mm)
    image = SimpleITK.GetImageFromArray(voxels().numpy())
    image.SetSpacing(spacing_mm[::-1])
    resampler = SimpleITK.ResampleImageFilter()
    resampler.SetOutputSpacing(wanted_mm[::-1])
    resampler.SetSize([int(size) for size in grid.size[::-1]])
    resampler.SetInterpolator(SimpleITK.sitkLinear if interpolation == "linear" else SimpleITK.sitkNearestNeighbor)
    theirs = SimpleITK.GetArrayFromImage(resampler.Execute(image))
    ours = sampled(voxels(), grid, interpolation, fill=0.0)  # type: ignore[arg-type]
    assert ours.shape == theirs.shape == (12, 5, 12)
    # The last row lies half a voxel beyond the volume, where SimpleITK has nothing any more.
    assert np.allclose(ours.numpy()[:, :4], theirs[:, :4], atol=1e-5)
    assert (ours[:, 4] != 0).all()


def test_what_lies_outside_the_volume_is_filled() -> None:
    grid = grown(as_acquired(SHAPE), (4, 4, 4))
    ours = sampled(voxels(), grid, "linear", fill=-1000.0)
    assert ours.shape == (8, 8, 12)
    assert torch.equal(ours[1:6, 0:7, 1:10], voxels())
    assert int((ours == -1000.0).sum()) == ours.numel() - voxels().numel()


@settings(max_examples=60, deadline=None)
@given(
    letters=st.sampled_from(LETTERS),
    first=st.tuples(*(st.integers(-3, 2) for _ in range(3))),
    size=st.tuples(*(st.integers(4, 12) for _ in range(3))),
)
def test_what_was_turned_and_boxed_comes_back_to_its_place(
    letters: str, first: tuple[int, int, int], size: tuple[int, int, int]
) -> None:
    grid = boxed(oriented(as_acquired(SHAPE), AXIAL, letters), first, size)
    back = returned(sampled(voxels(), grid, "nearest", fill=99.0), grid, "nearest", fill=99.0)
    assert back.shape == SHAPE
    seen = back != 99.0
    assert torch.equal(back[seen], voxels()[seen])
    whole = [axis.indices() for axis in sorted(grid.axes, key=lambda axis: axis.along)]
    inside = [np.isin(np.arange(length), np.rint(points)) for length, points in zip(SHAPE, whole, strict=True)]
    assert torch.equal(seen, torch.from_numpy(inside[0][:, None, None] & inside[1][None, :, None] & inside[2]))


def test_labels_on_a_coarse_grid_come_back_to_the_nearest_voxels() -> None:
    grid = spaced(as_acquired((4, 4, 4)), (1.0, 1.0, 1.0), (2.0, 2.0, 2.0))
    labels = torch.arange(8, dtype=torch.uint8).view(2, 2, 2)
    back = returned(labels, grid, "nearest", fill=0)
    assert back[0, 0].tolist() == [0, 1, 1, 1]
    assert back[:, 0, 0].tolist() == [0, 4, 4, 4]


@settings(max_examples=40, deadline=None)
@given(letters=st.sampled_from(LETTERS), index=st.tuples(*(st.floats(-2, 12) for _ in range(3))))
def test_places_lead_back_as_samples_do(letters: str, index: tuple[float, float, float]) -> None:
    """A volume whose value is its own index tells where each point came from."""
    grid = spaced(oriented(as_acquired(SHAPE), AXIAL, letters), (1.0, 1.0, 1.0), (0.5, 0.7, 1.3))
    place = grid.index_in_volume(index)
    for along in range(3):
        axis = next(number for number, one in enumerate(grid.axes) if one.along == along)
        assert place[along] == pytest.approx(grid.axes[axis].first + grid.axes[axis].step * index[axis])
    ramps = torch.meshgrid(*(torch.arange(size, dtype=torch.float64) for size in SHAPE), indexing="ij")
    for along, ramp in enumerate(ramps):
        assert sampled(ramp, grid, "linear", fill=0.0)[1, 1, 1] == pytest.approx(corner(grid)[along])


def corner(grid: Grid) -> tuple[float, float, float]:
    return grid.index_in_volume((1, 1, 1))
