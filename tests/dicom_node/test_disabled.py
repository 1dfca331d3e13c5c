"""The kill switch: what runs is stopped, nothing starts, what was found is held back; and all of it goes on when it is undone."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from dicom_node.attempt import JobOutcome
from dicom_node.dispatch import Switched
from storage.records.jobs import Job
from tests.dicom_node.test_dispatch import Bench
from tests.made_rows import House, open_house

WHY = "disabled: its masks are mirrored"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.database.close()


def switch(bench: Bench, off: Collection[str] = ("m",), reporting: Collection[str] = ()) -> None:
    """As the dispatcher takes up a change of roles."""
    before = bench.dispatch
    bench.dispatch = bench.new_dispatch(
        switched=Switched(dict.fromkeys(off, WHY), frozenset(reporting), lambda _: False)
    )
    bench.dispatch.go_on_from(before)


def test_what_runs_is_stopped_at_once_and_waits(bench: Bench) -> None:
    job = bench.queue()
    bench.dispatch.step(0)
    switch(bench)
    bench.dispatch.step(0)
    assert bench.engine.stopped == [(job.job_id, 1)]
    assert bench.job(job).state == "ready"
    bench.dispatch.step(0)
    assert not bench.engine.submitted
    (attempt,) = bench.jobs.attempts(job.job_id)
    assert (attempt.outcome, attempt.reason) == ("interrupted", f"the model is {WHY}")


def test_other_models_run_on_and_are_not_held_up_by_what_waits(bench: Bench) -> None:
    bench.engine.workers = 2
    other = bench.queue("n@1.0.0")
    bench.dispatch.step(0)
    switch(bench)
    for _ in range(3):
        bench.queue("m@2.0.0")
    late = bench.queue("mm@1.0.0")
    bench.dispatch.step(0)
    assert bench.engine.stopped == []
    assert [key[0] for key in bench.engine.submitted] == [other.job_id, late.job_id]


def test_an_answer_that_comes_after_the_switch_changes_nothing(bench: Bench) -> None:
    job = bench.queue()
    bench.dispatch.step(0)
    (key,) = bench.engine.submitted
    switch(bench)
    bench.dispatch.step(0)
    bench.engine.submitted[key] = None  # type: ignore[assignment]
    bench.engine.end("done", JobOutcome("1 segment"))
    bench.dispatch.step(0)
    assert bench.job(job).state == "ready"


def test_jobs_run_once_the_model_is_enabled(bench: Bench) -> None:
    job = bench.queue()
    switch(bench)
    bench.dispatch.step(0)
    assert not bench.engine.submitted
    switch(bench, off=())
    bench.dispatch.step(0)
    assert [key[0] for key in bench.engine.submitted] == [job.job_id]


def test_jobs_report_that_nothing_is_analysed_where_that_is_wanted(bench: Bench) -> None:
    job = bench.queue()
    silent = bench.queue(report_not_analysed=False)
    switch(bench, reporting=("m",))
    bench.dispatch.step(0)
    (spec,) = bench.engine.submitted.values()
    assert spec.give_up_reason == f"the model is {WHY}"
    assert spec.is_withheld
    bench.engine.end("done", JobOutcome("not analysed", not_analysed=f"the model is {WHY}"))
    bench.dispatch.step(0)
    assert (bench.job(job).state, bench.job(silent).state) == ("done", "ready")
    assert [event.kind for event in bench.events.of_study(job.study_instance_uid) if event.severity == "warning"] == [
        "job_withheld"
    ]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = open_house(tmp_path)
    yield made
    made.database.close()


def next_study(house: House) -> set[str]:
    return {item.result.kind for item in house.outbox.next_study("PACS1", due_at=None)}


def reported(house: House, job: Job) -> None:
    """A report that nothing was analysed, which waits to be sent."""
    house.jobs.start(job.job_id)
    running = house.jobs.get(job.job_id)
    assert running
    report = house.result(job.study_instance_uid, "sr")
    house.jobs.finish(
        running,
        state="done",
        outcome="done",
        reason=job.give_up_reason,
        results=[report],
        recipients={report.sop_instance_uid: ["PACS1"]},
        not_analysed=True,
    )


def test_what_the_model_found_is_held_back_until_it_is_enabled(house: House) -> None:
    house.analysed_study()
    house.models.disable("m", "mirrored", by="command")
    assert next_study(house) == set()
    house.models.enable("m")
    assert next_study(house) == {"seg", "sr", "sc"}


def test_other_results_pass_those_that_are_held_back(house: House) -> None:
    house.analysed_study()
    reported(house, house.ready_job(model="other@1"))
    house.models.disable("m", "mirrored", by="command")
    assert next_study(house) == {"sr"}


def test_a_report_that_nothing_was_analysed_is_not_held_back(house: House) -> None:
    house.models.disable("m", "mirrored", by="command")
    reported(house, house.ready_job(give_up_reason=f"the model is {WHY}"))
    assert next_study(house) == {"sr"}
