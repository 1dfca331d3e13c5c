"""How associations ended, what else their source does, and how it is used to pause."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dicom_node.arrival_facts import Contribution, Facts, Image
from dicom_node.evidence_wire import GREETING_S, longest_silences, usual
from storage.records.arriving import Elsewhere
from tests.dicom_node.arrived import LAST, OPEN, RELEASED, RULES, facts, habit, plain, stack, verdict_after

CLOSES = stack(10)


def test_another_association_that_brings_the_same_study_makes_a_release_no_proof() -> None:
    beside = Elsewhere("b", "CT1", LAST - 50, brings_study=True)
    known = facts(CLOSES, elsewhere=[beside])
    waiting = verdict_after(59.9, known)
    assert waiting.state == "not_yet"
    assert "another association from CT1 brings the same study" in waiting.evidence
    assert verdict_after(60.0, known).whole


def test_an_association_that_brought_nothing_yet_counts_for_a_short_while() -> None:
    known = facts(CLOSES, elsewhere=[Elsewhere("b", "CT1", LAST, brings_study=False)])
    waiting = verdict_after(GREETING_S - 0.1, known)
    assert (waiting.state, waiting.until) == ("not_yet", LAST + GREETING_S)
    assert verdict_after(GREETING_S, known).whole


def test_where_an_instance_was_refused_a_release_is_no_proof() -> None:
    known = facts(CLOSES, replace(RELEASED, refused=2))
    waiting = verdict_after(59.9, known)
    assert waiting.state == "not_yet"
    assert "2 instances were refused" in waiting.evidence


def test_a_source_that_pauses_between_associations_is_waited_for_with_a_margin() -> None:
    known = facts(CLOSES, habit=habit(4.2, *[0.0] * 48))
    waiting = verdict_after(5.0, known)
    assert (waiting.state, waiting.until) == ("not_yet", LAST + 5.1)
    assert waiting.evidence[-1] == "CT1 pauses up to 4.2 s (98 % of 49 series): waits for 5.1 s of quiet"
    assert verdict_after(5.1, known).evidence[-1] == "CT1 pauses up to 4.2 s (98 % of 49 series): quiet for 5.1 s"


def test_what_a_source_did_once_in_many_series_is_no_habit() -> None:
    assert verdict_after(2.0, facts(CLOSES, habit=habit(90.0, *[0.0] * 99))).whole


@pytest.mark.parametrize("series", [0, 4])
def test_a_source_that_is_hardly_known_has_no_habit(series: int) -> None:
    assert usual(habit(*[30.0] * series), "end") is None


def test_of_a_source_that_is_hardly_known_what_it_did_once_is_expected_again_with_more_margin() -> None:
    known = facts(CLOSES, habit=habit(30.0, 0.0))
    waiting = verdict_after(59.9, known)
    assert (waiting.state, waiting.until) == ("not_yet", LAST + 60.0)
    assert waiting.evidence[-1] == "CT1 was seen to pause for 30.0 s: waits for 60 s of quiet"
    assert verdict_after(60.0, known).whole


def in_parts(*pauses_s: float) -> Facts:
    """A stack whose images came one by one, each on an association of its own, the last of them at LAST."""
    at, images, contributions = LAST - sum(pauses_s), [], []
    for number, (one, pause_s) in enumerate(zip(stack(len(pauses_s) + 1), (*pauses_s, 0.0), strict=True)):
        images.append(replace(one, received_at=at, association_id=f"b{number}"))
        contributions.append(replace(RELEASED, opened_at=at, closed_at=at, association_id=f"b{number}"))
        at += pause_s
    return facts(images, *contributions)


def test_who_paused_in_the_middle_of_a_series_may_do_so_again() -> None:
    waiting = verdict_after(23.9, in_parts(0.1, 0.1, 12.0, 3.0))
    assert (waiting.state, waiting.until) == ("not_yet", LAST + 24.0)
    assert "geometry closes" in " ".join(waiting.evidence)
    assert verdict_after(24.0, in_parts(0.1, 0.1, 12.0, 3.0)).whole


def test_a_pause_while_images_were_missing_tells_nothing_of_how_long_to_wait_once_they_are_there() -> None:
    one_by_one = in_parts(0.1, 0.1, 12.0, 3.0)
    first, second, *rest, last = one_by_one.images
    out_of_order = [replace(second, header=last.header), replace(last, header=second.header)]
    assert verdict_after(2.0, replace(one_by_one, images=[first, *out_of_order[:1], *rest, out_of_order[1]])).whole


def test_after_an_abort_a_pause_is_no_end() -> None:
    known = in_parts(0.1, 0.1, 12.0, 3.0)
    *before, last = known.contributions
    aborted = [replace(item, ending="aborted") for item in before]
    assert verdict_after(2.0, replace(known, contributions=[*aborted, last])).whole


def test_what_looked_like_the_end_of_a_series_is_learned_beside_its_other_silences() -> None:
    learned = longest_silences(in_parts(20.0, 0.1, 12.0, 3.0), 300, "CT1", LAST)
    assert (learned.longest_gap_s, learned.longest_pause_s, learned.longest_end_s) == pytest.approx((20.0, 20.0, 12.0))


def test_one_silence_that_is_longer_than_the_quiet_time_was_the_end_and_a_late_image() -> None:
    assert verdict_after(2.0, in_parts(0.1, 0.1, 200.0)).whole


def test_two_of_them_are_pauses() -> None:
    waiting = verdict_after(60.0, in_parts(0.1, 0.1, 80.0, 90.0))
    assert (waiting.state, waiting.until) == ("not_yet", LAST + 160.0)


def test_a_habit_makes_nobody_wait_longer_than_its_bound() -> None:
    known = facts(CLOSES, habit=habit(*[290.0] * 10))
    assert verdict_after(RULES.habit_max_s - 1, known).state == "not_yet"
    assert verdict_after(RULES.habit_max_s, known).whole


def test_a_habit_lengthens_the_last_resort_too() -> None:
    assert verdict_after(60.0, facts(plain(1), habit=habit(*[100.0] * 5))).state == "not_yet"
    assert verdict_after(120.0, facts(plain(1), habit=habit(*[100.0] * 5))).whole


def test_a_source_that_never_pauses_is_waited_for_less_where_nothing_speaks_against_it() -> None:
    never = habit(*[0.0] * 20)
    assert verdict_after(14.9, facts(plain(1), habit=never)).state == "not_yet"
    assert verdict_after(15.0, facts(plain(1), habit=never)).whole
    with_a_hole = [*stack(10)[:4], *stack(10)[5:]]
    for known in (
        facts(plain(1), habit=never[:19]),
        facts(with_a_hole, habit=never),
        facts(plain(1), OPEN, habit=never),
        facts(plain(1), replace(RELEASED, refused=1), habit=never),
    ):
        assert verdict_after(59.9, known).state == "not_yet"


def test_while_an_association_is_open_gaps_inside_it_are_what_its_source_is_used_to() -> None:
    slow = habit(*[80.0] * 5, which="gaps")
    assert verdict_after(95.0, facts(CLOSES, OPEN, habit=slow)).state == "not_yet"
    assert verdict_after(96.0, facts(CLOSES, OPEN, habit=slow)).whole
    assert verdict_after(2.0, facts(CLOSES, habit=slow)).whole


def arrived(*times: tuple[float, str]) -> list[Image]:
    return [Image(str(number), {}, at, association) for number, (at, association) in enumerate(times)]


def brought(name: str, opened_at: float, closed_at: float | None) -> Contribution:
    return replace(RELEASED, association_id=name, opened_at=opened_at, closed_at=closed_at)


def silences(images: list[Image], contributions: list[Contribution]) -> tuple[float, float]:
    found = longest_silences(facts(images, *contributions), 300, "CT1", LAST)
    return found.longest_gap_s, found.longest_pause_s


def test_the_longest_silences_are_those_inside_an_association_and_those_between_two() -> None:
    images = arrived((10, "a"), (30, "a"), (35, "b"), (36, "b"))
    assert silences(images, [brought("a", 9, 31), brought("b", 34, 37)]) == (20, 5)
    assert silences(images[::-1], [brought("a", 9, 31), brought("b", 34, 37)]) == (20, 5)


def test_a_silence_while_another_association_brings_the_series_is_no_pause() -> None:
    images = arrived((10, "a"), (11, "b"), (16, "c"))
    associations = [brought("a", 9, 20), brought("b", 9, 12), brought("c", 15, 20)]
    assert silences(images, associations) == (5, 0)
    assert silences(images, [brought("a", 9, None), *associations[1:]]) == (5, 0)


def test_a_late_image_after_longer_than_anybody_would_wait_teaches_nothing() -> None:
    images = arrived((10, "a"), (12, "b"), (5000, "c"))
    associations = [brought("a", 9, 10.5), brought("b", 11, 13), brought("c", 4999, 5001)]
    assert silences(images, associations) == (2, 2)


def test_a_series_that_its_association_left_behind_need_not_wait_for_the_end_of_the_study() -> None:
    went_on = replace(OPEN, went_on=True)
    known = habit(*[3.0] * 20, which="gaps")
    waiting = verdict_after(5.9, facts(CLOSES, went_on, habit=known))
    assert waiting.state == "not_yet"
    assert waiting.evidence[0] == "association from CT1 is still open and went on to another series"
    verdict = verdict_after(6.0, facts(CLOSES, went_on, habit=known))
    assert verdict.whole
    assert verdict.evidence[-1] == "CT1 pauses up to 3.0 s (98 % of 20 series): quiet for 6 s"
    beside = Elsewhere("b", "CT1", LAST - 50, brings_study=True)
    for not_so in (
        facts(CLOSES, OPEN, habit=known),
        facts(CLOSES, went_on, OPEN, habit=known),
        facts(CLOSES, went_on, habit=known[:19]),
        facts(plain(10), went_on, habit=known),
        facts(CLOSES, went_on, habit=known, elsewhere=[beside]),
        facts(CLOSES, replace(went_on, refused=1), habit=known),
    ):
        assert verdict_after(59.9, not_so).state == "not_yet"
