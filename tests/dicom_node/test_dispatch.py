"""What becomes of a job when its attempt ends well, badly, late, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from dicom_node.attempt import JobOutcome, JobSpec
from dicom_node.dispatch import OWN_TIMEOUT_GRACE_S, STORAGE_PAUSE_S, Dispatch
from dicom_node.engine import Ended, Key
from dicom_node.errors import NodeError
from dicom_node.patience import Patience
from dicom_node.profiles import Demand, Profile, demand
from storage.events import Events
from storage.instances import Instances
from storage.jobs import Jobs
from storage.outbox import Outbox
from storage.records.events import Event
from storage.records.jobs import Job, NewJob
from storage.records.received import Association
from storage.records.results import Result
from storage.studies import Studies
from tests.made_rows import made_database, new_instance, of_one_sum_alone

STUDY = "1.2.3"
REPORT = Result("1.2.3.9", "1.2", "1.2.3.8", STUDY, "1.2.840.10008.1.2.1", "sr", "AI", "results/a.dcm", "0" * 64, 10)
PICTURE = Result("1.2.3.10", "1.2", "1.2.3.8", STUDY, "1.2.840.10008.1.2.1", "sc", "AI", "results/b.dcm", "1" * 64, 10)
DEMANDS: Mapping[str, Demand] = {
    "pacs": demand(Profile(("seg", "sr", "sc")), None, may_refuse=True),
    "archive": demand(Profile(("seg", "sr")), None, may_refuse=True),
}


class FakeEngine:
    """Takes attempts and ends them as the test says."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self.submitted: dict[Key, JobSpec] = {}
        self.stopped: list[Key] = []
        self._ended: list[Ended] = []

    def free(self) -> int:
        return self.workers - len(self.submitted)

    def submit(self, key: Key, spec: JobSpec) -> None:
        self.submitted[key] = spec

    def end(self, outcome: Any, value: JobOutcome | None = None, reason: str = "") -> None:
        key = next(iter(self.submitted))
        del self.submitted[key]
        self._ended.append(Ended(key, outcome, value, reason))

    def ended(self, wait_s: float) -> Iterator[Ended]:
        found, self._ended = self._ended, []
        yield from found

    def stop_attempt(self, key: Key) -> None:
        self.stopped.append(key)
        self.submitted.pop(key)


class Bench:
    """A dispatch on a real database, a fake engine, and a clock that the test turns."""

    def __init__(self, folder: Path) -> None:
        self.database = made_database(folder)
        self.jobs, self.outbox, self.events = Jobs(self.database), Outbox(self.database), Events(self.database)
        self.engine = FakeEngine()
        self.now = 1000.0
        self.spec_error: NodeError | None = None
        self.routine_waits = False
        self.head_start_s = 3600.0
        self.timeout_s: float | None = None
        self.dispatch = self.new_dispatch()

    def new_dispatch(self, **more: Any) -> Dispatch:
        given = {"attempts": 3, "demands": DEMANDS, "routine_waits": lambda: self.routine_waits}
        given |= {"stat_head_start_s": self.head_start_s, "clock": lambda: self.now}
        return Dispatch(self.jobs, self.engine, spec_of=self._spec, **given | more)  # type: ignore[arg-type]

    def _spec(self, job: Job) -> JobSpec:
        if self.spec_error:
            raise self.spec_error
        return JobSpec(
            study_instance_uid=job.study_instance_uid,
            series_instance_uid=job.series_instance_uid,
            revision=job.revision,
            created_at=job.created_at,
            objects_url="file:///nowhere",
            object_keys=(),
            package_folder="",
            package_sha256="",
            device="cpu",
            kinds=("sr",),
            report_not_analysed=job.report_not_analysed,
            give_up_reason=job.give_up_reason,
            timeout_s=self.timeout_s,
        )

    def queue(self, model: str = "m@1.0.0", **more: Any) -> Job:
        studies = Studies(self.database)
        uid = f"1.2.3.{len(self.jobs.of_study(STUDY)) + 100}"
        association = f"a{uid}"
        studies.open_association(Association(association, "acceptor", "CT1", "NODE", "127.0.0.1", self.now))
        Instances(self.database, of_one_sum_alone).add(
            new_instance(
                sop_instance_uid=f"{uid}.1",
                series_instance_uid=uid,
                study_instance_uid=STUDY,
                content_sum=uid,
                object_key=f"k{uid}",
                association_id=association,
                received_at=self.now,
                patient_id="P1",
                patient_name="Doe^Jane",
                study_description="Chest",
            )
        )
        (series,) = studies.arriving()
        new = {"route": "r", "state": "ready", "priority": "routine", "destinations": ("pacs", "archive")}
        new |= {"report_not_analysed": True, "timeout_s": 30.0} | more
        assert studies.settle(series, evidence="", jobs=[NewJob(model=model, **new)], events=[])
        return self.jobs.of_study(STUDY)[-1]

    def job(self, job: Job) -> Job:
        found = self.jobs.get(job.job_id)
        assert found
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.database.close()


