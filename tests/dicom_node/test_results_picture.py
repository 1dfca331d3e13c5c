"""Pictures show the patient as radiologists expect, however the series was acquired."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dicom_node.phantom import chest_ct
from dicom_node.results.looks import Look, looks_at
from dicom_node.results.orientation import Canonical, View
from dicom_node.results.overlay import Fitted, hot_iron
from dicom_node.results.picture import Window, overlay_png, render, window_for
from inference.findings import (
    Box,
    Code,
    Contour,
    Detection,
    Findings,
    HeatMap,
    Labelled,
    Landmark,
    Point,
    Segment,
)
from inference.series import read_series
from inference.volume import Volume
from tests.conformance.reports import ABNORMAL, ANATOMY, LUNG, NODULE, made_volume

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture(scope="module")
def phantom() -> tuple[Volume, tuple[Segment, ...]]:
    made = chest_ct(slices=20, rows=96)
    masks = made.truth.masks
    segments = (
        Segment("right", "Right lung", ANATOMY, LUNG, masks["right_lung"], RED),
        Segment("left", "Left lung", ANATOMY, LUNG, masks["left_lung"], BLUE),
    )
    return read_series(made.datasets).volumes[0], segments


def turned(volume: Volume, segments: tuple[Segment, ...], axes: tuple[int, ...]) -> tuple[Volume, tuple[Segment, ...]]:
    """The same body, its array stored in another order and from the other end."""
    order = [*axes, 3]
    affine = volume.affine_lps[:, order].copy()
    size = volume.voxels.shape[axes[0]]
    affine[:3, 3] += affine[:3, 0] * (size - 1)
    affine[:3, 0] *= -1
    moved = replace(volume, voxels=np.transpose(volume.voxels, axes)[::-1], affine_lps=affine)
    return moved, tuple(replace(s, region=np.transpose(s.mask, axes)[::-1]) for s in segments)


def look_at(volume: Volume, segments: tuple[Segment, ...], view: View) -> Look:
    """The slice of this view in which the segments are largest."""
    together = Canonical.of(volume)(np.any([segment.mask for segment in segments], axis=0))
    axis = ("axial", "coronal", "sagittal").index(view)
    return Look(view, int(together.sum(axis=tuple(other for other in range(3) if other != axis)).argmax()))


def middle(picture: Image.Image, color: tuple[int, int, int]) -> NDArray[np.float64]:
    """Mean row and column of the pixels of exactly this colour: the contour."""
    return np.argwhere((np.asarray(picture) == color).all(axis=2)).mean(axis=0)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (2, 0, 1)])
@pytest.mark.parametrize("view", ["axial", "coronal"])
def test_the_right_lung_is_on_the_left_of_every_picture(
    phantom: tuple[Volume, tuple[Segment, ...]], axes: tuple[int, ...], view: View
) -> None:
    volume, segments = turned(*phantom, axes)
    picture = render(volume, Findings(segments), look_at(volume, segments, view), (300, 300), Window(-1000, 200))
    assert middle(picture, RED)[1] < 150 < middle(picture, BLUE)[1]


def test_axes_run_to_the_head_the_back_and_the_left(phantom: tuple[Volume, tuple[Segment, ...]]) -> None:
    volume, segments = phantom
    expected = Canonical.of(volume)(segments[0].mask)
    for axes in ((1, 0, 2), (2, 0, 1)):
        other, moved = turned(volume, segments, axes)
        assert np.array_equal(Canonical.of(other)(moved[0].mask), expected)


def test_the_coronal_picture_has_the_head_on_top(phantom: tuple[Volume, tuple[Segment, ...]]) -> None:
    volume, segments = phantom
    z = np.arange(volume.voxels.shape[0])
    top = np.zeros_like(segments[0].mask)
    top[z[-4] :, 40:60, 40:60] = True
    shown = (replace(segments[0], region=top),)
    picture = render(volume, Findings(shown), look_at(volume, shown, "coronal"), (300, 300), Window(-1000, 200))
    assert middle(picture, RED)[0] < 75


def test_the_png_shows_the_segments_in_their_colours(phantom: tuple[Volume, tuple[Segment, ...]]) -> None:
    volume, segments = phantom
    picture = Image.open(BytesIO(overlay_png(volume, Findings(segments), height=400)))
    assert picture.format == "PNG"
    assert middle(picture, RED)[0] > 0
    assert picture.height == 400


def test_findings_without_segments_still_have_a_picture(phantom: tuple[Volume, tuple[Segment, ...]]) -> None:
    assert Image.open(BytesIO(overlay_png(phantom[0], Findings(), height=200))).size == (200, 200)


def detection(key: str, place: Point | Box | Contour, score: float | None = None) -> Detection:
    return Detection(key, f"Nodule {key}", ABNORMAL, NODULE, place, score, RED)


def outlined(picture: Image.Image, color: tuple[int, int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last row and column with this colour."""
    found = np.argwhere((np.asarray(picture) == color).all(axis=2))
    return found.min(axis=0), found.max(axis=0)


