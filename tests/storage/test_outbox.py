from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.records.events import Event
from tests.made_rows import House, open_house, recipients_of

SAID = Event("test", "a person said so")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = open_house(tmp_path)
    yield house
    house.database.close()


def _ids(deliveries: tuple[object, ...]) -> list[int]:
    return [row.delivery_id for row in deliveries]  # type: ignore[attr-defined]


def test_a_finished_job_leaves_a_row_for_each_result_and_destination(house: House) -> None:
    rows = house.analysed_study(destinations=("PACS1", "ARCHIVE"))
    assert sorted((row.result.kind, row.destination) for row in rows) == sorted(
        (kind, name) for kind in ("seg", "sr", "sc") for name in ("PACS1", "ARCHIVE")
    )
    assert {(row.state, row.attempts, row.last_error) for row in rows} == {("waiting", 0, None)}


def test_a_result_goes_only_to_the_destinations_that_take_its_kind(house: House) -> None:
    job = house.ready_job(destinations=("PACS1", "ARCHIVE"))
    house.jobs.start(job.job_id)
    running = house.jobs.get(job.job_id)
    assert running
    results = [house.result(job.study_instance_uid, kind) for kind in ("seg", "sr")]
    recipients = recipients_of(results, {"seg": ["ARCHIVE"], "sr": ["PACS1", "ARCHIVE"]})
    house.jobs.finish(running, state="done", outcome="done", reason=None, results=results, recipients=recipients)
    assert {(row.result.kind, row.destination) for row in house.outbox.of_study(job.study_instance_uid)} == {
        ("seg", "ARCHIVE"),
        ("sr", "PACS1"),
        ("sr", "ARCHIVE"),
    }


def test_the_next_study_is_the_one_that_waited_longest_and_is_given_whole(house: House) -> None:
    first = house.analysed_study()
    house.analysed_study()
    assert _ids(house.outbox.next_study("PACS1", due_at=time.time())) == _ids(first)


def test_results_of_two_jobs_of_one_study_are_given_together(house: House) -> None:
    first = house.analysed_study(kinds=("sr",))
    other = house.analysed_study()
    second = house.analysed_study(study_uid=first[0].result.study_instance_uid, kinds=("seg",))
    assert _ids(house.outbox.next_study("PACS1", due_at=time.time())) == _ids(first + second)
    house.outbox.delivered(_ids(first + second))
    assert _ids(house.outbox.next_study("PACS1", due_at=time.time())) == _ids(other)


def test_a_postponed_study_lets_others_pass_and_comes_back_when_it_is_due(house: House) -> None:
    first, second = house.analysed_study(), house.analysed_study()
    later = time.time() + 60
    house.outbox.postpone(_ids(first), until=later, error="down")
    assert _ids(house.outbox.next_study("PACS1", due_at=time.time())) == _ids(second)
    house.outbox.delivered(_ids(second))
    assert house.outbox.next_study("PACS1", due_at=time.time()) == ()
    again = house.outbox.next_study("PACS1", due_at=later)
    assert [(row.attempts, row.last_error) for row in again] == [(1, "down")] * 3


def test_a_study_that_is_not_due_yet_is_found_when_asked_due_or_not(house: House) -> None:
    rows = house.analysed_study()
    house.outbox.postpone(_ids(rows), until=time.time() + 60, error="down")
    assert _ids(house.outbox.next_study("PACS1", due_at=None)) == _ids(rows)
    assert house.outbox.next_study("PACS2", due_at=None) == ()


def test_retry_now_ends_the_wait_of_one_destination_only(house: House) -> None:
    rows = house.analysed_study(destinations=("PACS1", "ARCHIVE"), kinds=("sr",))
    house.outbox.postpone(_ids(rows), until=time.time() + 60, error="down")
    assert house.outbox.retry_now("PACS1", events=[SAID]) == 1
    assert [row.destination for row in house.outbox.next_study("PACS1", due_at=time.time())] == ["PACS1"]
    assert house.outbox.next_study("ARCHIVE", due_at=time.time()) == ()
    assert house.events_of_kind("test")


def test_what_is_delivered_or_refused_is_not_sent_again_by_itself(house: House) -> None:
    seg, sr, sc = house.analysed_study()
    house.outbox.delivered([seg.delivery_id], events=[SAID])
    house.outbox.refused([sr.delivery_id], error="SOP class not supported")
    assert _ids(house.outbox.next_study("PACS1", due_at=None)) == [sc.delivery_id]
    now = {row.delivery_id: row for row in house.outbox.of_study(seg.result.study_instance_uid)}
    assert now[seg.delivery_id].delivered_at is not None
    assert (now[sr.delivery_id].state, now[sr.delivery_id].last_error) == ("refused", "SOP class not supported")
    assert house.outbox.counts() == {("PACS1", "delivered"): 1, ("PACS1", "refused"): 1, ("PACS1", "waiting"): 1}
    assert len(house.events_of_kind("test")) == 1


def test_sending_again_begins_attempts_and_age_anew(house: House) -> None:
    """Else a result that was given up after days would be given up again at the first failure."""
    rows = house.analysed_study(kinds=("sr",))
    house.outbox.refused(_ids(rows), error="given up")
    before = time.time()
    assert house.outbox.send_again(rows[0].result.study_instance_uid, destination=None, events=[SAID]) == 1
    (row,) = house.outbox.next_study("PACS1", due_at=time.time())
    assert (row.state, row.attempts, row.last_error, row.delivered_at) == ("waiting", 0, None, None)
    assert row.created_at >= before
    assert len(house.events_of_kind("test")) == 1


def test_sending_again_leaves_what_waits_and_other_destinations_alone(house: House) -> None:
    rows = house.analysed_study(destinations=("PACS1", "ARCHIVE"), kinds=("sr",))
    study_uid = rows[0].result.study_instance_uid
    assert house.outbox.send_again(study_uid, destination=None, events=[SAID]) == 0
    assert house.events_of_kind("test") == []
    house.outbox.delivered(_ids(rows))
    assert house.outbox.send_again(study_uid, destination="ARCHIVE", events=[SAID]) == 1
    assert house.states("PACS1") == {"delivered": 1}
    assert house.states("ARCHIVE") == {"waiting": 1}


def test_a_job_that_ran_twice_leaves_its_results_once(house: House) -> None:
    job = house.ready_job()
    results = [house.result(job.study_instance_uid, "sr")]
    for _ in range(2):
        house.jobs.start(job.job_id)
        running = house.jobs.get(job.job_id)
        assert running
        recipients = recipients_of(results, {"sr": ["PACS1"]})
        house.jobs.finish(running, state="done", outcome="done", reason=None, results=results, recipients=recipients)
        house.jobs.requeue(job.job_id, event=SAID)
    assert len(house.outbox.of_study(job.study_instance_uid)) == 1
    assert house.outbox.results_of_study(job.study_instance_uid) == tuple(results)