def test_results_and_outbox_rows_and_the_job_state_are_written_together(bench: Bench) -> None:
    job = bench.queue()
    bench.dispatch.step(0)
    bench.engine.end("done", JobOutcome("1 segment", (REPORT, PICTURE)))
    bench.dispatch.step(0)
    assert bench.job(job).state == "done"
    sent = {(item.destination, item.result.kind) for item in bench.outbox.of_study(STUDY)}
    assert sent == {("pacs", "sr"), ("pacs", "sc"), ("archive", "sr")}


def test_a_job_whose_worker_dies_runs_again_and_ends_once(bench: Bench) -> None:
    job = bench.queue()
    bench.dispatch.step(0)
    bench.engine.end("killed", reason="the worker ended")
    bench.dispatch.step(0)
    assert bench.job(job).state == "running"
    bench.engine.end("done", JobOutcome("ok", (REPORT,)))
    bench.dispatch.step(0)
    assert [attempt.outcome for attempt in bench.jobs.attempts(job.job_id)] == ["killed", "done"]
    assert len(bench.outbox.of_study(STUDY)) == 2


def test_a_job_that_kills_its_worker_three_times_is_reported_as_failed_and_the_next_one_runs(bench: Bench) -> None:
    killer, other = bench.queue(), bench.queue("other@1.0.0")
    for _ in range(3):
        bench.dispatch.step(0)
        bench.engine.end("killed", reason="the worker ended")
    bench.dispatch.step(0)
    (spec,) = bench.engine.submitted.values()
    assert spec.give_up_reason == "the worker ended, 3 times"
    bench.engine.end("done", JobOutcome("not analysed", (REPORT,), "the worker ended, 3 times"))
    bench.dispatch.step(0)
    failed = bench.job(killer)
    assert (failed.state, failed.reason) == ("failed", "the worker ended, 3 times")
    assert [item.result.kind for item in bench.outbox.of_study(STUDY)] == ["sr", "sr"]
    assert bench.job(other).state == "running"


def test_a_job_without_report_fails_at_once_after_the_last_kill(bench: Bench) -> None:
    job = bench.queue(report_not_analysed=False)
    for _ in range(3):
        bench.dispatch.step(0)
        bench.engine.end("killed", reason="the worker ended")
    bench.dispatch.step(0)
    assert bench.job(job).state == "failed"
    assert bench.engine.submitted == {}


def test_a_report_of_failure_that_fails_too_ends_the_job_with_an_alarm(bench: Bench) -> None:
    job = bench.queue()
    bench.dispatch.step(0)
    bench.engine.end("done", JobOutcome(error="ValueError: broken"))
    bench.dispatch.step(0)
    bench.engine.end("done", JobOutcome(error="ValueError: broken again"))
    bench.dispatch.step(0)
    assert bench.job(job).state == "failed"
    assert bench.job(job).reason == "ValueError: broken"
    assert [event.severity for event in bench.events.of_study(STUDY) if event.kind == "job_failed"] == ["alarm"]


