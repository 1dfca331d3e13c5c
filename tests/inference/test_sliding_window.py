"""Sliding windows give what MONAI's give, and hold no more than a row of windows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from inference.sliding_window import Windows, slabs, starts

CPU = torch.device("cpu")


def convolution(axes: int) -> nn.Module:
    """A model whose prediction depends on where in its window a voxel lies, since windows are padded with zeros."""
    torch.manual_seed(7)
    kind = nn.Conv3d if axes == 3 else nn.Conv2d
    return kind(2, 3, 3, padding=1)


def whole(image: Tensor, predict: nn.Module, windows: Windows) -> Tensor:
    found = list(slabs(image, predict, windows, device=CPU))
    firsts = [slab.first for slab in found]
    assert firsts == [sum(slab.values.shape[1] for slab in found[:index]) for index in range(len(found))]
    return torch.cat([slab.values for slab in found], dim=1)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 14), st.integers(1, 9)), min_size=2, max_size=3),
    overlap=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.8]),
    blending=st.sampled_from(["constant", "gaussian"]),
    batch=st.integers(1, 5),
)
def test_predictions_are_those_of_monai(
    sizes: list[tuple[int, int]], overlap: float, blending: str, batch: int
) -> None:
    model = convolution(len(sizes))
    image = torch.randn(2, *(size for size, _ in sizes), generator=torch.Generator().manual_seed(1))
    patch = tuple(length for _, length in sizes)
    windows = Windows(patch, overlap, blending, batch)  # type: ignore[arg-type]
    with torch.inference_mode():
        ours = whole(image, model, windows)
        if overlap <= 0.5:
            theirs = sliding_window_inference(image[None], patch, 4, model, overlap, blending)[0]  # type: ignore[index]
        else:
            theirs = exactly(image, model, windows)
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def exactly(image: Tensor, model: nn.Module, windows: Windows) -> Tensor:
    """MONAI's prediction with sums in double precision of what the model says in single.

    Its sums in single precision, one window after the other, are off by 1e-5 themselves where hundreds lie over a voxel.
    """
    predicted = sliding_window_inference(
        image[None].double(),
        windows.patch,
        4,
        lambda batch: model(batch.float()).double(),
        windows.overlap,
        windows.blending,
    )
    return predicted[0].float()  # type: ignore[index]


def test_a_voxel_under_hundreds_of_windows_is_as_exact_as_with_monai() -> None:
    model, image = convolution(3), torch.randn(2, 14, 9, 14, generator=torch.Generator().manual_seed(1))
    windows = Windows((7, 6, 7), 0.8, "gaussian")
    with torch.inference_mode():
        exact = exactly(image, model, windows)
        theirs = sliding_window_inference(image[None], windows.patch, 4, model, 0.8, "gaussian")[0]  # type: ignore[index]
        ours = whole(image, model, windows)
    assert (ours - exact).abs().max() <= (theirs - exact).abs().max()


def test_windows_cover_an_axis_and_the_last_one_ends_with_it() -> None:
    assert starts(10, 4, 0.5) == [0, 2, 4, 6]
    assert starts(11, 4, 0.5) == [0, 2, 4, 6, 7]
    assert starts(4, 4, 0.5) == [0]
    assert starts(5, 4, 0.99) == [0, 1]


def test_planes_are_handed_out_as_soon_as_no_later_window_touches_them() -> None:
    seen: list[int] = []

    def predict(batch: Tensor) -> Tensor:
        seen.append(len(batch))
        return batch

    image = torch.ones(1, 40, 6, 6)
    first = next(iter(slabs(image, predict, Windows((8, 6, 6), 0.5, batch=1), device=CPU)))
    assert (first.first, first.values.shape[1], len(seen)) == (0, 4, 1)


def test_where_memory_is_short_half_the_batch_is_tried_and_kept() -> None:
    tried: list[int] = []

    def predict(batch: Tensor) -> Tensor:
        tried.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return batch * 2

    image = torch.rand(1, 4, 16, 16)
    found = list(slabs(image, predict, Windows((4, 4, 4), 0.0, batch=8), device=CPU))
    assert torch.allclose(torch.cat([slab.values for slab in found], dim=1), image * 2)
    assert tried == [8, 4, *[2] * 8]


def test_a_window_for_which_there_is_no_memory_at_all_is_an_error() -> None:
    def predict(batch: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        list(slabs(torch.rand(1, 4, 4, 4), predict, Windows((4, 4, 4)), device=CPU))


def test_a_prediction_of_another_size_is_refused() -> None:
    def shrinking(batch: Tensor) -> Tensor:
        return batch[..., ::2]

    with pytest.raises(ValueError, match=r"size of its window, \(batch, channels, 4, 4, 4\), but is \(1, 1, 4, 4, 2\)"):
        list(slabs(torch.rand(1, 4, 4, 4), shrinking, Windows((4, 4, 4)), device=CPU))


@pytest.mark.parametrize(
    ("windows", "rule"),
    [
        (lambda: Windows((0, 4)), "one voxel at least"),
        (lambda: Windows((4, 4), overlap=1.0), "overlap must be"),
        (lambda: Windows((4, 4), batch=0), "batch must be"),
        (lambda: next(iter(slabs(torch.rand(1, 4, 4), nn.Identity(), Windows((4, 4, 4)), device=CPU))), "3 axes"),
    ],
)
def test_windows_that_cannot_be_are_refused(windows: object, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        windows()  # type: ignore[operator]
