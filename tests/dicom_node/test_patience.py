"""How long attempts may take that wait for each other: long enough for who waits, and never for ever."""

from __future__ import annotations

from dicom_node.patience import Patience

A, B, C, D = ((number, 1) for number in range(1, 5))


def end_of(patience: Patience, key: tuple[int, int], *, between: tuple[int, int] = (0, 10_000)) -> int:
    """The first second at which the attempt is over."""
    return next(second for second in range(*between) if patience.is_over(key, second))


def test_who_waits_for_nobody_has_its_own_time() -> None:
    patience = Patience(0)
    patience.begins(A, 60, 0)
    patience.begins(B, 20, 10)
    assert (end_of(patience, A), end_of(patience, B)) == (60, 30)


def test_each_gets_besides_the_time_of_who_may_compute_before_it_whoever_began_first() -> None:
    patience = Patience(1)
    patience.begins(A, 60, 0)
    assert end_of(patience, A) == 60
    patience.begins(B, 300, 5)  # it may read faster, and have its turn first
    assert (end_of(patience, A), end_of(patience, B)) == (360, 365)


def test_of_many_that_ran_beside_it_only_as_many_count_as_share_its_place() -> None:
    patience = Patience(1)
    patience.begins(A, 60, 0)
    for number, limit in enumerate((100, 300, 200)):
        patience.begins((10 + number, 1), limit, 1)
    assert end_of(patience, A) == 360


def test_once_who_was_waited_for_has_ended_no_more_is_waited_than_from_then_on() -> None:
    patience = Patience(1)
    patience.begins(A, 3600, 0)
    patience.begins(B, 60, 1)
    patience.ends(A, 10)
    assert end_of(patience, B) == 70
    patience.begins(C, 20, 11)  # it cannot be ended before the one that it waits for
    assert (end_of(patience, B), end_of(patience, C)) == (90, 91)


def test_one_that_hangs_ends_however_many_others_come_and_go() -> None:
    patience = Patience(1)
    patience.begins(A, 100, 0)
    for second in range(0, 500, 10):
        patience.begins(B, 30, second)
        patience.ends(B, second + 9)
    assert end_of(patience, A) <= 130


def test_who_was_kept_waiting_by_one_that_hung_gets_its_own_time_after_that() -> None:
    patience = Patience(1)
    patience.begins(A, 30, 0)
    patience.begins(B, 20, 0)
    assert end_of(patience, A) == end_of(patience, B) == 50
    patience.ends(A, 50, was_stopped=True)
    assert end_of(patience, B) == 70


def test_what_ended_is_never_over() -> None:
    patience = Patience(1)
    patience.begins(A, 1, 0)
    patience.ends(A, 0)
    patience.ends(D, 0)
    assert not patience.is_over(A, 1000)
