from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.backoff import Backoff

DAY_S = 86400.0
SHIPPED = Backoff(first_s=5, max_s=900, for_s=7 * DAY_S)


def test_the_wait_doubles_up_to_its_bound() -> None:
    waits = [SHIPPED.wait_s(attempts, jitter=0) for attempts in range(1, 12)]
    assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900, 900]


def test_jitter_takes_away_up_to_half() -> None:
    assert SHIPPED.wait_s(3, jitter=1) == 10
    assert SHIPPED.wait_s(3, jitter=0.5) == 15


def test_a_delivery_is_given_up_at_its_age_and_not_before() -> None:
    assert not SHIPPED.is_given_up(queued_at=1000, now=1000 + 7 * DAY_S - 1)
    assert SHIPPED.is_given_up(queued_at=1000, now=1000 + 7 * DAY_S)


@given(
    st.floats(0.01, 3600),
    st.floats(1, 1000),
    st.integers(1, 100_000),
    st.floats(0, 1),
)
def test_no_wait_is_zero_or_beyond_its_bound(first_s: float, factor: float, attempts: int, jitter: float) -> None:
    backoff = Backoff(first_s, first_s * factor, DAY_S)
    wait_s = backoff.wait_s(attempts, jitter=jitter)
    assert first_s / 2 <= wait_s <= backoff.max_s
    assert backoff.wait_s(attempts + 1, jitter=jitter) >= wait_s


@pytest.mark.parametrize("attempts", [64, 65, 1025, 10**6])
def test_many_attempts_do_not_overflow(attempts: int) -> None:
    assert SHIPPED.wait_s(attempts, jitter=0) == 900
