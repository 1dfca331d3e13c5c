"""What of an ended job goes to whom, and what people are told of results that are not sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from dicom_node.attempt import JobOutcome
from dicom_node.profiles import Demand, Profile, demand, orders, usual_demand
from dicom_node.sharing import Sharing, shared
from storage.records.jobs import Job
from storage.records.results import Result
from tests.made_rows import House, open_house

GENERIC = usual_demand()
REPORT_ALONE = demand(Profile(("sr",), {}), None, may_refuse=False)
LABELMAP = demand(Profile(("seg_labelmap", "sr")), None, may_refuse=False)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    house: House = open_house(tmp_path_factory.mktemp("house"))
    yield house.ready_job(destinations=("pacs", "archive"))
    house.database.close()


def made(*kinds: str, broken: tuple[str, ...] = (), said: str = "") -> tuple[Result, ...]:
    uids = {kind: f"1.2.{number}{said}" for number, kind in enumerate(sorted((*kinds, *broken)), start=1)}
    return tuple(
        Result(uid, "1.2", "1.3", "1.4", "1.5", kind, "AI", f"quarantine/{kind}", "0" * 64, 1, faults)
        for kind, uid in uids.items()
        for faults in [("it is broken",) if kind in broken else ()]
    )


def got(sharing: Sharing, name: str) -> set[str]:
    uids = {uid for uid, names in sharing.recipients.items() if name in names}
    return {item.kind for item in sharing.results if item.sop_instance_uid in uids}


def test_each_destination_gets_what_it_takes_and_the_rest_is_kept_in_reserve(job: Job) -> None:
    demands: dict[str, Demand] = {"pacs": GENERIC, "archive": REPORT_ALONE}
    sharing = shared(job, demands, JobOutcome("ok", made(*orders(demands.values()))))
    assert got(sharing, "pacs") == {"seg", "sr", "sc"}
    assert got(sharing, "archive") == {"sr-alone"}
    assert (sharing.events, sharing.failure) == ((), None)
    assert {item.kind for item in sharing.results} == orders(demands.values())


def test_a_destination_that_is_not_configured_any_more_gets_what_most_get(job: Job) -> None:
    sharing = shared(job, {"pacs": GENERIC}, JobOutcome("ok", made(*orders([GENERIC]))))
    assert got(sharing, "archive") == {"seg", "sr", "sc"}


def test_what_is_not_sound_goes_to_nobody_with_an_alarm_and_the_next_best_goes_instead(job: Job) -> None:
    kinds = orders([GENERIC]) - {"seg"}
    demands = {"pacs": GENERIC, "archive": GENERIC}
    sharing = shared(job, demands, JobOutcome("ok", made(*kinds, broken=("seg",))))
    assert got(sharing, "pacs") == got(sharing, "archive") == {"sr-alone", "sc"}
    assert sharing.failure is None
    alarm, *told = sharing.events
    assert (alarm.kind, alarm.severity) == ("result_quarantined", "alarm")
    assert alarm.text == "SEG of m@1 failed its checks, so it is kept and not sent: it is broken"
    assert alarm.data["object_key"] == "quarantine/seg"
    assert [(event.kind, event.severity) for event in told] == [("result_substituted", "warning")] * 2
    assert "pacs: SC goes in place of SEG, which is not sound" in told[0].text


def test_what_cannot_be_made_is_an_alarm_too(job: Job) -> None:
    outcome = JobOutcome("ok", made("sr", "sc"), not_made={"seg": "ValueError: no memory"})
    sharing = shared(job, {"pacs": GENERIC, "archive": GENERIC}, outcome)
    (alarm, *_) = sharing.events
    assert (alarm.kind, alarm.severity) == ("result_not_made", "alarm")
    assert "no memory" in alarm.text
    assert got(sharing, "pacs") == {"sr", "sc"}


def test_a_destination_that_nothing_is_left_for_is_told_that_nothing_was_analysed_and_the_other_gets_its_objects(
    job: Job,
) -> None:
    demands = {"pacs": GENERIC, "archive": REPORT_ALONE}
    outcome = JobOutcome(
        "ok",
        made("seg", "sr", "sc", broken=("sr-alone",)),
        instead=made("sr-alone", "sr_text", said="9"),
    )
    sharing = shared(job, demands, outcome)
    assert got(sharing, "pacs") == {"seg", "sr", "sc"}
    (uid,) = [uid for uid, names in sharing.recipients.items() if "archive" in names]
    assert next(item for item in sharing.results if item.sop_instance_uid == uid) == outcome.instead[0]
    assert outcome.instead[1] not in sharing.results, "nobody gets it, and it stands for nothing that was found"
    assert sharing.failure is None
    assert sharing.events[-1].text.endswith("nothing goes in its place; it is told that nothing was analysed, and why")


def test_where_nothing_is_left_for_anybody_the_job_has_failed(job: Job) -> None:
    demands = dict.fromkeys(("pacs", "archive"), REPORT_ALONE)
    outcome = JobOutcome("ok", made(broken=("sr-alone",)), instead=made("sr-alone", said="9"))
    sharing = shared(job, demands, outcome)
    assert sharing.failure
    assert got(sharing, "pacs") == {"sr-alone"}
    silent = shared(job, demands, replace(outcome, instead=()))
    assert (silent.failure, silent.recipients) == (sharing.failure, {})


def test_a_label_map_that_cannot_hold_what_was_found_is_told_and_is_no_alarm(job: Job) -> None:
    outcome = JobOutcome("ok", made(*orders([LABELMAP, GENERIC]) - {"seg_labelmap"}))
    sharing = shared(job, {"pacs": LABELMAP, "archive": GENERIC}, outcome)
    assert got(sharing, "pacs") == {"seg", "sr"}
    (event,) = sharing.events
    assert event.severity == "info"
    assert event.text == "pacs: SEG goes in place of label map SEG, which cannot hold what was found"


def test_a_job_that_has_nothing_to_say_has_lost_nothing(job: Job) -> None:
    sharing = shared(job, {"pacs": GENERIC, "archive": GENERIC}, JobOutcome("not analysed", (), "no lungs"))
    assert (sharing.recipients, sharing.events, sharing.failure) == ({}, (), None)
