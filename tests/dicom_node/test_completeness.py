"""When a series counts as whole, and what the evidence says."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.completeness import Contribution, Facts, Verdict, judge

SETTLE_S, QUIET_S = 2.0, 60.0
AXIAL = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def image(number: int, z_mm: float, **more: Any) -> dict[str, Any]:
    return {
        "InstanceNumber": number,
        "ImageOrientationPatient": AXIAL,
        "ImagePositionPatient": [-100.0, -100.0, z_mm],
        **more,
    }


def stack(count: int, spacing_mm: float = 5.0) -> list[dict[str, Any]]:
    return [image(number + 1, number * spacing_mm) for number in range(count)]


RELEASED = Contribution("CT1", "released", opened_at=0.0, instances=10)


def verdict_after(
    quiet_s: float, instances: list[dict[str, Any]], contributions: tuple[Contribution, ...] = (RELEASED,)
) -> Verdict:
    facts = Facts(instances, contributions, last_received_at=1000.0)
    return judge(facts, settle_s=SETTLE_S, quiet_s=QUIET_S, now=1000.0 + quiet_s)


def test_a_released_stack_that_closes_is_whole_once_it_settled() -> None:
    assert not verdict_after(1.9, stack(10)).whole
    settled = verdict_after(2.0, stack(10))
    assert settled.whole
    assert settled.evidence == (
        "association from CT1 was released",
        "geometry closes: 10 positions every 5.00 mm, instance numbers contiguous",
        "quiet for 2 s",
    )


def test_the_verdict_says_until_when_only_a_new_fact_can_change_it() -> None:
    assert verdict_after(0.5, stack(10)).until == 1000.0 + SETTLE_S
    assert verdict_after(0.5, stack(10)[:2]).until == 1000.0 + QUIET_S


@pytest.mark.parametrize("ending", [None, "aborted", "lost"])
def test_an_association_that_was_not_released_is_no_evidence(ending: Any) -> None:
    contributions = (Contribution("CT1", ending, opened_at=0.0, instances=10),)
    assert not verdict_after(59.9, stack(10), contributions).whole
    assert verdict_after(60.0, stack(10), contributions).whole


def test_an_open_association_outweighs_one_that_was_released_later() -> None:
    contributions = (Contribution("CT1", None, 0.0, 4), Contribution("CT1", "released", 5.0, 6))
    verdict = verdict_after(10.0, stack(10), contributions)
    assert not verdict.whole
    assert verdict.evidence[0] == "association from CT1 is still open"


def test_an_aborted_association_is_made_good_by_a_later_one_that_was_released() -> None:
    contributions = (Contribution("CT1", "aborted", 0.0, 4), Contribution("CT1", "released", 5.0, 10))
    assert verdict_after(2.0, stack(10), contributions).whole


def test_an_aborted_last_association_leaves_the_series_open_whatever_was_released_before() -> None:
    contributions = (Contribution("CT1", "aborted", 5.0, 4), Contribution("CT1", "released", 0.0, 6))
    assert not verdict_after(30.0, stack(10), contributions).whole


@pytest.mark.parametrize(
    ("instances", "reason"),
    [
        ([*stack(10)[:4], *stack(10)[5:]], "no image between"),
        ([*stack(10), image(11, 20.0)], "more images than others"),
        ([image(n, z) for n, z in zip([1, 2, 3, 5], [0.0, 5.0, 10.0, 15.0], strict=True)], "1 instance numbers"),
        ([*stack(5), image(6, 25.0, InstanceNumber=None)], "no instance number"),
        (stack(2), "too few"),
        ([{"Modality": "CR", "InstanceNumber": 1}], "without a common geometry"),
    ],
)
def test_a_geometry_that_does_not_close_waits_for_quiet(instances: list[dict[str, Any]], reason: str) -> None:
    waiting = verdict_after(30.0, instances)
    assert not waiting.whole
    assert reason in waiting.evidence[1]
    assert verdict_after(60.0, instances).whole


def test_every_position_of_a_4d_series_must_have_as_many_images() -> None:
    phases = [image(10 * phase + n + 1, 5.0 * n) for phase in range(3) for n in range(10)]
    assert "10 positions x 3" in verdict_after(2.0, phases).evidence[1]
    assert verdict_after(2.0, phases).whole
    assert not verdict_after(2.0, phases[:-1]).whole


def test_a_multi_frame_instance_is_its_series() -> None:
    verdict = verdict_after(2.0, [{"NumberOfFrames": 120}])
    assert verdict.whole
    assert "120 frames" in verdict.evidence[1]


@given(seed=st.integers(0, 1000), count=st.integers(3, 40), spacing_mm=st.floats(0.3, 10.0))
def test_the_order_of_arrival_does_not_matter(seed: int, count: int, spacing_mm: float) -> None:
    shuffled = stack(count, spacing_mm)
    random.Random(seed).shuffle(shuffled)
    assert verdict_after(2.0, shuffled).whole


@given(count=st.integers(4, 40), data=st.data())
def test_a_stack_with_one_image_missing_inside_never_closes(count: int, data: st.DataObject) -> None:
    missing = data.draw(st.integers(1, count - 2))
    left = stack(count)[:missing] + stack(count)[missing + 1 :]
    assert not verdict_after(2.0, left).whole