def test_a_job_over_its_time_has_its_worker_restarted(bench: Bench) -> None:
    job = bench.queue(timeout_s=30.0)
    bench.dispatch.step(0)
    bench.now += 29.9
    bench.dispatch.step(0)
    assert bench.engine.stopped == []
    bench.now += 0.2
    bench.dispatch.step(0)
    assert bench.engine.stopped == [(job.job_id, 1)]
    assert bench.jobs.attempts(job.job_id)[0].outcome == "timeout"
    assert "longer than 30 s" in str(bench.jobs.attempts(job.job_id)[0].reason)
    assert bench.job(job).attempt == 2


@pytest.mark.parametrize("outcome", ["killed", "timeout"])
def test_a_job_whose_model_process_ends_is_tried_again_as_often_as_one_that_ends_its_worker(
    outcome: Literal["killed", "timeout"], bench: Bench
) -> None:
    job = bench.queue()
    reason = "the model process ended by signal 11 (SIGSEGV) while it ran m@1.0.0"
    for _ in range(3):
        bench.dispatch.step(0)
        bench.engine.end("done", JobOutcome(error=reason, ended=outcome))
    bench.dispatch.step(0)
    (spec,) = bench.engine.submitted.values()
    assert spec.give_up_reason == f"{reason}, 3 times"
    assert [attempt.outcome for attempt in bench.jobs.attempts(job.job_id)][:3] == [outcome] * 3
    assert bench.engine.stopped == []


def test_a_job_that_sees_to_its_time_itself_has_its_worker_restarted_only_where_it_does_not(bench: Bench) -> None:
    bench.timeout_s = 30.0
    job = bench.queue(timeout_s=30.0)
    bench.dispatch.step(0)
    bench.now += 30.0 + OWN_TIMEOUT_GRACE_S - 0.1
    bench.dispatch.step(0)
    assert bench.engine.stopped == []
    bench.now += 0.2
    bench.dispatch.step(0)
    assert bench.engine.stopped == [(job.job_id, 1)]


def test_where_attempts_take_turns_each_gets_the_time_of_another_and_its_own_where_that_one_hung(bench: Bench) -> None:
    bench.dispatch, bench.engine.workers = bench.new_dispatch(patience=Patience(1)), 2
    first, second = bench.queue("a@1.0.0", timeout_s=30.0), bench.queue("b@1.0.0", timeout_s=20.0)
    bench.dispatch.step(0)
    for later_s, stopped in ((49.9, []), (0.2, [first]), (19.7, [first]), (0.4, [first, second])):
        bench.now += later_s
        bench.dispatch.step(0)
        assert bench.engine.stopped == [(job.job_id, 1) for job in stopped]


def test_what_a_dispatcher_left_running_is_run_again_and_does_not_count_as_a_kill(bench: Bench) -> None:
    job = bench.queue()
    for _ in range(5):
        bench.engine.submitted.clear()
        bench.dispatch = bench.new_dispatch()
        bench.dispatch.recover()
        bench.dispatch.step(0)
    assert bench.job(job).state == "running"
    assert {attempt.outcome for attempt in bench.jobs.attempts(job.job_id)} == {"interrupted", "running"}


def test_a_dispatcher_that_stops_puts_its_running_jobs_back(bench: Bench) -> None:
    job = bench.queue()
    bench.dispatch.step(0)
    bench.dispatch.release()
    assert bench.job(job).state == "ready"


def test_a_late_answer_of_an_attempt_that_was_given_up_changes_nothing(bench: Bench) -> None:
    job = bench.queue()
    bench.dispatch.step(0)
    late = bench.job(job)
    bench.now += 31
    bench.dispatch.step(0)
    assert not bench.jobs.finish(late, state="done", outcome="done", reason=None, results=[REPORT])
    assert bench.outbox.of_study(STUDY) == ()
    assert bench.job(job).state == "running"


