"""Deadlines: told once when they are missed, with where the job stands; and closed when nothing is left to deliver."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, update

from dicom_node.deadlines import DeadlineWatch
from storage.records.jobs import Job, JobState
from storage.schema import job as job_table
from storage.schema import outbox
from tests.made_rows import House, open_house, recipients_of

DEADLINE = 10_000.0


class Bench:
    """The stores of a node, and a clock that the test turns; the deadline of every job is at DEADLINE."""

    def __init__(self, folder: Path) -> None:
        self.house: House = open_house(folder)
        self.now = DEADLINE - 100
        self.watch = DeadlineWatch(self.house.deadlines, clock=lambda: self.now)

    def look(self, at: float) -> None:
        self.now = at
        self.watch.step()

    def queue(self, **more: object) -> Job:
        return self.house.ready_job(deadline_at=DEADLINE, destinations=("pacs", "archive"), **more)  # type: ignore[arg-type]

    def start(self, job: Job) -> Job:
        self.house.jobs.start(job.job_id)
        return self.job(job)

    def end(self, job: Job, state: JobState = "done", *, kinds: Sequence[str] = ("sr",)) -> None:
        results = [self.house.result(job.study_instance_uid, kind) for kind in kinds]
        assert self.house.jobs.finish(
            self.start(job),
            state=state,
            outcome="done" if state == "done" else "failed",
            reason=None if state == "done" else "the model failed",
            results=results,
            recipients=recipients_of(results, dict.fromkeys(kinds, ("pacs", "archive"))),
        )

    def sent(self, job: Job, destination: str, state: str, at: float | None = None) -> None:
        ids = [item.delivery_id for item in self.house.outbox.of_study(job.study_instance_uid)]
        with self.house.database.write() as connection:
            connection.execute(
                update(outbox)
                .where(outbox.c.delivery_id.in_(ids), outbox.c.destination == destination)
                .values(state=state, delivered_at=at)
            )

    def job(self, job: Job) -> Job:
        found = self.house.jobs.get(job.job_id)
        assert found
        return found

    def told(self) -> list[tuple[str, str, str]]:
        told = self.house.events_of_kind("deadline_missed", "deadline_met_late")
        return [(one.kind, one.severity, one.text) for one in told]

    def missed(self) -> str:
        """What is said of the one deadline that was missed, less its head."""
        ((kind, severity, words),) = self.told()
        assert (kind, severity) == ("deadline_missed", "alarm")
        return words.removeprefix("deadline of m@1 (route r) missed: ")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.house.database.close()


def test_a_job_that_waits_past_its_deadline_is_told_once_with_where_it_stands(bench: Bench) -> None:
    job = bench.queue()
    bench.look(DEADLINE - 1)
    assert bench.told() == []
    for late_s in (0.0, 5.0, 50.0):
        bench.look(DEADLINE + late_s)
    assert bench.missed() == "it waits for a worker"
    assert bench.job(job).deadline_missed_at is not None
    assert bench.house.deadlines.count_missed() == 1


def test_a_job_that_runs_past_its_deadline_says_so(bench: Bench) -> None:
    bench.start(bench.queue())
    bench.look(DEADLINE)
    assert bench.missed() == "it runs, attempt 1"


def test_a_job_that_waits_for_another_series_says_for_which(bench: Bench) -> None:
    bench.queue(state="waiting", reason="waits for prior: no earlier study of the patient")
    bench.look(DEADLINE)
    assert bench.missed() == "waits for prior: no earlier study of the patient"


def test_results_that_wait_for_one_of_their_destinations_name_it(bench: Bench) -> None:
    job = bench.queue()
    bench.end(job)
    bench.sent(job, "archive", "delivered", DEADLINE - 5)
    bench.look(DEADLINE)
    assert bench.missed() == "its results wait for destination pacs"


def test_results_that_were_refused_miss_their_deadline_and_say_by_whom(bench: Bench) -> None:
    job = bench.queue()
    bench.end(job)
    bench.sent(job, "archive", "delivered", DEADLINE - 5)
    bench.sent(job, "pacs", "refused")
    for late_s in (0.0, 5.0):
        bench.look(DEADLINE + late_s)
    assert bench.missed() == "its results were refused by pacs"


def test_a_job_that_failed_without_a_report_has_missed_its_deadline_for_that_reason(bench: Bench) -> None:
    bench.end(bench.queue(), "failed", kinds=())
    for late_s in (0.0, 5.0):
        bench.look(DEADLINE + late_s)
    assert bench.missed() == "it failed: the model failed"


def test_a_report_of_a_failure_that_was_delivered_in_time_meets_the_deadline(bench: Bench) -> None:
    job = bench.queue()
    bench.end(job, "failed")
    for destination in ("pacs", "archive"):
        bench.sent(job, destination, "delivered", DEADLINE - 5)
    bench.look(DEADLINE)
    assert bench.told() == []
    assert bench.job(job).deadline_closed_at is not None


def test_what_was_delivered_in_time_is_closed_without_a_word_and_not_looked_at_again(bench: Bench) -> None:
    job = bench.queue()
    bench.end(job)
    for destination in ("pacs", "archive"):
        bench.sent(job, destination, "delivered", DEADLINE - 5)
    bench.look(DEADLINE)
    assert bench.told() == []
    assert bench.job(job).deadline_closed_at is not None
    assert bench.house.deadlines.passed(DEADLINE + 1000) == ()


def test_results_that_come_to_all_their_destinations_after_all_say_how_late(bench: Bench) -> None:
    job = bench.queue()
    bench.end(job)
    bench.look(DEADLINE)
    bench.sent(job, "pacs", "delivered", DEADLINE + 40)
    bench.look(DEADLINE + 41)
    assert len(bench.told()) == 1
    bench.sent(job, "archive", "delivered", DEADLINE + 90)
    for late_s in (91.0, 95.0):
        bench.look(DEADLINE + late_s)
    assert bench.told()[1:] == [
        ("deadline_met_late", "info", "results of m@1 are at every destination, 90 s after the deadline")
    ]
    assert bench.house.deadlines.count_missed() == 0


def test_what_a_later_revision_superseded_is_closed_without_a_word(bench: Bench) -> None:
    job, stale = bench.queue(), bench.queue()
    bench.look(DEADLINE)
    assert len(bench.told()) == 2
    bench.end(stale, kinds=())
    with bench.house.database.write() as connection:
        connection.execute(update(job_table).where(job_table.c.job_id == job.job_id).values(state="superseded"))
        connection.execute(update(job_table).where(job_table.c.job_id == stale.job_id).values(stale=True))
    bench.look(DEADLINE + 5)
    assert len(bench.told()) == 2
    assert bench.house.deadlines.count_missed() == 0


@pytest.mark.parametrize("state", ["failed", "done"])
def test_a_job_whose_series_has_moved_on_is_past_its_deadline_no_longer(bench: Bench, state: JobState) -> None:
    job = bench.queue()
    bench.end(job, state, kinds=() if state == "failed" else ("sr",))
    bench.sent(job, "pacs", "refused")
    bench.look(DEADLINE)
    assert len(bench.told()) == bench.house.deadlines.count_missed() == 1
    bench.house.next_revision(bench.job(job))
    bench.look(DEADLINE + 5)
    assert len(bench.told()) == 1
    assert bench.house.deadlines.count_missed() == 0


def test_the_clock_may_be_asked_often_and_the_database_is_looked_at_once_a_second(bench: Bench) -> None:
    bench.look(DEADLINE - 0.5)
    bench.queue()
    bench.look(DEADLINE + 0.4)
    assert bench.told() == []
    bench.look(DEADLINE + 0.5)
    assert len(bench.told()) == 1


def plan_of(bench: Bench, ask: Callable[[], object]) -> str:
    """How the database goes about what is asked of it."""
    asked: list[tuple[str, Any]] = []

    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: Any) -> None:
        asked.append((statement, parameters))

    engine = bench.house.database.engine
    event.listen(engine, "before_cursor_execute", keep)
    ask()
    event.remove(engine, "before_cursor_execute", keep)
    (statement, parameters) = next(one for one in asked if one[0].startswith("SELECT"))
    with bench.house.database.read() as connection:
        return " ".join(row[-1] for row in connection.exec_driver_sql(f"explain query plan {statement}", parameters))


def test_deadlines_that_are_closed_cost_nothing(bench: Bench) -> None:
    deadlines = bench.house.deadlines
    for ask in (lambda: deadlines.passed(1.0), deadlines.late, deadlines.count_missed):
        plan = plan_of(bench, ask)
        assert "ix_job_open_deadline_at" in plan
        assert "ix_job_state" not in plan


def test_results_that_wait_for_a_destination_that_is_down_are_not_gone_through_for_every_late_job(bench: Bench) -> None:
    assert "ix_outbox_state_next_at" not in plan_of(bench, bench.house.deadlines.late)
