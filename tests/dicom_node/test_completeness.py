"""When a series counts as whole, and what the evidence says."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.arrival_facts import Facts
from dicom_node.completeness import judge
from storage.records.arriving import Elsewhere
from tests.dicom_node.arrived import (
    ABORTED,
    LAST,
    OPEN,
    RELEASED,
    RULES,
    facts,
    habit,
    image,
    plain,
    said,
    stack,
    verdict_after,
)


def test_a_released_stack_that_closes_is_whole_once_it_settled() -> None:
    assert verdict_after(1.9, stack(10)).state == "not_yet"
    settled = verdict_after(2.0, stack(10))
    assert settled.whole
    assert settled.evidence == (
        "association from CT1 was released",
        "geometry closes: 10 positions every 5.00 mm, instance numbers contiguous",
        "quiet for 2 s",
    )


def test_the_verdict_says_until_when_only_a_new_fact_can_change_it() -> None:
    assert verdict_after(0.5, stack(10)).until == LAST + RULES.settle_s
    assert verdict_after(2.5, stack(2)).until == LAST + RULES.quiet_s


@pytest.mark.parametrize("ending", [None, "aborted", "lost"])
def test_an_association_that_was_not_released_is_no_evidence(ending: Any) -> None:
    known = facts(stack(10), replace(RELEASED, ending=ending))
    assert not verdict_after(59.9, known).whole
    assert verdict_after(60.0, known).whole


def test_an_open_association_outweighs_one_that_was_released_later() -> None:
    verdict = verdict_after(10.0, facts(stack(10), OPEN, replace(RELEASED, opened_at=995.0)))
    assert not verdict.whole
    assert verdict.evidence[0] == "association from CT1 is still open"


def test_an_aborted_association_is_made_good_by_a_later_one_that_was_released() -> None:
    assert verdict_after(2.0, facts(stack(10), ABORTED, replace(RELEASED, opened_at=995.0))).whole


def test_an_aborted_last_association_leaves_the_series_open_whatever_was_released_before() -> None:
    assert not verdict_after(30.0, facts(stack(10), replace(ABORTED, opened_at=995.0), RELEASED)).whole


def test_a_series_of_which_no_association_is_known_waits_for_quiet() -> None:
    known = Facts(stack(10), (), LAST)
    assert not verdict_after(59.9, known).whole
    assert verdict_after(60.0, known).whole


@given(seed=st.integers(0, 1000), count=st.integers(3, 40), spacing_mm=st.floats(0.3, 10.0))
def test_the_order_of_arrival_does_not_matter(seed: int, count: int, spacing_mm: float) -> None:
    shuffled = stack(count, spacing_mm)
    random.Random(seed).shuffle(shuffled)
    assert verdict_after(2.0, shuffled) == verdict_after(2.0, stack(count, spacing_mm))


ENDINGS: st.SearchStrategy[Any] = st.sampled_from([None, "released", "aborted", "lost"])


@st.composite
def anything_known(draw: st.DrawFn) -> Facts:
    """Facts of a series as they may come together, sensible or not."""
    count = draw(st.integers(1, 8))
    headers = draw(
        st.sampled_from(
            [
                {},
                {"NumberOfSeriesRelatedInstances": 5},
                {"AcquisitionNumber": 1, "ImagesInAcquisition": 5},
                {"NumberOfTemporalPositions": 2, "TemporalPositionIdentifier": 1},
            ]
        )
    )
    images = draw(st.sampled_from([stack(count, **headers), plain(count, **headers), stack(count)[::2]]))
    contributions = [
        replace(
            RELEASED,
            ending=ending,
            opened_at=900.0 + number,
            closed_at=None if ending is None else LAST + draw(st.floats(0, 20)),
            association_id=f"a{number}",
            refused=draw(st.integers(0, 1)),
            went_on=ending is None and draw(st.booleans()),
        )
        for number, ending in enumerate(draw(st.lists(ENDINGS, max_size=3)))
    ]
    announcements = draw(
        st.lists(
            st.sampled_from(
                [
                    said("mpps", "in progress", series=None),
                    said("mpps", "completed", series=None),
                    said("mpps", "discontinued", series=None),
                    said("mpps", numbers=range(1, 6)),
                    said("mpps", "discontinued", numbers=range(1, 6)),
                    said("ian", numbers=range(1, 4), source="PACS1"),
                    said("c-find", count=5, source="PACS1", at=LAST + 1),
                    said("c-find", count=20, source="PACS2", at=LAST + 30),
                ]
            ),
            max_size=3,
        )
    )
    elsewhere = draw(
        st.lists(
            st.builds(Elsewhere, st.just("b"), st.just("CT1"), st.floats(LAST - 20, LAST), st.booleans()),
            max_size=2,
        )
    )
    pauses = draw(st.lists(st.floats(0, 400), max_size=25))
    return Facts(
        images,
        contributions,
        LAST,
        series_instance_uid="1.2.3.4",
        announcements=announcements,
        elsewhere=elsewhere,
        habit=habit(*pauses),
    )


@given(known=anything_known(), at=st.lists(st.floats(0, 10_000), min_size=2, max_size=6))
def test_with_the_same_facts_time_alone_never_takes_a_verdict_back(known: Facts, at: list[float]) -> None:
    states = [verdict_after(quiet_s, known).state for quiet_s in sorted(at)]
    decided = [state for state in states if state != "not_yet"]
    assert states == ["not_yet"] * (len(states) - len(decided)) + decided
    assert len(set(decided)) <= 1


@given(known=anything_known(), quiet_s=st.floats(0, 5000))
def test_until_the_time_that_it_names_a_verdict_stands(known: Facts, quiet_s: float) -> None:
    verdict = verdict_after(quiet_s, known)
    if verdict.state == "not_yet":
        assert verdict.until is not None
        assert verdict.until > LAST + quiet_s
        just_before = judge(known, RULES, verdict.until - 1e-6)
        assert (just_before.state, just_before.held) == ("not_yet", verdict.held)


@given(known=anything_known(), seed=st.integers(0, 1000))
def test_a_verdict_does_not_depend_on_the_order_of_what_is_known(known: Facts, seed: int) -> None:
    images = list(known.images)
    random.Random(seed).shuffle(images)
    for quiet_s in (0.0, 3.0, 61.0, 2000.0):
        first, other = verdict_after(quiet_s, known), verdict_after(quiet_s, replace(known, images=images))
        assert (first.state, first.until, first.held) == (other.state, other.until, other.held)


@given(known=anything_known())
def test_every_series_comes_to_an_end(known: Facts) -> None:
    assert verdict_after(10 * 24 * 3600, known).state != "not_yet"


@given(count=st.integers(4, 40), data=st.data())
def test_a_stack_with_one_image_missing_inside_never_closes(count: int, data: st.DataObject) -> None:
    missing = data.draw(st.integers(1, count - 2))
    left = stack(count)[:missing] + stack(count)[missing + 1 :]
    assert not verdict_after(2.0, left).whole


def test_what_a_localizer_and_a_report_lack_is_geometry_and_they_wait_for_quiet() -> None:
    for images in ([image(1, 0.0), image(2, 5.0)], plain(1, Modality="SR")):
        assert not verdict_after(59.9, images).whole
        assert verdict_after(60.0, images).whole
