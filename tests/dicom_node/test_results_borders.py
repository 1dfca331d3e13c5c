"""The borders of masks: all parts and holes, exactly between the pixels, and with few points."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from dicom_node.results.borders import Line, borders, on_border, smoothed, thinned

Mask = NDArray[np.bool_]
SMALL_MASKS = arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def disc(radius: float, size: int = 200, at: tuple[float, float] = (90.0, 110.0)) -> Mask:
    rows, columns = np.mgrid[:size, :size]
    return np.asarray((rows - at[0]) ** 2 + (columns - at[1]) ** 2 <= radius**2, np.bool_)


def area(line: Line) -> float:
    """In pixels, of what a closed line encloses; negative around a hole."""
    x, y = line[:-1].T
    return float((x * line[1:, 1] - y * line[1:, 0]).sum() / 2)


def test_a_pixel_is_a_diamond_around_its_centre() -> None:
    mask = np.zeros((5, 7), np.bool_)
    mask[2, 4] = True
    (line,), count = borders(mask)
    assert count == 1
    assert sorted(map(tuple, line[:-1].tolist())) == [(4.0, 2.5), (4.5, 2.0), (4.5, 3.0), (5.0, 2.5)]
    assert (line[0] == line[-1]).all()


def test_a_ring_has_an_outer_and_an_inner_line() -> None:
    ring = disc(60) & ~disc(20)
    outer, inner = borders(ring)[0]
    assert area(outer) == pytest.approx(disc(60).sum(), abs=1)
    assert area(inner) == pytest.approx(-disc(20).sum(), abs=1)


def test_small_parts_are_left_out_and_counted() -> None:
    mask = disc(30) | disc(5, at=(150, 150)) | disc(1, at=(20, 20))
    lines, count = borders(mask, least=0.02)
    assert (len(lines), count) == (2, 3)
    assert len(borders(mask, most=1)[0]) == 1


def test_an_empty_mask_has_no_border() -> None:
    assert borders(np.zeros((4, 4), np.bool_)) == ([], 0)


def test_pixels_that_touch_at_a_corner_are_apart() -> None:
    assert borders(np.eye(3, dtype=np.bool_))[1] == 3


@given(SMALL_MASKS)
def test_lines_enclose_the_mask(mask: Mask) -> None:
    """Corners are cut by an eighth of a pixel each, inward at convex ones and outward at concave ones."""
    lines, _ = borders(mask)
    corners = sum(len(line) - 1 for line in lines)
    assert abs(sum(area(line) for line in lines) - mask.sum()) <= corners / 8 + 1e-9
    for line in lines:
        assert on_border(line, mask).all()


@given(SMALL_MASKS)
def test_what_is_smoothed_and_thinned_stays_on_the_border(mask: Mask) -> None:
    for line in borders(mask)[0]:
        assert on_border(thinned(smoothed(line), 0.5), mask).all()


@given(SMALL_MASKS, st.integers(0, 36), st.integers(0, 36))
def test_a_position_is_on_the_border_only_where_a_line_passes(mask: Mask, right: int, down: int) -> None:
    point = np.array([(right / 4, down / 4)])
    passes = any(
        distance_to(point[0], first, second) < 1e-6 for line in borders(mask)[0] for first, second in pairwise(line)
    )
    assert bool(on_border(point, mask)[0]) == passes


def distance_to(point: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    along = second - first
    part = np.clip((point - first) @ along / max(float(along @ along), 1e-12), 0, 1)
    return float(np.linalg.norm(point - first - part * along))


def test_a_large_outline_has_few_points_and_keeps_its_area() -> None:
    mask = disc(80)
    (line,), _ = borders(mask)
    drawn = thinned(smoothed(line), 0.25)
    assert len(drawn) < len(line) / 2
    assert area(drawn) == pytest.approx(mask.sum(), rel=0.01)


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (0, -1), (-1, 0)])
def test_an_outline_moved_by_a_pixel_leaves_the_border(shift: tuple[int, int]) -> None:
    mask = disc(30)
    (line,), _ = borders(mask)
    assert on_border(line, mask).all()
    assert not on_border(line + shift, mask).all()
