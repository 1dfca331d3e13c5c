"""What others say of a series: what ends the matter, what holds it up, and for how long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dicom_node.evidence_announced import may_decide
from storage.records.announced import Announcement, Said
from tests.dicom_node.arrived import (
    ABORTED,
    LAST,
    OPEN,
    RELEASED,
    RULES,
    facts,
    image,
    plain,
    said,
    stack,
    uid,
    verdict_after,
)

HELD_FROM_S = RULES.quiet_s
DEADLINE_S = RULES.quiet_s + RULES.held_s


@pytest.mark.parametrize("kind", ["mpps", "ian"])
@pytest.mark.parametrize("association", [RELEASED, OPEN, ABORTED])
def test_a_series_is_whole_at_once_when_every_listed_instance_came_whatever_its_association_does(
    kind: str, association: object
) -> None:
    listed = said(kind, numbers=range(1, 413))  # type: ignore[arg-type]
    verdict = verdict_after(0.0, facts(stack(412), association, announcements=[listed]))  # type: ignore[arg-type]
    assert verdict.whole
    assert verdict.expected == 412
    assert "all 412 images came that" in verdict.evidence[0]


def test_more_than_was_listed_is_whole_and_said() -> None:
    verdict = verdict_after(0.0, facts(stack(5), announcements=[said("mpps", numbers=range(1, 4))]))
    assert verdict.whole
    assert verdict.evidence[0] == (
        "all 3 images came that the completed performed procedure step of CT1 lists, and 2 more"
    )


def test_while_more_comes_than_was_listed_the_list_does_not_end_the_matter() -> None:
    listed = [said("ian", numbers=range(1, 4))]
    assert verdict_after(0.0, facts(stack(5), OPEN, announcements=listed)).state == "not_yet"
    assert verdict_after(0.0, facts(stack(5), RELEASED, announcements=listed)).whole


def test_as_many_as_listed_but_not_the_same_ones_are_not_whole() -> None:
    images = [*plain(4), image(99)]
    verdict = verdict_after(0.0, facts(images, announcements=[said("ian", numbers=range(1, 6))]))
    assert verdict.state == "not_yet"
    assert "4 of 5 images came that CT1 notified as available, and 1 more" in verdict.evidence


def test_what_several_steps_list_of_one_series_adds_up() -> None:
    steps = [said("mpps", numbers=range(1, 4)), said("mpps", numbers=range(4, 7), step="2.9")]
    assert verdict_after(0.0, facts(plain(3), announcements=steps)).state == "not_yet"
    assert verdict_after(0.0, facts(plain(6), announcements=steps)).whole


def test_a_step_that_lists_no_image_of_the_series_says_nothing_of_it() -> None:
    empty = said("mpps", numbers=())
    assert verdict_after(2.0, facts(stack(10), announcements=[empty])).whole
    assert verdict_after(1.0, facts(stack(10), announcements=[empty])).state == "not_yet"


def test_a_step_that_only_counts_is_held_against_the_number_that_came() -> None:
    counted = said("mpps", count=6)
    assert verdict_after(0.0, facts(plain(6), announcements=[counted])).whole
    assert verdict_after(DEADLINE_S - 1, facts(plain(5), announcements=[counted])).state == "not_yet"


def test_an_image_that_came_and_was_rejected_is_not_missed() -> None:
    known = facts(plain(9), announcements=[said("mpps", numbers=range(1, 11))], left_out=frozenset({"1.2.3.4.10"}))
    assert verdict_after(0.0, known).whole


def test_a_report_does_not_count_rejected_images_among_those_that_were_analysed() -> None:
    known = facts(plain(7), left_out=frozenset({uid(8)}), announcements=[said("mpps", numbers=range(1, 11))])
    verdict = verdict_after(DEADLINE_S, known)
    assert verdict.incomplete == "analysed 7 of 10 images, 1 rejected"
    assert verdict.lacking == "only 8 of 10 images came"


def test_what_is_said_of_another_series_is_no_evidence() -> None:
    other = said("mpps", numbers=range(1, 11), series="1.2.3.5")
    assert verdict_after(1.9, facts(stack(10), announcements=[other])).state == "not_yet"


def test_missing_images_are_waited_for_then_held_then_given_up() -> None:
    known = facts(stack(410), announcements=[said("mpps", numbers=range(1, 413))])
    waiting = verdict_after(HELD_FROM_S - 1, known)
    assert (waiting.state, waiting.held, waiting.until) == ("not_yet", False, LAST + HELD_FROM_S)
    held = verdict_after(HELD_FROM_S, known)
    assert (held.state, held.held, held.expected, held.until) == ("not_yet", True, 412, LAST + DEADLINE_S)
    assert "2 images are missing" in held.evidence[-1]
    ended = verdict_after(DEADLINE_S, known)
    assert (ended.state, ended.incomplete) == ("never", "analysed 410 of 412 images")
    assert ended.lacking == "only 410 of 412 images came"


def test_an_unannounced_image_does_not_stand_in_for_a_missing_one() -> None:
    known = facts([*plain(4), image(99)], announcements=[said("mpps", numbers=range(1, 6))])
    assert verdict_after(DEADLINE_S, known).incomplete == "analysed 4 of 5 images, and 1 that nobody announced"


def test_nothing_is_held_while_an_association_that_may_bring_the_rest_is_open() -> None:
    known = facts(stack(410), OPEN, announcements=[said("mpps", numbers=range(1, 413))])
    assert not verdict_after(DEADLINE_S - 1, known).held
    assert verdict_after(DEADLINE_S, known).state == "never"


def test_missing_images_are_waited_for_from_when_they_were_announced() -> None:
    late = said("mpps", numbers=range(1, 413), at=LAST + 500)
    assert not verdict_after(500 + HELD_FROM_S - 1, facts(stack(410), announcements=[late])).held
    assert verdict_after(500 + HELD_FROM_S, facts(stack(410), announcements=[late])).held


def test_while_a_step_is_in_progress_what_closes_may_go_on_growing() -> None:
    known = facts(stack(10), announcements=[said("mpps", "in progress", series=None)])
    waiting = verdict_after(RULES.in_progress_s - 1, known)
    assert (waiting.state, waiting.until) == ("not_yet", LAST + RULES.in_progress_s)
    assert waiting.evidence[0] == "a performed procedure step of CT1 is in progress"
    ended = verdict_after(RULES.in_progress_s, known)
    assert ended.whole
    assert "waited for no longer" in ended.evidence[0]


def test_a_list_of_one_step_outweighs_another_step_in_progress() -> None:
    steps = [said("mpps", numbers=range(1, 11)), said("mpps", "in progress", series=None, step="2.9")]
    assert verdict_after(0.0, facts(stack(10), announcements=steps)).whole


def test_a_completed_step_that_names_the_series_nowhere_leaves_the_other_evidence() -> None:
    known = facts(stack(10), announcements=[said("mpps", series=None)])
    assert verdict_after(1.9, known).state == "not_yet"
    assert verdict_after(2.0, known).whole


@pytest.mark.parametrize(
    "discontinued", [said("mpps", "discontinued", series=None), said("mpps", "discontinued", numbers=range(1, 31))]
)
def test_a_discontinued_acquisition_is_never_whole_and_ends_once_its_images_settled(discontinued: Announcement) -> None:
    known = facts(stack(30), announcements=[replace(discontinued, sop_instance_uids=None, instance_count=None)])
    assert verdict_after(1.9, known).state == "not_yet"
    verdict = verdict_after(2.0, known)
    assert verdict.state == "never"
    assert verdict.incomplete == "analysed 30 images of an acquisition that was discontinued"


def test_a_discontinued_acquisition_ends_at_once_when_all_that_it_made_came() -> None:
    known = facts(stack(30), OPEN, announcements=[said("mpps", "discontinued", numbers=range(1, 31))])
    assert verdict_after(0.0, known).state == "never"


def test_a_step_that_was_discontinued_is_no_matter_of_a_series_that_another_one_completed() -> None:
    steps = [said("mpps", "discontinued", series=None), said("mpps", numbers=range(1, 11), step="2.9")]
    assert verdict_after(0.0, facts(stack(10), announcements=steps)).whole


def test_an_acquisition_that_is_begun_again_after_one_was_discontinued_is_waited_for() -> None:
    steps = [said("mpps", "discontinued", series=None), said("mpps", "in progress", series=None, step="2.9")]
    assert verdict_after(10.0, facts(stack(10), announcements=steps)).state == "not_yet"


def test_a_discontinued_step_that_lists_other_series_is_no_matter_of_this_one() -> None:
    steps = [
        said("mpps", "discontinued", series=None),
        said("mpps", "discontinued", numbers=range(1, 4), series="1.2.3.9"),
    ]
    assert verdict_after(2.0, facts(stack(10), announcements=steps)).whole


def test_a_count_that_is_ours_is_exact_once_the_associations_were_released() -> None:
    counted = [said("c-find", count=412, source="PACS1")]
    verdict = verdict_after(0.0, facts(plain(412), announcements=counted))
    assert verdict.whole
    assert verdict.evidence[0] == "412 of 412 at PACS1"
    for association in (OPEN, ABORTED):
        assert verdict_after(3.0, facts(plain(412), association, announcements=counted)).state == "not_yet"


def test_a_count_proves_nothing_while_a_step_is_in_progress() -> None:
    announcements = [said("c-find", count=10, source="PACS1"), said("mpps", "in progress", series=None)]
    assert verdict_after(60.0, facts(stack(10), announcements=announcements)).state == "not_yet"


def test_a_peer_that_holds_more_than_came_is_believed_for_as_long_as_series_are_held() -> None:
    known = facts(stack(410), announcements=[said("c-find", count=412, source="PACS1")])
    verdict = verdict_after(HELD_FROM_S, known)
    assert (verdict.held, verdict.evidence[0]) == (True, "410 of 412 at PACS1")
    assert verdict_after(DEADLINE_S, known).incomplete == "analysed 410 of 412 images"


def test_a_peer_that_says_the_same_again_and_again_does_not_hold_a_series_for_ever() -> None:
    for at in (LAST, LAST + 500, LAST + DEADLINE_S - 1):
        known = facts(stack(410), announcements=[said("c-find", count=412, source="PACS1", at=at)])
        assert verdict_after(DEADLINE_S, known).state == "never"


def test_a_peer_that_holds_fewer_than_came_proves_nothing_and_is_told_of() -> None:
    known = facts(stack(10), announcements=[said("c-find", count=7, source="PACS1")])
    assert verdict_after(1.9, known).state == "not_yet"
    verdict = verdict_after(2.0, known)
    assert verdict.whole
    assert verdict.evidence[0] == "PACS1 holds 7 of the 10 that came"


def test_a_peer_that_may_be_getting_images_itself_proves_nothing_until_it_has_said_the_same_again() -> None:
    first = said("c-find", "in progress", count=412, source="PACS1")
    verdict = verdict_after(3.0, facts(plain(412), announcements=[first]))
    assert (verdict.state, verdict.evidence[0]) == ("not_yet", "PACS1 holds 412 of the 412 that came")
    assert verdict_after(3.0, facts(plain(412), announcements=[replace(first, state="completed")])).whole


def test_as_many_as_a_peer_lists_but_not_the_same_ones_are_not_whole() -> None:
    listed = said("c-find", numbers=range(1, 6), source="PACS1")
    assert verdict_after(0.0, facts(plain(5), announcements=[listed])).whole
    verdict = verdict_after(0.0, facts([*plain(4), image(99)], announcements=[listed]))
    assert (verdict.state, verdict.evidence[0]) == ("not_yet", "5 of 6 at PACS1")


def test_that_a_peer_could_not_be_asked_is_part_of_the_evidence() -> None:
    known = facts(stack(10), not_asked=("PACS1 could not be asked: no connection",))
    assert "PACS1 could not be asked: no connection" in verdict_after(2.0, known).evidence


def test_of_two_peers_the_one_that_holds_more_counts() -> None:
    answers = [said("c-find", count=10, source="PACS1"), said("c-find", count=12, source="PACS2")]
    assert verdict_after(3.0, facts(stack(10), announcements=answers)).state == "not_yet"


def test_a_peer_that_counts_without_rejected_images_agrees_too() -> None:
    known = facts(stack(9), announcements=[said("c-find", count=9, source="P")], left_out=frozenset({"1.2.3.4.10"}))
    assert verdict_after(0.0, known).whole


def test_a_peer_that_counts_only_studies_is_held_against_the_study() -> None:
    counted = [said("c-find", count=30, series=None, source="PACS1")]
    verdict = verdict_after(0.0, facts(plain(10), announcements=counted, study_instance_count=30))
    assert verdict.whole
    assert verdict.evidence[0] == "30 of 30 of the study at PACS1"
    assert verdict_after(3.0, facts(plain(10), announcements=counted, study_instance_count=20)).state == "not_yet"


@pytest.mark.parametrize(
    ("item", "decides"),
    [
        (Said("mpps", "1.4", "completed", 10, 0.0), True),
        (Said("mpps", "1.4", "completed", 11, 0.0), False),
        (Said("mpps", "1.4", "completed", None, 0.0), False),
        (Said("mpps", None, "completed", None, 0.0), False),
        (Said("mpps", None, "in progress", None, 0.0), False),
        (Said("mpps", None, "discontinued", None, 0.0), True),
        (Said("ian", "1.4", "completed", 9, 0.0), True),
        (Said("c-find", "1.4", "completed", 10, 0.0), True),
        (Said("c-find", "1.4", "completed", 9, 0.0), False),
        (Said("c-find", "1.4", "in progress", 10, 0.0), False),
        (Said("c-find", None, "completed", 30, 0.0), True),
    ],
)
def test_whether_an_announcement_may_decide_is_told_without_reading_images(item: Said, decides: bool) -> None:
    assert may_decide([item], instance_count=10, study_instance_count=30) is decides