def test_a_stat_job_overtakes_routine_ones(bench: Bench) -> None:
    bench.queue("routine@1.0.0")
    stat = bench.queue("stat@1.0.0", priority="stat")
    bench.dispatch.step(0)
    assert list(bench.engine.submitted) == [(stat.job_id, 1)]


def test_a_stat_job_takes_the_next_free_worker_and_a_routine_one_past_the_head_start_is_not_overtaken(
    bench: Bench,
) -> None:
    bench.head_start_s = 0.0
    bench.dispatch = bench.new_dispatch()
    first, aged = bench.queue("first@1.0.0"), bench.queue("aged@1.0.0")
    bench.dispatch.step(0)
    stat = bench.queue("stat@1.0.0", priority="stat")
    bench.engine.end("done", JobOutcome("ok"))
    bench.dispatch.step(0)
    assert bench.job(first).state == "done"
    assert list(bench.engine.submitted) == [(aged.job_id, 1)]
    bench.engine.end("done", JobOutcome("ok"))
    bench.dispatch.step(0)
    assert list(bench.engine.submitted) == [(stat.job_id, 1)]


def test_while_routine_jobs_wait_a_stat_job_is_found_behind_routine_ones_past_the_head_start(bench: Bench) -> None:
    bench.head_start_s = 0.0
    bench.dispatch = bench.new_dispatch()
    for number in range(5):
        bench.queue(f"aged{number}@1.0.0")
    stat = bench.queue("stat@1.0.0", priority="stat")
    bench.routine_waits = True
    bench.dispatch.step(0)
    assert list(bench.engine.submitted) == [(stat.job_id, 1)]


def test_a_job_whose_results_could_not_be_stored_waits_and_runs_again(bench: Bench) -> None:
    job, other = bench.queue(), bench.queue("other@1.0.0")
    bench.dispatch.step(0)
    bench.engine.end("done", JobOutcome(storage_error="no space left"))
    bench.dispatch.step(0)
    assert bench.job(job).state == "ready"
    assert list(bench.engine.submitted) == [(other.job_id, 1)]
    bench.engine.end("done", JobOutcome("ok"))
    bench.dispatch.step(0)
    assert bench.engine.submitted == {}
    bench.now += STORAGE_PAUSE_S + 1
    bench.dispatch.step(0)
    assert list(bench.engine.submitted) == [(job.job_id, 2)]


def test_a_job_whose_model_is_no_longer_configured_fails_with_that_reason(bench: Bench) -> None:
    job = bench.queue()
    bench.spec_error = NodeError("model m@1.0.0 is no longer configured")
    bench.dispatch.step(0)
    assert bench.job(job).state == "failed"
    assert "no longer configured" in str(bench.job(job).reason)


def test_a_job_that_is_run_again_leaves_its_delivered_results_alone(bench: Bench) -> None:
    job = bench.queue()
    for _ in range(2):
        bench.dispatch.step(0)
        bench.engine.end("done", JobOutcome("ok", (REPORT,)))
        bench.dispatch.step(0)
        bench.outbox.delivered([item.delivery_id for item in bench.outbox.of_study(STUDY)])
        bench.jobs.requeue(job.job_id, event=Event("job_requeued", "again"))
    assert {item.state for item in bench.outbox.of_study(STUDY)} == {"delivered"}
    assert len(bench.outbox.of_study(STUDY)) == 2


def test_attempts_before_a_person_queued_the_job_again_do_not_count_against_it(bench: Bench) -> None:
    job = bench.queue(report_not_analysed=False)
    for _ in range(3):
        bench.dispatch.step(0)
        bench.engine.end("killed", reason="the worker ended")
    bench.dispatch.step(0)
    assert bench.jobs.requeue(job.job_id, event=Event("job_requeued", "again"))
    bench.dispatch.step(0)
    bench.engine.end("killed", reason="the worker ended")
    bench.dispatch.step(0)
    assert bench.job(job).state == "running"


