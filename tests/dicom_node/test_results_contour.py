"""The outline of a mask, against areas and shapes worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dicom_node.results.contour import around, large_parts, outline


def area(points: NDArray[np.float64]) -> float:
    """Of a closed polygon of column and row."""
    x, y = points.T
    return abs(float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]))) / 2


def disc(size: int, centre: tuple[float, float], radius: float) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[:size, :size]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def test_a_rectangle_is_outlined_with_its_corners_cut() -> None:
    mask = np.zeros((6, 8), np.bool_)
    mask[2:4, 3:7] = True
    assert outline(mask).tolist() == [
        [3.5, 2.0],
        [6.5, 2.0],
        [7.0, 2.5],
        [7.0, 3.5],
        [6.5, 4.0],
        [3.5, 4.0],
        [3.0, 3.5],
        [3.0, 2.5],
        [3.5, 2.0],
    ]


def test_one_pixel_has_an_outline_around_its_centre() -> None:
    mask = np.zeros((3, 3), np.bool_)
    mask[1, 2] = True
    points = outline(mask)
    assert points[:-1].mean(axis=0).tolist() == [2.5, 1.5]
    assert points[0].tolist() == points[-1].tolist()


def test_a_disc_keeps_its_area_and_its_place() -> None:
    mask = disc(64, (30, 20), 12)
    points = outline(mask)
    assert area(points) == pytest.approx(mask.sum(), rel=0.02)
    assert points[:-1].mean(axis=0) == pytest.approx([20.5, 30.5], abs=0.3)


def test_two_lungs_are_both_outlined() -> None:
    mask = disc(100, (50, 25), 15) | disc(100, (50, 75), 12)
    points = outline(mask)
    assert area(points) == pytest.approx(mask.sum(), rel=0.03)
    assert points[:, 0].min() < 15
    assert points[:, 0].max() > 85


def test_specks_beside_a_region_are_left_out() -> None:
    mask = disc(100, (50, 25), 15)
    mask[50, 80:82] = True
    assert outline(mask)[:, 0].max() < 45


def test_a_hole_is_not_outlined() -> None:
    mask = disc(60, (30, 30), 20)
    filled = outline(mask)
    assert np.array_equal(outline(mask & ~disc(60, (30, 30), 8)), filled)


def test_an_empty_mask_has_no_outline() -> None:
    with pytest.raises(ValueError, match="empty mask"):
        outline(np.zeros((4, 4), np.bool_))


@settings(max_examples=60, deadline=None)
@given(arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_the_walk_meets_every_border_once(mask: NDArray[np.bool_]) -> None:
    if not mask.any():
        return
    _, part = large_parts(mask)[0]
    padded = np.pad(part, 1)
    borders = sum(int(np.count_nonzero(np.diff(padded, axis=axis))) for axis in (0, 1))
    corners = around(part)
    assert len(corners) == borders
    assert (np.abs(corners - np.roll(corners, 1, axis=0)).sum(axis=1) == 1).all()


def test_pixels_that_a_painter_fills_are_those_of_the_mask() -> None:
    mask = disc(128, (60, 70), 30) & ~disc(128, (60, 100), 18)
    canvas = Image.new("1", (128, 128))
    ImageDraw.Draw(canvas).polygon([(x - 0.5, y - 0.5) for x, y in outline(mask)], fill=1)
    painted = np.asarray(canvas)
    assert np.count_nonzero(painted ^ mask) < 0.05 * mask.sum()
