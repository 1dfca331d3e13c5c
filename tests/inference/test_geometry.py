"""Stack geometry on positions alone: order, spacing, gaps, tilt, duplicates, for stacks in any orientation."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inference.geometry import StackGeometry, normal_of, stack_geometry
from tests.inference.series_factory import AXIAL, CORONAL

bounded = settings(max_examples=60, deadline=None, derandomize=True)
places = st.floats(-500, 500)


@st.composite
def rotations(draw: st.DrawFn) -> NDArray[np.float64]:
    """Any rotation, from a unit quaternion."""
    quaternion = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 4)))
    length = np.linalg.norm(quaternion)
    w, x, y, z = quaternion / length if length > 0.1 else (1.0, 0.0, 0.0, 0.0)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def axial_stack(*z_mm: float, y_mm: tuple[float, ...] = ()) -> StackGeometry:
    found = stack_geometry([AXIAL] * len(z_mm), [(0.0, y_mm[i] if y_mm else 0.0, z) for i, z in enumerate(z_mm)])
    assert found is not None
    return found


@bounded
@given(
    rotation=rotations(),
    origin=st.tuples(places, places, places),
    count=st.integers(2, 40),
    spacing_mm=st.floats(0.3, 10),
    data=st.data(),
)
def test_a_regular_stack_in_any_orientation_and_order_is_found_again(
    rotation: NDArray[np.float64],
    origin: tuple[float, float, float],
    count: int,
    spacing_mm: float,
    data: st.DataObject,
) -> None:
    shuffled = data.draw(st.permutations(range(count)))
    positions = [tuple(np.array(origin) + index * spacing_mm * rotation[:, 2]) for index in shuffled]
    orientation = tuple(rotation[:, :2].T.reshape(-1))
    found = stack_geometry([orientation] * count, positions)
    assert found is not None
    assert [shuffled[index] for index in found.order] == list(range(count))
    assert found.closes, found.reason
    assert found.spacing_mm == pytest.approx(spacing_mm, rel=1e-6)
    assert found.normal == pytest.approx(tuple(rotation[:, 2]), abs=1e-6)
    assert found.tilt_deg == 0.0


@bounded
@given(rotation=rotations(), tilt_deg=st.floats(4, 35), count=st.integers(5, 30), spacing_mm=st.floats(0.5, 8))
def test_the_lean_of_a_tilted_stack_is_measured(
    rotation: NDArray[np.float64], tilt_deg: float, count: int, spacing_mm: float
) -> None:
    step = spacing_mm * (rotation[:, 2] + math.tan(math.radians(tilt_deg)) * rotation[:, 1])
    orientation = tuple(rotation[:, :2].T.reshape(-1))
    found = stack_geometry([orientation] * count, [tuple(index * step) for index in range(count)])
    assert found is not None
    assert found.is_uniform, found.reason
    assert found.tilt_deg == pytest.approx(tilt_deg, abs=1e-3)
    assert found.spacing_mm == pytest.approx(spacing_mm)
    assert found.step_lps == pytest.approx(tuple(step))


@bounded
@given(count=st.integers(5, 40), spacing_mm=st.floats(0.5, 8), data=st.data())
def test_one_missing_image_is_a_gap_where_it_was(count: int, spacing_mm: float, data: st.DataObject) -> None:
    missing = data.draw(st.integers(1, count - 2))
    kept = [index for index in range(count) if index != missing]
    found = axial_stack(*(index * spacing_mm for index in kept))
    assert not found.is_uniform
    assert len(found.gaps) == 1
    assert (kept[found.gaps[0].after], kept[found.gaps[0].before]) == (missing - 1, missing + 1)
    assert found.gaps[0].missing == 1
    assert "no image between z=" in found.reason


def test_the_reason_names_the_place_of_a_gap() -> None:
    found = axial_stack(-130, -125, -120, -110, -105)
    assert found.reason == "no image between z=-120.0 and -110.0 mm (spacing 5.00 mm)"


def test_the_place_of_a_gap_in_a_coronal_stack_is_given_along_y() -> None:
    found = stack_geometry([CORONAL] * 4, [(0, y, 0) for y in (0, 2, 4, 10)])
    assert found is not None
    assert found.reason == "no image between y=4.0 and 10.0 mm (spacing 2.00 mm)"
    assert found.gaps[0].missing == 2


def test_uneven_spacing_is_told_from_missing_images() -> None:
    found = axial_stack(0, 1.0, 2.1, 3.5, 5.9, 8.0)
    assert found.reason.startswith("spacing varies from 1.00 to 2.40 mm")


def test_a_protocol_of_two_spacings_is_uneven_rather_than_incomplete() -> None:
    found = axial_stack(*np.arange(0, 40, 2.5), *np.arange(40, 80, 5.0))
    assert found.reason.startswith("spacing varies from 2.50 to 5.00 mm")


def test_positions_written_with_one_decimal_still_make_a_regular_stack() -> None:
    found = axial_stack(*(round(index * 0.625, 1) for index in range(200)))
    assert found.is_uniform, found.reason
    assert found.spacing_mm == pytest.approx(0.625, abs=1e-3)


def test_a_fine_stack_has_a_tolerance_of_a_quarter_of_its_spacing() -> None:
    assert not axial_stack(0, 0.2, 0.46, 0.6, 0.8).is_uniform


@pytest.mark.parametrize(("off_mm", "uniform"), [(0.099, True), (0.11, False)])
def test_an_image_may_lie_a_tenth_of_a_millimetre_off_the_grid(off_mm: float, uniform: bool) -> None:
    assert axial_stack(0, 1, 2 + off_mm, 3, 4).is_uniform is uniform


def test_a_crooked_stack_is_refused_by_how_far_it_strays() -> None:
    found = axial_stack(0, 5, 10, 15, 20, y_mm=(0, 0, 3, 0, 0))
    assert found.reason == "origins lie up to 3.00 mm off a straight line (spacing 5.00 mm)"


def test_images_at_one_position_are_duplicates_and_the_stack_does_not_close() -> None:
    found = axial_stack(10, 0, 5, 10, 15, 5)
    assert found.is_uniform
    assert not found.closes
    assert found.duplicates == ((2, 5), (0, 3))
    assert found.order == (1, 2, 5, 0, 3, 4)
    assert found.distinct == (1, 2, 0, 4)


def test_images_beside_each_other_in_one_plane_are_no_stack() -> None:
    found = axial_stack(0, 5, 5, 10, y_mm=(0, 0, 40, 0))
    assert found.reason == "images in one plane have origins 40.00 mm apart"


def test_a_turned_image_is_counted() -> None:
    found = stack_geometry([AXIAL, AXIAL, CORONAL], [(0, 0, 0), (0, 0, 1), (0, 0, 2)])
    assert found is not None
    assert found.reason.startswith("1 of 3 images are turned")


def test_one_image_is_a_stack_without_spacing() -> None:
    found = axial_stack(7)
    assert found.closes
    assert found.spacing_mm == 0.0


@pytest.mark.parametrize(
    ("orientation", "position"),
    [
        (None, (0.0, 0.0, 0.0)),
        (AXIAL, None),
        ((1.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((1.0, 0.0, 0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((0.0,) * 6, (0.0, 0.0, 0.0)),
        ((2.0, 0.0, 0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0)),
        ((math.nan,) * 6, (0.0, 0.0, 0.0)),
        (AXIAL, (0.0, 0.0, math.inf)),
        (AXIAL, (0.0, 0.0)),
    ],
)
def test_impossible_planes_have_no_geometry(
    orientation: tuple[float, ...] | None, position: tuple[float, ...] | None
) -> None:
    assert stack_geometry([AXIAL, orientation], [(0.0, 0.0, 1.0), position]) is None


def test_no_image_has_no_geometry() -> None:
    assert stack_geometry([], []) is None


def test_the_normal_is_row_direction_times_column_direction() -> None:
    assert tuple(normal_of(AXIAL)) == (0.0, 0.0, 1.0)  # type: ignore[arg-type]
    assert tuple(normal_of(CORONAL)) == (0.0, 1.0, 0.0)  # type: ignore[arg-type]


def test_geometry_needs_numpy_alone() -> None:
    probe = "import sys, inference.geometry; print([m for m in ('torch', 'pydicom', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