def test_a_result_that_comes_out_otherwise_when_run_again_raises_an_alarm_and_the_first_stays(bench: Bench) -> None:
    job = bench.queue()
    for digest in ("0" * 64, "f" * 64):
        bench.dispatch.step(0)
        bench.engine.end("done", JobOutcome("ok", (replace(REPORT, content_sha256=digest),)))
        bench.dispatch.step(0)
        bench.jobs.requeue(job.job_id, event=Event("job_requeued", "again"))
    assert {item.result.content_sha256 for item in bench.outbox.of_study(STUDY)} == {"0" * 64}
    assert [event.kind for event in bench.events.of_study(STUDY) if event.severity == "alarm"] == ["result_differs"]


def test_while_routine_jobs_wait_stat_jobs_start_and_what_runs_goes_on(bench: Bench) -> None:
    running = bench.queue("running@1.0.0")
    bench.dispatch.step(0)
    routine, stat = bench.queue("routine@1.0.0"), bench.queue("stat@1.0.0", priority="stat")
    bench.routine_waits = True
    bench.engine.workers = 3
    bench.dispatch.step(0)
    assert list(bench.engine.submitted) == [(running.job_id, 1), (stat.job_id, 1)]
    for _ in range(2):
        bench.engine.end("done", JobOutcome("ok"))
    bench.dispatch.step(0)
    assert [bench.job(job).state for job in (running, stat, routine)] == ["done", "done", "ready"]
    assert bench.jobs.attempts(routine.job_id) == ()
    bench.routine_waits = False
    bench.dispatch.step(0)
    assert bench.job(routine).state == "running"


def test_a_job_that_runs_while_the_configuration_changes_ends_by_the_one_that_it_began_with(bench: Bench) -> None:
    first, second = bench.queue(), bench.queue()
    bench.dispatch.step(0)
    changed = bench.new_dispatch(demands=dict.fromkeys(DEMANDS, demand(Profile(("seg", "sr")), None, may_refuse=True)))
    changed.go_on_from(bench.dispatch)
    for _ in range(2):
        bench.engine.end("done", JobOutcome("ok", (REPORT, PICTURE)))
        changed.step(0)
    kinds = {
        job.job_id: sorted(item.result.kind for item in bench.outbox.of_study(STUDY) if item.job_id == job.job_id)
        for job in (first, second)
    }
    assert bench.job(first).state == bench.job(second).state == "done"
    assert [attempt.outcome for attempt in bench.jobs.attempts(first.job_id)] == ["done"]
    assert kinds[first.job_id] == ["sc", "sr", "sr"]


def test_a_job_that_overruns_its_time_is_stopped_after_a_change_too(bench: Bench) -> None:
    job = bench.queue()
    bench.dispatch.step(0)
    changed = bench.new_dispatch(attempts=1)
    changed.go_on_from(bench.dispatch)
    bench.now += job.timeout_s
    changed.step(0)
    assert bench.engine.stopped == [(job.job_id, 1)]


def late(bench: Bench, job: Job) -> None:
    """One more instance of the job's series."""
    first = f"{job.series_instance_uid}.1"
    Instances(bench.database, of_one_sum_alone).add(
        new_instance(
            sop_instance_uid=f"{first}.2",
            series_instance_uid=job.series_instance_uid,
            study_instance_uid=STUDY,
            content_sum=f"late {job.job_id}",
            object_key=f"k{first}.2",
            association_id=f"a{job.series_instance_uid}",
            received_at=bench.now,
            patient_id="P1",
            patient_name="Doe^Jane",
            study_description="Chest",
        )
    )


