from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.breaker import Breaker

# A step: seconds that pass, then whether a delivery that is tried succeeds.
steps = st.lists(st.tuples(st.floats(0, 200), st.booleans()), max_size=60)


def test_it_opens_after_as_many_failures_in_a_row_as_were_set_and_not_before() -> None:
    breaker = Breaker(failures=3, pause_s=60)
    for _ in range(2):
        breaker = breaker.failed(0)
        assert breaker.state(0) == "closed"
    assert breaker.failed(0).state(0) == "open"


def test_a_success_in_between_starts_the_count_anew() -> None:
    breaker = Breaker(failures=2, pause_s=60).failed(0).succeeded().failed(0)
    assert breaker.state(0) == "closed"


def test_after_the_pause_one_trial_decides() -> None:
    opened = Breaker(failures=1, pause_s=60).failed(100)
    assert [opened.state(now) for now in (100, 159.9, 160)] == ["open", "open", "half-open"]
    assert opened.succeeded().state(160) == "closed"
    again = opened.failed(160)
    assert [again.state(now) for now in (160, 219.9, 220)] == ["open", "open", "half-open"]


@pytest.mark.parametrize(("failures", "pause_s"), [(0, 60.0), (-1, 60.0), (1, 0.0)])
def test_a_breaker_that_could_never_close_or_open_is_refused(failures: int, pause_s: float) -> None:
    with pytest.raises(ValueError, match="breaker needs"):
        Breaker(failures=failures, pause_s=pause_s)


@given(st.integers(1, 6), st.floats(0.1, 100), steps)
def test_a_dead_destination_is_tried_once_a_pause_and_a_living_one_always(
    failures: int, pause_s: float, taken: list[tuple[float, bool]]
) -> None:
    breaker, now = Breaker(failures, pause_s), 0.0
    failed_in_a_row, last_failure = 0, 0.0
    for passed, succeeds in taken:
        now += passed
        state = breaker.state(now)
        # What the words mean, said without the machine's own fields.
        if failed_in_a_row < failures:
            assert state == "closed"
        else:
            assert (state == "half-open") == (now >= last_failure + pause_s)
        if state == "open":
            continue
        if succeeds:
            breaker, failed_in_a_row = breaker.succeeded(), 0
        else:
            breaker, failed_in_a_row, last_failure = breaker.failed(now), failed_in_a_row + 1, now


@given(st.integers(1, 6), st.floats(0.1, 100), steps)
def test_it_never_stays_open_for_longer_than_its_pause(
    failures: int, pause_s: float, taken: list[tuple[float, bool]]
) -> None:
    breaker, now = Breaker(failures, pause_s), 0.0
    for passed, succeeds in taken:
        now += passed
        if breaker.state(now) != "open":
            breaker = breaker.succeeded() if succeeds else breaker.failed(now)
        assert breaker.state(now + pause_s * 1.0001 + 1e-6) != "open"