def test_the_sagittal_picture_has_the_front_on_the_left_and_the_head_on_top(
    phantom: tuple[Volume, tuple[Segment, ...]],
) -> None:
    volume, segments = phantom
    front = np.zeros_like(segments[0].mask)
    front[-3:, 10:30, 20:70] = True
    shown = (replace(segments[0], region=front),)
    for axes in ((0, 1, 2), (1, 0, 2), (2, 0, 1)):
        other, moved = turned(volume, shown, axes)
        picture = render(other, Findings(moved), look_at(other, moved, "sagittal"), (300, 300), Window(-1000, 200))
        row, column = middle(picture, RED)
        assert row < 75
        assert column < 120


@pytest.mark.parametrize("name", ["axial", "sagittal", "oblique"])
def test_images_are_shown_as_they_were_acquired_first(name: str) -> None:
    _, volume = made_volume(name)
    looks = looks_at(volume, Findings())
    acquired = Canonical.of(volume).acquired
    assert looks.main[0].view == acquired
    assert looks.main[1].view != acquired
    assert name in ("oblique", acquired)


def test_a_few_slices_are_not_shown_across(phantom: tuple[Volume, tuple[Segment, ...]]) -> None:
    volume, _ = phantom
    one = replace(volume, voxels=volume.voxels[:1], sources=volume.sources[:1])
    assert looks_at(one, Findings()).main == (Look("axial", 0),)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
def test_a_box_is_drawn_where_the_same_voxels_of_a_mask_are(
    phantom: tuple[Volume, tuple[Segment, ...]], axes: tuple[int, ...]
) -> None:
    volume, segments = phantom
    mask = np.zeros_like(segments[0].mask)
    mask[8:12, 30:50, 20:28] = True
    other, (segment,) = turned(volume, (replace(segments[0], region=mask),), axes)
    held = np.argwhere(segment.mask)
    first, last = held.min(axis=0).astype(float), held.max(axis=0).astype(float)
    box = detection("box", Box(tuple(first), tuple(last)))
    for look in looks_at(other, Findings((segment,))).main:
        as_mask = render(other, Findings((segment,)), look, (300, 300), Window(-1000, 200))
        as_box = render(other, Findings(detections=(box,)), look, (300, 300), Window(-1000, 200))
        for one, two in zip(outlined(as_mask, RED), outlined(as_box, RED), strict=True):
            assert np.abs(one - two).max() <= 2


def test_a_contour_is_drawn_in_its_slice_and_no_other(phantom: tuple[Volume, tuple[Segment, ...]]) -> None:
    volume, _ = phantom
    contour = detection("contour", Contour(7, ((20, 20), (20, 60), (50, 60), (50, 20))))
    findings = Findings(detections=(contour,))
    canonical = Canonical.of(volume)
    here = round(canonical.place((7, 0, 0))[0])
    first, last = outlined(render(volume, findings, Look("axial", here), (960, 960), Window(-1000, 200)), RED)
    assert np.abs(first - 205).max() <= 3  # ten pixels for each of the 96 voxels; 20 has its centre at 20.5
    assert np.abs(last - np.array([505, 605])).max() <= 3
    elsewhere = np.asarray(render(volume, findings, Look("axial", here + 1), (960, 960), Window(-1000, 200)))
    assert not (elsewhere == RED).all(axis=2).any()


def test_the_likeliest_detection_is_what_the_picture_shows(phantom: tuple[Volume, tuple[Segment, ...]]) -> None:
    volume, segments = phantom
    likely, unlikely = detection("a", Point((3, 30, 30)), 0.9), detection("b", Point((15, 60, 60)), 0.2)
    looks = looks_at(volume, Findings(segments, detections=(unlikely, likely)))
    canonical = Canonical.of(volume)
    assert looks.main[0].index == round(canonical.place((3, 0, 0))[0])
    assert [look.index for look in looks.details] == [round(canonical.place((15, 0, 0))[0])]