def queue_again(bench: Bench, **more: Any) -> Job:
    """The next revision, whole, with its job."""
    (series,) = Studies(bench.database).arriving()
    new: dict[str, Any] = {"model": "m@1.0.0", "route": "r", "state": "ready", "priority": "routine"}
    new |= {"destinations": ("pacs", "archive"), "report_not_analysed": True, "timeout_s": 30.0} | more
    assert Studies(bench.database).settle(series, evidence="", jobs=[NewJob(**new)], events=[])
    return bench.jobs.of_study(STUDY)[-1]


def kinds_of_events(bench: Bench) -> list[str]:
    return [event.kind for event in bench.events.of_study(STUDY)]


def test_a_job_whose_series_changed_before_it_started_is_not_run(bench: Bench) -> None:
    job = bench.queue()
    late(bench, job)
    bench.dispatch.step(0)
    assert bench.engine.submitted == {}
    assert bench.job(job).state == "superseded"


@pytest.mark.parametrize("send_stale", [False, True])
def test_a_job_whose_series_changed_while_it_ran_is_stale_and_the_next_revision_runs_after_it(
    bench: Bench, send_stale: bool
) -> None:
    bench.dispatch = bench.new_dispatch(send_stale=send_stale)
    bench.engine.workers = 2
    first = bench.queue()
    bench.dispatch.step(0)
    late(bench, first)
    second = queue_again(bench)
    other = bench.queue("other@1.0.0")
    bench.dispatch.step(0)
    assert set(bench.engine.submitted) == {
        (first.job_id, 1),
        (other.job_id, 1),
    }  # one at a time for one series and model
    bench.engine.end("done", JobOutcome("1 segment", (REPORT,)))
    bench.dispatch.step(0)
    assert (bench.job(first).state, bench.job(first).stale) == ("done", True)
    assert bench.job(second).state == "running"
    assert len(bench.outbox.of_study(STUDY)) == (2 if send_stale else 0)
    assert "job_stale" in kinds_of_events(bench)


def test_a_job_that_was_put_back_while_its_series_changed_is_not_tried_again(bench: Bench) -> None:
    job = bench.queue()
    bench.dispatch.step(0)
    late(bench, job)
    bench.engine.end("killed", reason="the worker ended")
    bench.dispatch.step(0)
    assert bench.job(job).state == "superseded"


def test_a_job_that_was_queued_only_to_say_why_nothing_is_analysed_has_not_failed(bench: Bench) -> None:
    job = bench.queue(give_up_reason="all images were rejected")
    bench.dispatch.step(0)
    (spec,) = bench.engine.submitted.values()
    assert (spec.give_up_reason, spec.is_withheld) == ("all images were rejected", True)
    bench.engine.end("done", JobOutcome("not analysed", (REPORT,), "all images were rejected"))
    bench.dispatch.step(0)
    assert (bench.job(job).state, bench.job(job).reason) == ("done", "all images were rejected")
    assert "job_failed" not in kinds_of_events(bench)


def test_a_failure_is_reported_where_it_replaces_a_result_even_if_the_route_wants_no_such_report(bench: Bench) -> None:
    first = bench.queue(report_not_analysed=False)
    bench.dispatch.step(0)
    bench.engine.end("done", JobOutcome("1 segment", (REPORT,)))
    bench.dispatch.step(0)
    late(bench, first)
    second = queue_again(bench, report_not_analysed=False)
    bench.dispatch.step(0)
    bench.engine.end("failed", reason="ValueError: broken")
    bench.dispatch.step(0)
    (spec,) = bench.engine.submitted.values()
    assert (spec.give_up_reason, spec.is_withheld) == ("ValueError: broken", False)
    bench.engine.end("done", JobOutcome("not analysed", (replace(REPORT, sop_instance_uid="1.2.3.20"),), "broken"))
    bench.dispatch.step(0)
    assert bench.job(second).state == "failed"
    waiting = {item.result.sop_instance_uid for item in bench.outbox.of_study(STUDY) if item.state == "waiting"}
    assert waiting == {"1.2.3.20"}
