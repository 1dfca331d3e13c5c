"""Jobs that read several series: they wait, start when these are whole, and tell when they did not come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from dicom_node.companion_watch import CompanionWatch
from inference.contract import CompanionContract, InputContract, SeriesContract
from storage.records.jobs import Companion, Job, NewJob
from storage.records.received import Association, Series
from tests.made_rows import House, new_instance, open_house, recipients_of

MODEL = "two@1.0.0"
CT = SeriesContract(modality="CT")
PRIOR = CompanionContract(name="prior", scope="prior", wait_s=600.0, series=CT)
PHASE = CompanionContract(
    name="arterial", scope="study", wait_s=600.0, series=SeriesContract(modality="CT", description="arterial")
)


class Bench:
    """The stores of a node, series that arrive in them, and a clock that the test turns."""

    def __init__(self, folder: Path, *companions: CompanionContract) -> None:
        self.house: House = open_house(folder)
        self.contract: InputContract | None = InputContract(modality="CT", companions=companions)
        self.passed_s = 0.0
        self.watch = CompanionWatch(
            self.house.jobs,
            self.house.studies,
            self.house.instances,
            lambda _key: self.contract,
            clock=lambda: time.time() + self.passed_s,
        )

    def receive(
        self, study: str, date: str, *, patient: str = "P1", description: str = "", uid: str | None = None
    ) -> Series:
        """A series of one image, still arriving; or another image of one that is known."""
        uid, now = uid or generate_uid(), time.time()
        association = Association(generate_uid()[-36:], "a1", "CT1", "NODE", "127.0.0.1", now)
        self.house.studies.open_association(association)
        facts = {"Modality": "CT", "StudyDate": date, "StudyTime": "1015", "SeriesDescription": description}
        self.house.instances.add(
            new_instance(
                series_instance_uid=uid,
                study_instance_uid=study,
                object_key=f"instances/{generate_uid()}",
                association_id=association.association_id,
                received_at=now,
                patient_id=patient,
                study_date=date,
                facts=facts,
            )
        )
        (series,) = [one for one in self.house.studies.series_of(study) if one.series_instance_uid == uid]
        return series

    def settle(self, series: Series, *jobs: NewJob) -> None:
        assert self.house.studies.settle(series, evidence="made", jobs=jobs, events=[])

    def queue(self, study: str = "1.2.3", *, patient: str = "P1", report: bool = True) -> Job:
        series = self.receive(study, "20260105", patient=patient, description="venous")
        rules = self.contract.companions if self.contract else ()
        companions = tuple(Companion(rule.name) for rule in rules)
        new = NewJob(MODEL, "r", "waiting", "routine", ("pacs",), report, 60.0, companions=companions)
        self.settle(series, new)
        return self.house.jobs.of_study(study)[-1]

    def look(self, *, after_s: float = 0.0) -> None:
        self.passed_s += after_s
        self.watch.step(settled=after_s == 0.0)

    def job(self, job: Job) -> Job:
        found = self.house.jobs.get(job.job_id)
        assert found
        return found

    def told(self) -> list[tuple[str, str]]:
        kinds = ("job_waits", "job_skipped", "companion_found", "companion_missing")
        return [(event.kind, event.text) for event in self.house.events_of_kind(*kinds)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, PRIOR)
    yield made
    made.house.database.close()


@pytest.fixture
def phases(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, PHASE)
    yield made
    made.house.database.close()


def test_a_job_waits_for_its_prior_and_says_so_once(bench: Bench) -> None:
    job = bench.queue()
    for after_s in (0.0, 5.0, 5.0):
        bench.look(after_s=after_s)
    waiting = bench.job(job)
    assert (waiting.state, waiting.reason) == ("waiting", "waits for prior: no earlier study of the patient is here")
    assert bench.told() == [("job_waits", f"{MODEL} waits for prior: no earlier study of the patient is here")]
    assert bench.house.jobs.ready(10) == ()


def test_it_is_ready_with_its_prior_once_that_is_whole(bench: Bench) -> None:
    job = bench.queue()
    prior = bench.receive("1.2.2", "20250105")
    bench.look()
    assert bench.job(job).reason == (
        "waits for prior: no fitting series in an earlier study; of 1 there, the nearest: it is not whole yet"
    )
    bench.settle(prior)
    bench.look()
    ready = bench.job(job)
    assert (ready.state, ready.reason) == ("ready", None)
    assert ready.companions == (Companion("prior", prior.series_id, 1, prior.series_instance_uid, "1.2.2"),)
    assert bench.told()[-1] == ("companion_found", f"{MODEL} reads prior {prior.series_instance_uid}")


def test_a_prior_that_is_there_before_is_found_at_once(bench: Bench) -> None:
    bench.settle(bench.receive("1.2.2", "20250105"))
    job = bench.queue()
    bench.look()
    assert bench.job(job).state == "ready"
    assert [kind for kind, _ in bench.told()] == ["companion_found"]


def test_a_prior_that_changes_before_the_job_starts_is_waited_for_and_chosen_anew(bench: Bench) -> None:
    prior = bench.receive("1.2.2", "20250105")
    bench.settle(prior)
    job = bench.queue()
    bench.look()
    assert bench.job(job).state == "ready"
    changed = bench.receive("1.2.2", "20250105", uid=prior.series_instance_uid)
    assert bench.house.jobs.start(job.job_id) is None
    assert bench.job(job).state == "waiting"
    bench.look()
    assert bench.job(job).state == "waiting"
    bench.settle(changed)
    bench.look()
    assert bench.job(job).companions[0].revision == 2
    assert bench.house.jobs.start(job.job_id) == 1


def test_studies_of_other_patients_are_no_priors(bench: Bench) -> None:
    bench.settle(bench.receive("1.2.2", "20250105", patient="P2"))
    named, nameless = bench.queue("1.2.3"), bench.queue("1.2.4", patient="")
    bench.settle(bench.receive("1.2.1", "20250105", patient=""))
    bench.look()
    assert [bench.job(job).state for job in (named, nameless)] == ["waiting", "waiting"]


def test_after_its_time_the_job_runs_to_report_what_it_missed(bench: Bench) -> None:
    job = bench.queue()
    bench.look(after_s=599.0)
    assert bench.job(job).state == "waiting"
    bench.look(after_s=2.0)
    ready = bench.job(job)
    assert ready.state == "ready"
    assert ready.companions == (Companion("prior", absent="no earlier study of the patient is here"),)
    assert bench.told()[-1] == (
        "companion_missing",
        f"{MODEL} goes on without prior: no earlier study of the patient is here",
    )


def test_after_its_time_it_is_skipped_where_the_route_wants_no_report(bench: Bench) -> None:
    job = bench.queue(report=False)
    bench.look(after_s=601.0)
    skipped = bench.job(job)
    assert (skipped.state, skipped.reason) == ("skipped", "no prior: no earlier study of the patient is here")
    assert bench.told()[-1][0] == "job_skipped"


def test_where_an_older_revision_was_reported_silence_does_not_leave_that_report_standing(bench: Bench) -> None:
    first = bench.queue(report=False)
    bench.settle(bench.receive("1.2.2", "20250105"))
    bench.look()
    bench.house.jobs.start(first.job_id)
    results = [bench.house.result("1.2.3", "sr")]
    recipients = recipients_of(results, {"sr": ("pacs",)})
    assert bench.house.jobs.finish(
        bench.job(first), state="done", outcome="done", reason=None, results=results, recipients=recipients
    )
    late = bench.receive("1.2.3", "20260105", uid=first.series_instance_uid)
    assert late.revision == 2
    bench.contract = InputContract(modality="CT", companions=(PRIOR.model_copy(update={"max_age_days": 1}),))
    second = NewJob(MODEL, "r", "waiting", "routine", ("pacs",), False, 60.0, companions=(Companion("prior"),))
    bench.settle(late, second)
    bench.look(after_s=601.0)
    (job,) = [one for one in bench.house.jobs.of_study("1.2.3") if one.revision == 2]
    assert (job.state, job.companions[0].absent) == ("ready", "the latest earlier study is 365 days older > 1")


def test_a_companion_that_is_not_required_is_taken_where_it_is_there_and_never_waited_for(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PRIOR.model_copy(update={"required": False}))
    alone = bench.queue("1.2.3")
    bench.look()
    bench.settle(bench.receive("1.2.2", "20250105"))
    accompanied = bench.queue("1.2.4")
    bench.look()
    assert [bench.job(job).state for job in (alone, accompanied)] == ["ready", "ready"]
    assert [bench.job(job).companions[0].series_id is None for job in (alone, accompanied)] == [True, False]
    bench.house.database.close()


def test_a_phase_is_found_in_the_same_study_when_it_settles(phases: Bench) -> None:
    job = phases.queue()
    other = phases.receive("1.2.3", "20260105", description="delayed")
    phases.settle(other)
    phases.look()
    assert phases.job(job).state == "waiting"
    arterial = phases.receive("1.2.3", "20260105", description="Abdomen arterial")
    phases.settle(arterial)
    phases.look()
    assert phases.job(job).companions[0].series_id == arterial.series_id


def test_between_series_that_settle_the_database_is_looked_at_once_a_second(bench: Bench) -> None:
    bench.look()
    job = bench.queue()
    bench.look(after_s=0.5)
    assert bench.job(job).reason is None
    bench.look(after_s=0.6)
    assert bench.job(job).reason


def test_a_job_whose_model_is_no_longer_configured_goes_on_to_where_that_is_told(bench: Bench) -> None:
    job = bench.queue()
    bench.contract = None
    bench.look()
    assert bench.job(job).state == "ready"
