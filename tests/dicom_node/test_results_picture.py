"""Pictures show the patient as radiologists expect, however the series was acquired."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dicom_node.phantom import chest_ct
from dicom_node.results.picture import Canonical, View, Window, overlay_png, render
from inference.findings import Findings, Segment
from inference.series import read_series
from inference.volume import Volume
from tests.conformance.reports import ANATOMY, LUNG

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


def middle(picture: Image.Image, color: tuple[int, int, int]) -> NDArray[np.float64]:
    """Mean row and column of the pixels of exactly this colour: the contour."""
    return np.argwhere((np.asarray(picture) == color).all(axis=2)).mean(axis=0)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (2, 0, 1)])
@pytest.mark.parametrize("view", ["axial", "coronal"])
def test_the_right_lung_is_on_the_left_of_every_picture(
    phantom: tuple[Volume, tuple[Segment, ...]], axes: tuple[int, ...], view: View
) -> None:
    volume, segments = turned(*phantom, axes)
    picture = render(volume, segments, view, (300, 300), Window(-1000, 200))
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
    picture = render(volume, (replace(segments[0], region=top),), "coronal", (300, 300), Window(-1000, 200))
    assert middle(picture, RED)[0] < 75


def test_the_png_shows_the_segments_in_their_colours(phantom: tuple[Volume, tuple[Segment, ...]]) -> None:
    volume, segments = phantom
    picture = Image.open(BytesIO(overlay_png(volume, Findings(segments), height=400)))
    assert picture.format == "PNG"
    assert middle(picture, RED)[0] > 0
    assert picture.height == 400


def test_findings_without_segments_still_have_a_picture(phantom: tuple[Volume, tuple[Segment, ...]]) -> None:
    assert Image.open(BytesIO(overlay_png(phantom[0], Findings(), height=200))).size == (200, 200)
