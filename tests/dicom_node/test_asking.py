"""When a peer is asked again, and what its answer is worth."""

from __future__ import annotations

from itertools import pairwise

import pytest

from dicom_node.asking import LEAST_S, WAITS_S, Asking, answered, begun, is_due, noticed, worth
from dicom_node.config_sources import Find
from storage.records.arriving import Ended
from storage.records.received import Series

PLACE = {"ae_title": "PACS1", "address": "127.0.0.1", "port": 104}
WHOLE = Find.model_validate(PLACE | {"has_whole_series": True})
PARALLEL = Find.model_validate(PLACE | {"stable_s": 5, "for_s": 600})


def ended(instance_count: int = 410, at: float = 1000.0) -> Ended:
    series = Series(1, "1.2.3.1", "1.2.3", "arriving", 1, instance_count, 900.0, at, None)
    return Ended(series, "CT1", at)


def told(known: Asking, count: int | None, now: float, find: Find = WHOLE) -> Asking:
    return answered(known, count, find, now, jitter=0.5)


def test_it_is_asked_at_once_when_an_association_has_ended() -> None:
    assert is_due(begun(ended()), WHOLE, 1000.0)


def test_while_the_count_does_not_agree_it_is_asked_again_ever_more_seldom_until_the_limit() -> None:
    known, now, asked_at = begun(ended()), 1000.0, [1000.0]
    while True:
        known = told(known, 412, now)
        assert not is_due(known, PARALLEL, known.next_at - 0.01)
        now = known.next_at
        if not is_due(known, PARALLEL, now):
            break
        asked_at.append(now)
    waits = [round(later - earlier, 3) for earlier, later in pairwise(asked_at)]
    assert waits[: len(WAITS_S)] == list(WAITS_S)
    assert set(waits[len(WAITS_S) :]) == {60.0}
    assert asked_at[-1] < 1000.0 + PARALLEL.for_s <= now


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_waits_differ_by_chance_and_by_little(jitter: float) -> None:
    known = answered(begun(ended()), 412, WHOLE, 1000.0, jitter=jitter)
    assert known.next_at == pytest.approx(1000.0 + 0.3 * (0.9 + 0.2 * jitter))


def test_once_the_count_agrees_a_peer_that_has_the_whole_series_is_asked_no_more() -> None:
    known = told(begun(ended(412)), 412, 1000.0)
    assert worth(known, WHOLE, 1000.0) == "completed"
    assert not is_due(known, WHOLE, 1500.0)


def test_a_peer_that_may_be_getting_images_itself_must_say_the_same_again_after_stable_s() -> None:
    known = told(begun(ended(412)), 412, 1000.0, PARALLEL)
    assert (worth(known, PARALLEL, 1000.0), known.next_at) == ("in progress", 1005.0)
    known = told(known, 412, 1005.0, PARALLEL)
    assert worth(known, PARALLEL, 1005.0) == "completed"
    assert not is_due(known, PARALLEL, 1100.0)


def test_an_answer_that_changed_begins_the_time_anew() -> None:
    known = told(begun(ended(412)), 411, 1000.0, PARALLEL)
    known = told(known, 412, 1004.0, PARALLEL)
    assert (worth(known, PARALLEL, 1006.0), known.next_at) == ("in progress", 1009.0)


@pytest.mark.parametrize("find", [WHOLE, PARALLEL])
def test_a_peer_that_has_fewer_than_came_does_not_say_what_there_is(find: Find) -> None:
    known = told(begun(ended(412)), 300, 1000.0, find)
    known = told(known, 300, 1100.0, find)
    assert worth(known, find, 1100.0) == "in progress"
    assert known.next_at < 1110.0


def test_a_peer_that_has_more_than_came_says_what_there_is() -> None:
    known = told(begun(ended(410)), 412, 1000.0)
    assert worth(known, WHOLE, 1000.0) == "completed"


def test_another_association_that_ends_is_an_occasion_to_ask() -> None:
    known = told(begun(ended(200)), 200, 1000.0)
    known = noticed(known, ended(410, at=1030.0))
    assert is_due(known, WHOLE, 1030.0)


def test_associations_that_end_one_upon_the_other_are_no_occasion_each() -> None:
    known = told(begun(ended(1)), 1, 1000.0)
    known = noticed(known, ended(2, at=1000.1))
    assert not is_due(known, WHOLE, 1000.1)
    assert is_due(known, WHOLE, 1000.0 + LEAST_S)


def test_what_comes_of_what_the_peer_has_spoken_of_already_is_no_occasion() -> None:
    known = told(begun(ended(200)), 412, 1000.0)
    later = noticed(known, ended(300, at=1000.1))
    assert later.next_at == known.next_at
    assert later.instance_count == 300


def test_nothing_new_changes_nothing() -> None:
    known = told(begun(ended()), 412, 1000.0)
    assert noticed(known, ended()) is known


def test_a_peer_that_says_nothing_keeps_what_it_said_before() -> None:
    known = told(told(begun(ended(410)), 412, 1000.0), None, 1001.0)
    assert (known.told, known.since, known.asked) == (412, 1000.0, 2)
    assert known.next_at == pytest.approx(1002.0)
