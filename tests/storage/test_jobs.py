from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.records.events import Event
from storage.records.jobs import Job
from tests.made_rows import House, open_house, recipients_of

SAID = Event("test", "a person said so")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = open_house(tmp_path)
    yield house
    house.database.close()


def _started(house: House, job: Job) -> Job:
    assert house.jobs.start(job.job_id)
    running = house.jobs.get(job.job_id)
    assert running
    return running


def test_stat_runs_before_routine_and_then_the_oldest_first(house: House) -> None:
    routine, stat, later = house.ready_job(), house.ready_job(priority="stat"), house.ready_job(priority="stat")
    assert [job.job_id for job in house.jobs.ready(10)] == [stat.job_id, later.job_id, routine.job_id]
    assert [job.job_id for job in house.jobs.ready(1)] == [stat.job_id]


def test_a_job_starts_once_and_each_start_is_an_attempt(house: House) -> None:
    job = house.ready_job()
    assert house.jobs.start(job.job_id) == 1
    assert house.jobs.start(job.job_id) is None
    assert house.jobs.ready(10) == ()
    (running,) = house.jobs.running()
    assert (running.state, running.attempt) == ("running", 1)
    assert [(one.number, one.outcome) for one in house.jobs.attempts(job.job_id)] == [(1, "running")]


def test_a_skipped_job_keeps_its_reason_and_is_never_ready(house: House) -> None:
    job = house.ready_job(state="skipped", reason="slice spacing 8.0 mm > 5.0")
    assert (job.state, job.reason) == ("skipped", "slice spacing 8.0 mm > 5.0")
    assert job.finished_at is not None
    assert house.jobs.ready(10) == ()
    assert house.jobs.start(job.job_id) is None


def test_the_answer_of_an_attempt_that_was_put_back_changes_nothing(house: House) -> None:
    first = _started(house, house.ready_job())
    assert house.jobs.put_back(first, outcome="killed", reason="the worker died")
    second = _started(house, first)
    assert second.attempt == 2
    late = {"state": "done", "outcome": "done", "reason": None, "events": [SAID]}
    results = [house.result(first.study_instance_uid, "sr")]
    assert not house.jobs.finish(first, results=results, recipients=recipients_of(results, {"sr": ["PACS1"]}), **late)  # type: ignore[arg-type]
    assert not house.jobs.put_back(first, outcome="killed", reason="again", events=[SAID])
    assert house.outbox.of_study(first.study_instance_uid) == ()
    assert house.events_of_kind("test") == []
    assert [job.attempt for job in house.jobs.running()] == [2]
    attempts = house.jobs.attempts(first.job_id)
    assert [(one.number, one.outcome, one.reason) for one in attempts] == [
        (1, "killed", "the worker died"),
        (2, "running", None),
    ]


def test_a_job_ends_once(house: House) -> None:
    running = _started(house, house.ready_job())
    end = {"outcome": "done", "reason": None, "events": [SAID]}
    assert house.jobs.finish(running, state="done", **end)  # type: ignore[arg-type]
    assert not house.jobs.finish(running, state="failed", **end)  # type: ignore[arg-type]
    ended = house.jobs.get(running.job_id)
    assert ended
    assert ended.state == "done"
    assert len(house.events_of_kind("test")) == 1


def test_results_and_the_end_of_their_job_are_written_together_or_not_at_all(house: House) -> None:
    running = _started(house, house.ready_job())
    results = [house.result(running.study_instance_uid, "sr")]
    with pytest.raises(Exception, match="JSON serializable"):
        house.jobs.finish(
            running,
            state="done",
            outcome="done",
            reason=None,
            results=results,
            recipients=recipients_of(results, {"sr": ["PACS1"]}),
            events=[Event("test", "cannot be written", data={"not json": object()})],
        )
    assert house.outbox.results_of_study(running.study_instance_uid) == ()
    assert [job.job_id for job in house.jobs.running()] == [running.job_id]


def test_a_job_that_is_given_up_comes_back_to_tell_why(house: House) -> None:
    running = _started(house, house.ready_job())
    house.jobs.put_back(running, outcome="killed", reason="the worker died", give_up_reason="killed its worker 3 times")
    (job,) = house.jobs.ready(10)
    assert (job.give_up_reason, job.reason) == ("killed its worker 3 times", "the worker died")


def test_a_person_can_requeue_what_has_ended_and_nothing_else(house: House) -> None:
    running = _started(house, house.ready_job())
    assert not house.jobs.requeue(running.job_id, event=SAID)
    house.jobs.finish(running, state="failed", outcome="failed", reason="no lungs")
    assert house.jobs.requeue(running.job_id, event=SAID)
    assert not house.jobs.requeue(running.job_id, event=SAID)
    assert len(house.events_of_kind("test")) == 1
    (job,) = house.jobs.ready(10)
    assert (job.reason, job.give_up_reason, job.finished_at, job.attempt) == (None, None, None, 1)
    assert house.jobs.start(job.job_id) == 2


def test_counts_name_every_state_that_occurs(house: House) -> None:
    house.ready_job()
    _started(house, house.ready_job())
    house.ready_job(state="skipped", reason="MR, not CT")
    assert house.jobs.counts() == {"ready": 1, "running": 1, "skipped": 1}
