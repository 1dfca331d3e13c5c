"""From the instances of a series to volumes: made series of known voxels and geometry, whole and broken in one way each."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from copy import deepcopy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from inference.errors import NotAVolume
from inference.series import read_series
from inference.transforms import mask_on_acquired
from tests.inference.series_factory import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    MadeSeries,
    Shape,
    as_multi_frame,
    make_series,
    received,
)

OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)


def renamed(datasets: Sequence[Dataset], suffix: str, **changes: object) -> list[Dataset]:
    """Copies with SOP Instance UIDs of their own."""
    copies = []
    for dataset in datasets:
        copy = deepcopy(dataset)
        copy.SOPInstanceUID = f"{dataset.SOPInstanceUID}.{suffix}"
        for keyword, value in changes.items():
            setattr(copy, keyword, value)
        copies.append(received(copy))
    return copies


def other_pixels(datasets: Sequence[Dataset], seed: int) -> list[Dataset]:
    """Copies with random pixels."""
    copies = [deepcopy(dataset) for dataset in datasets]
    for index, copy in enumerate(copies):
        copy.PixelData = (
            np.random.default_rng([seed, index]).integers(0, 4096, len(copy.PixelData) // 2).astype("<u2").tobytes()
        )
    return copies


def shuffled(datasets: Sequence[Dataset], seed: int = 1) -> list[Dataset]:
    return random.Random(seed).sample(list(datasets), len(datasets))


def assert_same(reading_volume: object, made: MadeSeries) -> None:
    voxels, affine = reading_volume.voxels, reading_volume.affine_lps  # type: ignore[attr-defined]
    assert voxels.dtype == np.float32
    assert np.array_equal(voxels, made.voxels)
    assert np.allclose(affine, made.affine_lps, atol=1e-5)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    orientation=st.sampled_from([AXIAL, CORONAL, SAGITTAL, OBLIQUE]),
    flips=st.tuples(st.sampled_from([1, -1]), st.sampled_from([1, -1])),
    slices=st.integers(2, 9),
    spacing_mm=st.tuples(st.floats(0.5, 8), st.floats(0.2, 3), st.floats(0.2, 3)),
    is_signed=st.booleans(),
    slope=st.sampled_from([1.0, 2.0, 0.5]),
    seed=st.integers(0, 1000),
)
def test_a_made_series_in_any_order_comes_back_voxel_by_voxel_and_affine_by_affine(
    *,
    orientation: tuple[float, ...],
    flips: tuple[int, int],
    slices: int,
    spacing_mm: tuple[float, float, float],
    is_signed: bool,
    slope: float,
    seed: int,
) -> None:
    turned = tuple(flips[axis // 3] * value for axis, value in enumerate(orientation))
    rounded = tuple(round(value, 4) for value in spacing_mm)
    made = make_series(
        Shape(slices=slices, orientation=turned, spacing_mm=rounded, is_signed=is_signed, slope=slope), seed
    )
    reading = read_series(shuffled(made.datasets, seed))
    assert len(reading.volumes) == 1
    assert reading.set_aside == ()
    assert_same(reading.volumes[0], made)
    assert [s.sop_instance_uid for s in reading.volumes[0].sources] == [d.SOPInstanceUID for d in made.datasets]
    assert reading.volumes[0].spacing_mm == pytest.approx(rounded)


def test_slices_are_counted_along_the_normal() -> None:
    for orientation in (AXIAL, CORONAL, SAGITTAL, OBLIQUE):
        affine = read_series(make_series(Shape(orientation=orientation)).datasets).volumes[0].affine_lps
        normal = np.cross(orientation[:3], orientation[3:])
        assert float(affine[:3, 0] @ normal) > 0


def test_the_header_is_the_first_slice_without_its_pixels() -> None:
    made = make_series()
    header = read_series(shuffled(made.datasets)).volumes[0].header
    assert header.SOPInstanceUID == made.datasets[0].SOPInstanceUID
    assert "PixelData" not in header
    assert "PixelData" in made.datasets[0]
    assert header.Modality == "CT"


def test_data_sets_that_were_already_parsed_read_the_same_as_raw_ones() -> None:
    made = make_series()
    for dataset in made.datasets:
        list(dataset)
    assert_same(read_series(made.datasets).volumes[0], made)


def test_an_empty_series_is_no_volume() -> None:
    with pytest.raises(NotAVolume, match="no instance"):
        read_series([])


def test_a_missing_image_is_named_by_its_place() -> None:
    made = make_series(Shape(slices=6, spacing_mm=(5, 1, 1), origin_lps=(0, 0, -130)))
    del made.datasets[3]
    with pytest.raises(NotAVolume, match=r"no image between z=-120.0 and -110.0 mm \(spacing 5.00 mm\)"):
        read_series(shuffled(made.datasets))


def test_the_same_instance_twice_counts_once() -> None:
    made = make_series()
    reading = read_series([*made.datasets, deepcopy(made.datasets[2])])
    assert_same(reading.volumes[0], made)
    assert [(a.sop_instance_uid, a.reason) for a in reading.set_aside] == [
        (made.datasets[2].SOPInstanceUID, "the same instance occurs twice")
    ]


def test_one_uid_with_two_contents_is_refused() -> None:
    made = make_series()
    changed = other_pixels(made.datasets[2:3], 9)
    with pytest.raises(NotAVolume, match=r"one SOP Instance UID.*PixelData differ"):
        read_series([*made.datasets, *changed])


def test_the_same_picture_sent_under_another_uid_is_set_aside() -> None:
    made = make_series()
    again = renamed(made.datasets[1:3], "9", InstanceNumber=90)
    reading = read_series([*again, *made.datasets])
    assert_same(reading.volumes[0], made)
    assert {a.sop_instance_uid for a in reading.set_aside} == {d.SOPInstanceUID for d in again}
    assert {a.reason for a in reading.set_aside} == {"the same picture as another image at its position"}


def test_different_pictures_at_one_position_that_nothing_tells_apart_are_refused() -> None:
    made = make_series()
    other = renamed(other_pixels(made.datasets[1:2], 5), "9", InstanceNumber=90)
    with pytest.raises(NotAVolume, match=r"2 different images lie at z=-27.5 mm, and no attribute tells"):
        read_series([*made.datasets, *other])


def test_localizers_among_the_images_are_set_aside() -> None:
    made = make_series()
    scout = renamed(
        made.datasets[:1], "8", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], ImageOrientationPatient=list(CORONAL)
    )
    reading = read_series([*scout, *made.datasets])
    assert_same(reading.volumes[0], made)
    assert reading.set_aside[0].reason == "localizer (value 3 of Image Type)"


def test_a_series_of_localizers_alone_is_no_volume() -> None:
    scouts = renamed(make_series().datasets, "8", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    with pytest.raises(NotAVolume, match=r"localizer \(value 3 of Image Type\) \(all 5 images\)"):
        read_series(scouts)


@pytest.mark.parametrize(
    "changes",
    [
        {"ImageOrientationPatient": list(CORONAL)},
        {"PixelSpacing": [0.9, 0.9]},
        {"Rows": 7, "Columns": 6},
        {"FrameOfReferenceUID": "1.2.3"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_lone_image_on_another_grid_is_set_aside(changes: dict[str, object]) -> None:
    made = make_series()
    reading = read_series([*made.datasets, *renamed(made.datasets[:1], "7", **changes)])
    assert len(reading.volumes) == 1
    assert_same(reading.volumes[0], made)
    assert "a lone image" in reading.set_aside[0].reason


def test_an_image_without_a_place_is_set_aside_by_what_it_lacks() -> None:
    made = make_series()
    (stray,) = renamed(made.datasets[:1], "7")
    del stray.ImagePositionPatient
    reading = read_series([stray, *made.datasets])
    assert_same(reading.volumes[0], made)
    assert reading.set_aside[0].reason == "it has no usable Image Position (Patient)"


def test_two_orientations_with_several_images_each_are_two_volumes_the_larger_first() -> None:
    axial, coronal = make_series(Shape(slices=3)), make_series(Shape(slices=6, orientation=CORONAL), seed=2)
    for dataset in coronal.datasets:
        dataset.FrameOfReferenceUID = axial.datasets[0].FrameOfReferenceUID
    reading = read_series(shuffled(axial.datasets + coronal.datasets))
    assert_same(reading.volumes[0], coronal)
    assert_same(reading.volumes[1], axial)


SPLITS: list[tuple[str, list[object]]] = [
    ("TemporalPositionIdentifier", [1, 2, 10]),
    ("AcquisitionNumber", [1, 2, 3]),
    ("EchoTime", [4.9, 10.2, 100.1]),
    ("DiffusionBValue", [0.0, 500.0, 1000.0]),
    ("TriggerTime", [0, 120, 1000]),
    ("ContentTime", ["101500", "101502", "101504"]),
    ("ImageType", [["ORIGINAL", "PRIMARY", kind] for kind in ("I", "M", "P")]),
]


@pytest.mark.parametrize(("keyword", "values"), SPLITS, ids=[keyword for keyword, _ in SPLITS])
def test_a_series_of_several_volumes_is_split_by_the_attribute_that_varies(keyword: str, values: list[object]) -> None:
    made = [make_series(seed=seed) for seed in (0, 1, 2)]
    parts = [
        renamed(one.datasets, str(rank), **{keyword: value, "FrameOfReferenceUID": "1.2.3"})
        for rank, (one, value) in enumerate(zip(made, values, strict=True))
    ]
    reading = read_series(shuffled([d for part in parts for d in part]))
    assert reading.set_aside == ()
    wanted = ["\\".join(value) if isinstance(value, list) else str(value) for value in values]
    splits = [volume.split_by[0] for volume in reading.volumes]
    assert [name for name, _ in splits] == [keyword] * 3
    assert [value.removesuffix(".0") for _, value in splits] == [value.removesuffix(".0") for value in wanted]
    for volume, one in zip(reading.volumes, made, strict=True):
        assert_same(volume, one)


def test_two_attributes_together_split_a_series() -> None:
    made = [make_series(seed=seed) for seed in range(4)]
    parts = [
        renamed(
            one.datasets,
            str(rank),
            EchoTime=[5, 10][rank % 2],
            FlipAngle=[15, 30][rank // 2],
            FrameOfReferenceUID="1.2",
        )
        for rank, one in enumerate(made)
    ]
    reading = read_series(shuffled([d for part in parts for d in part]))
    splits = [{name: float(value) for name, value in volume.split_by} for volume in reading.volumes]
    assert splits == [
        {"EchoTime": 5, "FlipAngle": 15},
        {"EchoTime": 5, "FlipAngle": 30},
        {"EchoTime": 10, "FlipAngle": 15},
        {"EchoTime": 10, "FlipAngle": 30},
    ]
    assert_same(reading.volumes[1], made[2])


@pytest.mark.parametrize("interleaved", [False, True])
def test_time_points_known_by_instance_number_alone_are_split_in_that_order(interleaved: bool) -> None:
    made = [make_series(seed=seed) for seed in range(3)]
    parts = [renamed(one.datasets, str(rank), FrameOfReferenceUID="1.2") for rank, one in enumerate(made)]
    for rank, part in enumerate(parts):
        for index, dataset in enumerate(part):
            dataset.InstanceNumber = 3 * index + rank + 1 if interleaved else 5 * rank + index + 1
    reading = read_series(shuffled([d for part in parts for d in part]))
    for volume, one in zip(reading.volumes, made, strict=True):
        assert_same(volume, one)
        assert volume.split_by[0][0] == "order of InstanceNumber"


def test_a_time_point_that_was_broken_off_is_set_aside_when_it_has_a_gap() -> None:
    made = [make_series(seed=seed) for seed in range(3)]
    parts = [
        renamed(one.datasets, str(rank), AcquisitionNumber=rank, FrameOfReferenceUID="1.2")
        for rank, one in enumerate(made)
    ]
    del parts[2][2]
    reading = read_series(shuffled([d for part in parts for d in part]))
    assert len(reading.volumes) == 2
    assert_same(reading.volumes[1], made[1])
    assert len(reading.set_aside) == 4
    assert {a.reason for a in reading.set_aside} == {"no image between z=-27.5 and -22.5 mm (spacing 2.50 mm)"}


def test_an_enhanced_multi_frame_instance_in_any_frame_order_reads_as_its_single_frames() -> None:
    made = make_series(Shape(slope=0.5))
    whole = as_multi_frame(shuffled(made.datasets))
    volume = read_series([whole]).volumes[0]
    assert_same(volume, made)
    wanted = [1 + shuffled(range(5)).index(index) for index in range(5)]  # type: ignore[arg-type]
    assert [source.frame_number for source in volume.sources] == wanted
    assert {source.sop_instance_uid for source in volume.sources} == {whole.SOPInstanceUID}


def test_frames_of_one_multi_frame_instance_are_split_by_their_temporal_position() -> None:
    first, second = make_series(seed=0), make_series(seed=1)
    frames = first.datasets + second.datasets
    whole = as_multi_frame(frames, TemporalPositionIndex=[1] * 5 + [2] * 5)
    reading = read_series([whole])
    assert [volume.split_by for volume in reading.volumes] == [
        (("TemporalPositionIndex", "1"),),
        (("TemporalPositionIndex", "2"),),
    ]
    assert_same(reading.volumes[0], first)
    assert_same(reading.volumes[1], second)


def test_multi_frame_instances_that_hold_a_volume_each_are_volumes_each() -> None:
    first, second = make_series(seed=0), make_series(seed=1)
    for dataset in second.datasets:
        dataset.FrameOfReferenceUID = first.datasets[0].FrameOfReferenceUID
    reading = read_series([as_multi_frame(second.datasets), as_multi_frame(first.datasets)])
    assert len(reading.volumes) == 2
    assert {volume.split_by[0][0] for volume in reading.volumes} == {"SOPInstanceUID"}


def test_frames_without_functional_groups_have_no_known_places() -> None:
    whole = as_multi_frame(make_series().datasets)
    del whole.PerFrameFunctionalGroupsSequence
    with pytest.raises(NotAVolume, match="5 frames without functional groups"):
        read_series([whole])


def leaning(degrees: float = 15.0, slices: int = 8) -> MadeSeries:
    return make_series(
        Shape(slices=slices, rows=40, columns=20, spacing_mm=(3, 0.8, 0.7), lean_mm=3 * np.tan(np.radians(degrees)))
    )


def test_gantry_tilt_is_refused_with_its_angle() -> None:
    with pytest.raises(NotAVolume, match=r"leans 15.0 degrees"):
        read_series(leaning().datasets)


def test_a_tilted_stack_may_be_kept_with_its_exact_sheared_affine() -> None:
    made = leaning()
    volume = read_series(shuffled(made.datasets), tilt="keep").volumes[0]
    assert_same(volume, made)
    assert volume.gantry_tilt_deg == pytest.approx(15, abs=0.01)
    assert volume.voxel_volume_ml == pytest.approx(3 * 0.8 * 0.7 / 1000)


def smooth(position_lps: np.ndarray) -> np.ndarray:
    """A field without curvature: linear interpolation must reproduce it everywhere."""
    return np.asarray(500 + 7 * position_lps[0] - 4 * position_lps[1] + 3 * position_lps[2])


def with_field(made: MadeSeries) -> list[Dataset]:
    """The series with pixels that sample `smooth` at their places, to 1/16 of a unit."""
    for index, dataset in enumerate(made.datasets):
        rows, columns = np.mgrid[: dataset.Rows, : dataset.Columns]
        grid = np.stack([np.full(rows.shape, index), rows, columns, np.ones(rows.shape)])
        at = np.tensordot(made.affine_lps, grid, 1)
        at[2] = float(dataset.ImagePositionPatient[2])
        dataset.PixelData = np.rint((smooth(at[:3]) + 1024) * 16).astype("<u2").tobytes()
        dataset.BitsStored, dataset.HighBit = 16, 15
        dataset.RescaleSlope = 0.0625
    return [received(dataset) for dataset in made.datasets]


def test_a_resampled_tilted_stack_has_the_values_of_the_places_it_claims() -> None:
    made = leaning()
    volume = read_series(shuffled(with_field(made)), tilt="resample").volumes[0]
    columns = volume.affine_lps[:3, :3]
    assert np.allclose(columns.T @ columns, np.diag(np.square(volume.spacing_mm)), atol=1e-6)
    assert volume.spacing_mm == pytest.approx((3, 0.8, 0.7))
    grid = np.stack([*np.indices(volume.voxels.shape), np.ones(volume.voxels.shape)])
    wanted = smooth(np.tensordot(volume.affine_lps, grid, 1))
    known = volume.voxels != volume.voxels.min()
    assert known.sum() > 0.95 * made.voxels.size
    off = np.abs(volume.voxels - wanted)[known]
    assert off.max() < 4 * 0.8 / 2 + 0.1, "an outermost pixel stands for half a pixel beyond its centre"
    assert np.mean(off > 0.1) < 0.05
    assert [s.sop_instance_uid for s in volume.sources] == [d.SOPInstanceUID for d in made.datasets]


def test_a_mask_on_a_resampled_volume_goes_back_to_the_acquired_planes() -> None:
    made = leaning()
    volume = read_series(with_field(made), tilt="resample").volumes[0]
    middle = smooth(np.array([-5.0, 0.0, -20.0]))
    back = mask_on_acquired(volume.voxels > middle, volume)
    acquired = read_series(with_field(made), tilt="keep").volumes[0]
    assert back.shape == acquired.voxels.shape
    wrong = back != (acquired.voxels > middle)
    assert np.abs(acquired.voxels[wrong] - middle).max(initial=0) < 4 * 0.8
    assert wrong.mean() < 0.02
    assert 0.1 < back.mean() < 0.9


def test_a_mask_on_a_volume_that_was_not_resampled_stays_as_it_is() -> None:
    volume = read_series(make_series().datasets).volumes[0]
    mask = volume.voxels > 1000
    assert mask_on_acquired(mask, volume) is mask


def uneven(places_mm: Sequence[float]) -> list[Dataset]:
    made = make_series(Shape(slices=len(places_mm), rows=12, columns=10))
    for dataset, z_mm in zip(made.datasets, places_mm, strict=True):
        dataset.ImagePositionPatient = [-10, -20, z_mm]
    return with_field(made)


UNEVEN_MM = (0.0, 2.0, 4.0, 7.5, 11.0, 14.7, 20.0)


def test_uneven_spacing_is_refused_with_its_range() -> None:
    with pytest.raises(NotAVolume, match=r"spacing varies from 2.00 to 5.30 mm"):
        read_series(uneven(UNEVEN_MM))


def test_uneven_spacing_may_be_made_even() -> None:
    volume = read_series(shuffled(uneven(UNEVEN_MM)), spacing="resample").volumes[0]
    assert volume.spacing_mm[0] == pytest.approx(2.0)
    assert volume.voxels.shape == (11, 12, 10)
    grid = np.stack([*np.indices(volume.voxels.shape), np.ones(volume.voxels.shape)])
    assert np.abs(volume.voxels - smooth(np.tensordot(volume.affine_lps, grid, 1))).max() < 0.1
    assert len(volume.sources) == 11
    back = mask_on_acquired(np.ones(volume.voxels.shape, bool), volume)
    assert back.shape == (7, 12, 10)
    assert back.all()


def test_missing_images_are_not_made_up_by_resampling() -> None:
    made = make_series(Shape(slices=6))
    del made.datasets[3]
    with pytest.raises(NotAVolume, match="no image between"):
        read_series(made.datasets, spacing="resample")


def test_a_lone_image_is_a_volume_as_thick_as_it_says() -> None:
    made = make_series(Shape(slices=1))
    volume = read_series(made.datasets).volumes[0]
    assert_same(volume, made)
    assert volume.spacing_mm[0] == pytest.approx(2.5)


def test_a_lone_image_that_does_not_say_how_thick_it_is_is_refused() -> None:
    (dataset,) = make_series(Shape(slices=1)).datasets
    del dataset.SliceThickness
    with pytest.raises(NotAVolume, match="how thick"):
        read_series([dataset])


def test_images_in_planes_that_are_not_parallel_are_no_volume() -> None:
    datasets = [
        renamed(make_series().datasets[:1], str(rank), ImageOrientationPatient=list(orientation))[0]
        for rank, orientation in enumerate((AXIAL, CORONAL, SAGITTAL))
    ]
    with pytest.raises(NotAVolume, match="3 images lie in 3 planes that are not parallel"):
        read_series(datasets)


def test_projections_from_all_around_are_no_volume() -> None:
    datasets = make_series(Shape(slices=120, rows=2, columns=2)).datasets
    for index, dataset in enumerate(datasets):
        angle = index * np.pi / 60
        dataset.ImageOrientationPatient = [round(np.cos(angle), 6), round(np.sin(angle), 6), 0, 0, 0, -1]
    with pytest.raises(NotAVolume, match="more than 100 different planes"):
        read_series(datasets)


@pytest.mark.parametrize(
    ("uid", "reason"),
    [
        ("1.2.840.10008.5.1.4.1.1.66.4", "Segmentation"),
        ("1.2.840.10008.5.1.4.1.1.66.7", "Label Map"),
        ("1.2.840.10008.5.1.4.1.1.30", "Parametric Map"),
    ],
)
def test_results_are_no_images(uid: str, reason: str) -> None:
    dataset = make_series(Shape(slices=1)).datasets[0]
    dataset.SOPClassUID = uid
    with pytest.raises(NotAVolume, match=reason):
        read_series([dataset])


@pytest.mark.parametrize("threads", [1, 4])
def test_the_number_of_threads_changes_nothing(threads: int) -> None:
    made = make_series(Shape(slices=20))
    assert_same(read_series(made.datasets, threads=threads).volumes[0], made)


def test_data_sets_are_left_as_they_were() -> None:
    made = make_series()
    before = [deepcopy(dataset) for dataset in made.datasets]
    read_series(made.datasets)
    assert made.datasets == before


Breakage = Callable[[Dataset], object]


@pytest.mark.parametrize(
    "break_it",
    [
        lambda d: setattr(d, "ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        lambda d: setattr(d, "ImageOrientationPatient", [0, 0, 0, 0, 0, 0]),
        lambda d: setattr(d, "PixelSpacing", [0, 0]),
        lambda d: setattr(d, "PixelSpacing", [-1, 1]),
        lambda d: setattr(d, "ImagePositionPatient", [1, 2]),
        lambda d: delattr(d, "PhotometricInterpretation"),
        lambda d: setattr(d, "NumberOfFrames", 3),
        lambda d: setattr(d, "PixelData", b""),
    ],
)
def test_whatever_is_broken_the_refusal_is_not_a_volume(break_it: Breakage) -> None:
    made = make_series()
    for dataset in made.datasets:
        break_it(dataset)
    with pytest.raises(NotAVolume):
        read_series(made.datasets)
