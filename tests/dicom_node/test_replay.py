"""Past studies on a virtual clock: what another configuration would have decided, and when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.completeness import Rules
from dicom_node.replay import RecordedSeries, Waiting, judgements
from dicom_node.replay_compare import Difference, difference, summary
from dicom_node.replay_looks import in_words
from dicom_node.replay_run import Policy, courses
from storage.records.announced import Announcement
from tests.dicom_node.recorded import START, a_route, density_model, evenly, policy, recorded, waiting

NOW = START + 86_400
SLICES = 100


def compared(series: RecordedSeries, old: Policy, new: Policy) -> Difference | None:
    return difference(series, *courses(series, (old, new), NOW))


def decided(series: RecordedSeries, waits: Waiting) -> list[tuple[float, int, str]]:
    """When, in seconds after the last image that had come, on how many images, and what."""
    return [
        (round(one.at - series.instances[one.came - 1].received_at, 3), one.came, one.verdict.state)
        for one in judgements(series, waits, NOW)
    ]


# --- when ---------------------------------------------------------------------------------------------------------


def test_a_series_whose_geometry_closes_is_whole_after_settle_s_and_one_whose_does_not_after_quiet_s() -> None:
    assert decided(recorded(evenly(SLICES)), waiting(3, 50)) == [(3.0, SLICES, "whole")]
    assert decided(recorded(evenly(SLICES), closes=False), waiting(3, 50)) == [(50.0, SLICES, "whole")]
    assert decided(recorded(evenly(SLICES), ending="aborted"), waiting(3, 50)) == [(50.0, SLICES, "whole")]


def test_an_association_that_stays_open_is_waited_for_until_it_is_released() -> None:
    series = recorded(evenly(SLICES))
    (part,) = series.parts
    later = replace(part.association, closed_at=series.instances[-1].received_at + 20.0)
    assert decided(replace(series, parts=(replace(part, association=later),)), waiting(2, 60)) == [
        (20.0, SLICES, "whole")
    ]


def test_a_pause_that_is_longer_than_the_wait_is_a_decision_too_early_and_a_revision_after_it() -> None:
    half, rest = evenly(SLICES // 2), evenly(SLICES // 2, from_s=30.0)
    series = recorded([*half, *rest], every=SLICES // 2)
    assert decided(series, waiting(2, 60)) == [(2.0, SLICES // 2, "whole"), (40.4, SLICES, "whole")]
    assert decided(series, waiting(25, 60)) == [(40.4, SLICES, "whole")]


def test_nothing_is_decided_that_lies_beyond_what_is_recorded() -> None:
    series = recorded(evenly(SLICES), closes=False)
    ends = series.instances[-1].received_at
    assert judgements(series, waiting(2, 60), ends + 59) == ()
    assert len(judgements(series, waiting(2, 60), ends + 61)) == 1


def listed(series: RecordedSeries, at_s: float, count: int = SLICES) -> Announcement:
    uids = tuple(item.sop_instance_uid for item in series.instances[:count])
    return Announcement(
        "mpps", f"1.9 {series.series_instance_uid}", "CT1", "1.2.3", series.series_instance_uid, "completed",
        START + at_s, len(uids), uids,
    )  # fmt: skip


def test_what_a_performed_step_lists_is_whole_with_its_last_image_and_its_last_word() -> None:
    series = recorded(evenly(SLICES), closes=False)
    before = replace(series, announcements=(listed(series, 1.0),))
    assert decided(before, waiting(2, 60)) == [(0.0, SLICES, "whole")]
    after = replace(series, announcements=(listed(series, 40.0),))
    assert decided(after, waiting(2, 60)) == [(round(40.0 - 0.2 * (SLICES - 1), 3), SLICES, "whole")]


def test_images_that_are_announced_and_never_come_end_at_the_deadline_of_the_contradiction() -> None:
    whole = recorded(evenly(SLICES), closes=False)
    cut = replace(whole, instances=whole.instances[:-2], announcements=(listed(whole, 30.0),))
    ((_, came, state),) = decided(cut, waiting(2, 60, held_s=100))
    assert (came, state) == (SLICES - 2, "never")


def test_an_answer_to_c_find_counts_for_a_configuration_that_asks_that_peer() -> None:
    series = recorded(evenly(SLICES), closes=False)
    at = series.instances[-1].received_at + 0.5
    answer = Announcement("c-find", "PACS1 1.2.3.4", "PACS1", "1.2.3", "1.2.3.4", "completed", at, SLICES)
    asked = replace(series, announcements=(answer,))
    assert decided(asked, waiting(2, 60, asks=["PACS1"])) == [(0.5, SLICES, "whole")]
    assert decided(asked, waiting(2, 60)) == [(60.0, SLICES, "whole")]
    assert not waiting(asks=["PACS1"]).is_like(waiting(), asked)


def test_a_step_in_progress_is_replaced_by_its_end() -> None:
    series = recorded(evenly(SLICES))
    begun = Announcement("mpps", "1.9 -", "CT1", "1.2.3", None, "in progress", START - 1)
    ended = replace(begun, state="completed", at=START + 200)
    assert decided(replace(series, announcements=(begun, ended)), waiting(2, 60))[0][0] == pytest.approx(
        200 - 0.2 * (SLICES - 1)
    )


# --- what differs -------------------------------------------------------------------------------------------------


@st.composite
def any_series(draw: st.DrawFn) -> RecordedSeries:
    gaps = draw(st.lists(st.sampled_from([0.01, 0.5, 3.0, 30.0, 90.0]), min_size=1, max_size=12))
    arrivals = [sum(gaps[:number]) for number in range(1, len(gaps) + 1)]
    return recorded(
        arrivals,
        closes=draw(st.booleans()),
        ending=draw(st.sampled_from(["released", "aborted"])),
        every=draw(st.sampled_from([None, 1, 3])),
    )


@given(any_series(), st.floats(0, 10), st.floats(10, 100))
@settings(max_examples=150, deadline=None)
def test_the_same_configuration_never_differs_from_itself_and_ends_with_all_images(
    series: RecordedSeries, settle_s: float, quiet_s: float
) -> None:
    same = [policy(waits=waiting(settle_s, quiet_s)) for _ in range(2)]
    old, new = courses(series, (same[0], same[1]), NOW)
    assert difference(series, old, new) is None
    assert old.last is not None
    assert old.last.came == len(series.instances)
    assert all(one.at >= series.instances[one.came - 1].received_at for one in old.judgements)


@given(any_series(), st.floats(10, 100), st.floats(10, 100))
@settings(max_examples=100, deadline=None)
def test_who_waits_longer_is_never_wrong_more_often(series: RecordedSeries, one_s: float, other_s: float) -> None:
    shorter, longer = sorted((one_s, other_s))
    assert len(judgements(series, waiting(2, longer), NOW)) <= len(judgements(series, waiting(2, shorter), NOW))


def test_another_quiet_s_shows_exactly_the_series_that_wait_for_it() -> None:
    old, new = policy(waits=waiting(2, 60)), policy(waits=waiting(2, 45))
    assert compared(recorded(evenly(SLICES)), old, new) is None
    for series in (recorded(evenly(SLICES), closes=False), recorded(evenly(SLICES), ending="aborted")):
        found = compared(series, old, new)
        assert found is not None
        assert found.earlier_s == pytest.approx(15.0)
        assert found.is_earlier
        assert not found.newly_wrong
        assert found.jobs == ()
        back = compared(series, new, old)
        assert back is not None
        assert back.is_later


def test_a_study_with_a_late_image_shows_that_it_would_have_been_wrongly_whole() -> None:
    series = recorded([*evenly(SLICES - 1), 40.0], closes=False)
    found = compared(series, policy(waits=waiting(2, 60)), policy(waits=waiting(2, 15)))
    assert found is not None
    assert found.newly_wrong
    assert [one.came for one in found.new.wrong] == [SLICES - 1]
    back = compared(series, policy(waits=waiting(2, 15)), policy(waits=waiting(2, 60)))
    assert back is not None
    assert back.no_longer_wrong


def change(new: Policy, old: Policy | None = None, **series: Any) -> list[tuple[str, str]]:
    found = compared(recorded(evenly(SLICES), **series), old or policy(), new)
    return [(job.kind, job.words) for job in found.jobs] if found else []


def test_an_edit_of_routes_shows_the_jobs_that_come_go_and_change() -> None:
    mri_alone = policy(a_route(when={"Modality": "MR"}))
    assert change(mri_alone) == [("not queued", "route chest: Modality is CT, not MR")]
    assert change(policy(), mri_alone) == [
        ("queued", "by route chest, routine, for pacs; not before: route chest: Modality is CT, not MR")
    ]
    assert change(policy(a_route(priority="stat", destinations=["pacs", "archive"]))) == [
        ("changed", "priority routine → stat; destinations pacs → pacs, archive")
    ]
    assert change(policy(a_route(name="other"))) == [("changed", "route chest → other")]
    off = policy(models=density_model(enabled=False))
    assert change(off) == [("not queued", "disabled in the configuration")]
    assert change(policy(a_route(), a_route("more", when={"Modality": "MR"}))) == []


def test_what_a_contract_refuses_is_no_job_and_no_difference() -> None:
    localizer = {"header_of": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}}
    assert change(policy(a_route(priority="stat")), **localizer) == []


def test_what_is_queued_counts_the_images_that_had_come() -> None:
    many = policy(a_route(when={"NumberOfInstances": f">= {SLICES}"}))
    assert change(many) == []
    assert change(policy(a_route(when={"NumberOfInstances": f">= {SLICES + 1}"})))[0][0] == "not queued"


def test_the_summary_counts_and_speaks_in_one_line() -> None:
    series = [
        recorded(evenly(SLICES)),
        recorded(evenly(SLICES), closes=False),
        recorded([*evenly(SLICES - 1), 40.0], closes=False),
    ]
    old = policy(waits=waiting(2, 60))
    new = policy(a_route(priority="stat"), waits=waiting(2, 15))
    both = [courses(one, (old, new), NOW) for one in series]
    found = [difference(one, *pair) for one, pair in zip(series, both, strict=True)]
    told = summary(2, [(bool(a.wrong), bool(b.wrong)) for a, b in both], [one for one in found if one])
    assert (told.series, told.differing, told.earlier, told.later) == (3, 3, 2, 0)
    assert (told.wrong_before, told.wrong_after, told.newly_wrong, told.jobs_changed) == (0, 1, 1, 3)
    assert told.median_earlier_s == pytest.approx(45.0)
    assert in_words(told) == (
        "2 studies, 3 series, 3 of them differ: 2 whole earlier (median 45.0 s), 1 newly wrongly whole, 3 jobs changed"
    )
    assert in_words(summary(1, [(False, False)], [])) == "1 study, 1 series: no difference"


def test_sources_may_have_rules_of_their_own() -> None:
    patient = {"CT1": Rules(settle_s=9.0, quiet_s=60.0)}
    waits = Waiting(lambda source: patient.get(source, Rules()), lambda _source: frozenset())
    assert decided(recorded(evenly(SLICES)), waits) == [(9.0, SLICES, "whole")]
    assert decided(recorded(evenly(SLICES), source="CT2"), waits) == [(2.0, SLICES, "whole")]
    assert not waits.is_like(waiting(), recorded(evenly(SLICES)))
    assert waits.is_like(waiting(), recorded(evenly(SLICES), source="CT2"))