def test_an_abnormal_segment_is_shown_rather_than_a_large_organ(phantom: tuple[Volume, tuple[Segment, ...]]) -> None:
    volume, segments = phantom
    small = np.zeros_like(segments[0].mask)
    small[2, 40, 40] = True
    findings = Findings((*segments, Segment("nodule", "Nodule", ABNORMAL, NODULE, small, RED)))
    looks = looks_at(volume, findings)
    canonical = Canonical.of(volume)
    assert looks.main[0].index == round(canonical.place((2, 0, 0))[0])
    assert looks.main[1].index == round(canonical.place((0, 40, 0))[1])


def test_a_single_voxel_is_found_in_a_volume_that_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    _, volume = made_volume("axial")
    mask = np.zeros(volume.voxels.shape, np.bool_)
    mask[5, 7, 11] = True
    monkeypatch.setattr("dicom_node.results.looks.MOST_SAMPLES", 500)
    findings = Findings((Segment("dot", "Dot", ABNORMAL, NODULE, mask, RED),))
    assert looks_at(volume, findings).main[0].index == round(Canonical.of(volume).place((5, 0, 0))[0])


def test_segments_of_one_label_map_look_as_if_each_had_its_own_mask(
    phantom: tuple[Volume, tuple[Segment, ...]],
) -> None:
    volume, segments = phantom
    labels = np.zeros(volume.voxels.shape, np.uint8)
    for value, segment in enumerate(segments, start=1):
        labels[segment.mask] = value
    shared = tuple(replace(one, region=Labelled(labels, value)) for value, one in enumerate(segments, start=1))
    assert looks_at(volume, Findings(shared)) == looks_at(volume, Findings(segments))
    assert window_for(volume, shared) == window_for(volume, segments)
    assert overlay_png(volume, Findings(shared)) == overlay_png(volume, Findings(segments))


def heat_map(volume: Volume, values: NDArray[np.float32], hides_below: float | None = 0.5) -> HeatMap:
    quantity, unit = Code("110819", "DCM", "Blood Flow"), Code("1", "UCUM", "no units")
    return HeatMap("heat", "Heat", quantity, unit, values, (0.0, 1.0), hides_below)


def test_heat_is_coloured_where_it_is_high_enough_and_known(phantom: tuple[Volume, tuple[Segment, ...]]) -> None:
    volume, _ = phantom
    values = np.full(volume.voxels.shape, 0.2, np.float32)
    values[:, :, :48] = 0.8
    values[:, 48:, :] = np.nan
    look = Look("axial", 10)
    plain = np.asarray(render(volume, Findings(), look, (960, 960), Window(-1000, 200)), int)
    hot = np.asarray(
        render(volume, Findings(heat_maps=(heat_map(volume, values),)), look, (960, 960), Window(-1000, 200)), int
    )
    changed = (hot != plain).any(axis=2)
    assert changed[100:470, 60:470].all()
    assert not changed[100:900, 500:].any()
    assert not changed[500:, :].any()


def test_hotter_is_brighter() -> None:
    brightness = hot_iron(np.linspace(0, 1, 64, dtype=np.float32)).sum(axis=-1)
    assert (np.diff(brightness) > 0).all()


def test_where_a_heat_map_is_highest_is_what_the_picture_shows(phantom: tuple[Volume, tuple[Segment, ...]]) -> None:
    volume, _ = phantom
    values = np.zeros(volume.voxels.shape, np.float32)
    values[4, 50:60, 50:60] = 1
    looks = looks_at(volume, Findings(heat_maps=(heat_map(volume, values),)))
    assert looks.main[0].index == round(Canonical.of(volume).place((4, 0, 0))[0])


def test_a_landmark_is_marked_at_its_place(phantom: tuple[Volume, tuple[Segment, ...]]) -> None:
    volume, _ = phantom
    canonical = Canonical.of(volume)
    landmark = Landmark("carina", "Carina", Code("28700002", "SCT", "Carina"), Point((9, 33, 71)))
    look = Look("axial", round(canonical.place((9, 0, 0))[0]))
    fitted = Fitted(canonical, look, (960, 960))
    assert fitted.meets(landmark)
    assert fitted.xy((9, 33, 71)) == pytest.approx((715, 335))
    assert not Fitted(canonical, Look("axial", look.index + 1), (960, 960)).meets(landmark)


def test_voxels_without_a_value_do_not_decide_the_window(phantom: tuple[Volume, tuple[Segment, ...]]) -> None:
    volume, _ = phantom
    voxels = volume.voxels.copy()
    voxels[:, :, :40] = np.nan
    voxels[:, :, 40:60] = -2000
    window = window_for(replace(volume, voxels=voxels, padding_value=-2000.0), ())
    assert np.isfinite([window.low, window.high]).all()
    assert window.low > -1100
