"""What the headers of a series say of its size, what that proves, and what it only makes likely."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_node.arrival_facts import Image
from dicom_node.evidence_images import Images, in_images
from tests.dicom_node.arrived import SAGITTAL, facts, image, plain, stack, verdict_after


def told(images: list[Image], **more: Any) -> Images:
    return in_images(facts(images, **more))


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ([*stack(10)[:4], *stack(10)[5:]], "no image between"),
        ([*stack(10), image(11, 20.0)], "more images than others"),
        ([image(n, z) for n, z in zip([1, 2, 3, 5], [0.0, 5.0, 10.0, 15.0], strict=True)], "1 instance numbers"),
        ([*stack(5), image(6, 25.0, InstanceNumber=None)], "no instance number"),
    ],
)
def test_a_geometry_with_holes_waits_for_quiet(images: list[Image], reason: str) -> None:
    found = told(images)
    assert (found.is_closed, found.is_short) == (False, True)
    assert reason in found.words[-1]
    assert verdict_after(59.9, images).state == "not_yet"
    assert verdict_after(60.0, images).whole


@pytest.mark.parametrize(
    ("images", "reason"),
    [(stack(2), "too few"), (plain(1, Modality="CR"), "without a common geometry")],
)
def test_what_has_no_geometry_is_neither_closed_nor_short(images: list[Image], reason: str) -> None:
    found = told(images)
    assert (found.is_closed, found.is_short) == (False, False)
    assert reason in found.words[-1]


def test_a_localizer_in_the_same_series_does_not_open_the_stack_that_closes() -> None:
    localizer = [image(1, 0.0, ImageOrientationPatient=SAGITTAL), image(2, 5.0, ImageOrientationPatient=SAGITTAL)]
    axial = [image(number, 5.0 * number) for number in range(3, 13)]
    found = told([*localizer, *axial])
    assert found.is_closed
    assert found.words[-1].endswith("instance numbers contiguous, 2 images beside")


def test_two_stacks_in_one_series_must_both_close() -> None:
    sagittal = [
        image(n, None, ImageOrientationPatient=SAGITTAL, ImagePositionPatient=[3.0 * n, 0, 0]) for n in range(11, 21)
    ]
    assert told([*stack(10), *sagittal]).is_closed
    assert not told([*stack(10), *sagittal[:4], *sagittal[5:]]).is_closed


def test_images_in_many_directions_have_no_common_geometry() -> None:
    turned = [
        image(n, 0.0, ImageOrientationPatient=[1.0, 0.0, 0.0, 0.0, *direction])
        for n, direction in enumerate(
            [(1.0, 0.0), (0.99, 0.14), (0.96, 0.28), (0.8, 0.6), (0.6, 0.8), (0.28, 0.96), (0, 1)]
        )
    ]
    assert told(turned).words == ("7 instances without a common geometry",)


def test_every_position_of_a_4d_series_must_have_as_many_images() -> None:
    phases = [image(10 * phase + n + 1, 5.0 * n) for phase in range(3) for n in range(10)]
    assert "10 positions x 3" in told(phases).words[-1]
    assert told(phases).is_closed
    assert not told(phases[:-1]).is_closed


def test_an_enhanced_multi_frame_instance_is_its_series() -> None:
    enhanced = plain(1, NumberOfFrames=120, frames={"orientations": [], "positions": []})
    assert told(enhanced).is_closed
    assert "120 frames" in told(enhanced).words[0]


def test_a_clip_is_not_its_series_since_others_may_follow() -> None:
    assert not told(plain(1, NumberOfFrames=120, Modality="US")).is_closed


def test_a_multi_frame_object_that_was_cut_is_closed_when_all_parts_came() -> None:
    parts = plain(3, InConcatenationTotalNumber=3, NumberOfFrames=40, frames={"orientations": [], "positions": []})
    assert told(parts).is_closed
    assert told(parts).expected == 3
    first = told(parts[:1])
    assert (first.is_closed, first.is_short) == (False, True)
    assert first.words[0] == "1 of 3 parts of a concatenation"


def test_a_number_of_series_related_instances_is_evidence_where_nothing_else_is() -> None:
    numbered = plain(5, NumberOfSeriesRelatedInstances=5)
    assert told(numbered).is_closed
    assert told(numbered).expected == 5
    assert verdict_after(2.0, numbered).whole
    short = told(numbered[:4])
    assert (short.is_closed, short.is_short) == (False, True)
    assert short.words[0] == "4 of 5 by Number of Series Related Instances"


def test_that_number_outweighs_a_geometry_that_closes_over_what_came_so_far() -> None:
    assert verdict_after(3.0, stack(10, NumberOfSeriesRelatedInstances=20)).state == "not_yet"


def test_a_number_that_grows_with_the_images_says_nothing() -> None:
    growing = [image(n, None, NumberOfSeriesRelatedInstances=n) for n in range(1, 6)]
    assert told(growing).words == ("5 instances without a common geometry",)


def test_a_number_smaller_than_what_came_says_nothing() -> None:
    assert told(plain(5, NumberOfSeriesRelatedInstances=4)).expected is None


def test_a_number_of_study_related_instances_is_held_against_the_study() -> None:
    images = plain(5, NumberOfStudyRelatedInstances=25)
    assert told(images, study_instance_count=25).is_closed
    assert not told(images, study_instance_count=24).is_closed
    assert not told(images, study_instance_count=24).is_short
    assert not told(images).is_closed


def test_images_in_acquisition_count_the_images_of_their_acquisition_number() -> None:
    two = [
        *plain(3, AcquisitionNumber=1, ImagesInAcquisition=3),
        *[image(n, None, AcquisitionNumber=2, ImagesInAcquisition=2) for n in (4, 5)],
    ]
    assert told(two).is_closed
    assert told(two).words[0] == "5 of 5 by Images in Acquisition of 2 acquisitions"
    assert told(two[:-1]).is_short


def test_images_in_acquisition_that_do_not_fit_the_acquisition_number_say_nothing() -> None:
    for images in (
        plain(5, ImagesInAcquisition=5),
        plain(5, AcquisitionNumber=1, ImagesInAcquisition=3),
        [*plain(2, AcquisitionNumber=1, ImagesInAcquisition=3), image(3, None, AcquisitionNumber=1)],
    ):
        assert told(images).words == (f"{len(images)} instances without a common geometry",)


def test_an_acquisition_of_more_images_than_the_series_holds_costs_a_longer_wait() -> None:
    assert verdict_after(3.0, stack(10, AcquisitionNumber=1, ImagesInAcquisition=20)).state == "not_yet"
    assert verdict_after(60.0, stack(10, AcquisitionNumber=1, ImagesInAcquisition=20)).whole


@pytest.mark.parametrize("keyword", ["TemporalPositionIdentifier", "TemporalPositionIndex"])
def test_temporal_positions_must_all_be_there_with_as_many_images(keyword: str) -> None:
    images = [
        image(10 * phase + n + 1, 5.0 * n, NumberOfTemporalPositions=3, **{keyword: phase + 1})
        for phase in range(3)
        for n in range(10)
    ]
    assert told(images).is_closed
    assert told(images).words[0] == "3 of 3 temporal positions with 10 images each"
    first_phases = told(images[:20])
    assert (first_phases.is_closed, first_phases.is_short) == (False, True)
    assert first_phases.words[0] == "2 of 3 temporal positions came"
    assert not told(images[:-1]).is_closed


def test_temporal_positions_that_are_not_numbered_say_nothing() -> None:
    assert told(stack(10, NumberOfTemporalPositions=3)).is_closed
