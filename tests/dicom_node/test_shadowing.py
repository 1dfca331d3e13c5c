"""A version that runs beside the active one delays nothing, sends nothing, alarms nobody, and is compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from dicom_node.attempt import JobOutcome
from dicom_node.dispatch import Dispatch, kept_findings_key
from dicom_node.requeue import analyse_again
from dicom_node.shadow_compare import comparison_of, document
from dicom_node.shadow_looks import compared
from dicom_node.shadowing import SWEEP_S, KeptFindings, shadow_beside
from dicom_node.stores import Stores
from inference.monitor.paired import ClassPair, NumberPair, Paired, SegmentPair
from inference.package import Package
from inference.registry import Registry
from storage.models import Models
from storage.records.jobs import Companion, Job, NewShadow
from storage.records.models import ModelRole
from storage.shadows import MOST_WAITING, Shadows, queue_shadow
from tests.dicom_node.test_dispatch import REPORT, STUDY, Bench
from tests.made_rows import House, MemoryStore, open_house

PACKAGE = Registry().get("ct_lung_density")
ALIKE = Paired(segments=(SegmentPair("lung", "Lung", 10, 10, 1.0),))
APART = Paired(
    segments=(SegmentPair("lung", "Lung", 10, 8, 0.5),),
    numbers=(NumberPair("v", "Lung: Volume", "mL", 10.0, 8.0),),
    classes=(ClassPair("n", "Nodule", "present", "absent"),),
)


class Shadowed(Bench):
    """A bench whose jobs of model m have a shadow, m@2.0.0."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.shadows = Shadows(self.database)
        self.shadow: NewShadow | None = NewShadow("m@2.0.0", 30.0)

    def new_dispatch(self, **more: Any) -> Dispatch:
        return super().new_dispatch(shadow_of=lambda _job: self.shadow, **more)

    def end(self, **outcome: Any) -> None:
        self.engine.end("done", JobOutcome("ok", **outcome))
        self.dispatch.step(0)

    def kinds_of_events(self) -> list[str]:
        return [event.kind for event in self.events.of_study(STUDY)]

    def compared_job(self, found: Paired) -> Job:
        """A study that was analysed by both."""
        self.queue()
        self.dispatch.step(0)
        self.end(results=())
        self.end(comparison=found.document())
        return self.jobs.of_study(STUDY)[-1]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Shadowed]:
    made = Shadowed(tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = open_house(tmp_path)
    yield made
    made.database.close()


def test_a_shadow_is_queued_when_its_job_is_done_and_told_where_the_findings_of_that_one_are(bench: Shadowed) -> None:
    job = bench.queue()
    bench.dispatch.step(0)
    (spec,) = bench.engine.submitted.values()
    assert (spec.findings_key, spec.compare_with) == (kept_findings_key(job.job_id), None)
    bench.end(results=(REPORT,))
    (spec,) = bench.engine.submitted.values()
    assert (spec.findings_key, spec.compare_with) == (None, kept_findings_key(job.job_id))
    shadow = bench.jobs.of_study(STUDY)[-1]
    assert (shadow.model, shadow.role, shadow.compared_with) == ("m@2.0.0", "shadow", job.job_id)
    bench.end(comparison=ALIKE.document())
    shadow = bench.job(shadow)
    assert (shadow.state, shadow.comparison) == ("done", ALIKE.document())
    assert {item.job_id for item in bench.outbox.of_study(STUDY)} == {job.job_id}


def test_every_other_job_comes_before_a_shadow_however_late_it_came(bench: Shadowed) -> None:
    bench.queue()
    bench.dispatch.step(0)
    others = [bench.queue(model) for model in ("other@1.0.0", "third@1.0.0")]
    bench.end(results=())
    for _ in others:
        (running,) = bench.jobs.running()
        assert running.role == "active"
        bench.end(results=())
    (running,) = bench.jobs.running()
    assert running.role == "shadow"


def test_no_shadow_starts_while_there_is_no_room_for_routine_jobs(bench: Shadowed) -> None:
    bench.queue()
    bench.dispatch.step(0)
    bench.routine_waits = True
    bench.end(results=())
    assert bench.engine.submitted == {}


def test_a_shadow_that_fails_is_a_warning_and_is_reported_to_nobody(bench: Shadowed) -> None:
    bench.queue()
    bench.dispatch.step(0)
    bench.end(results=(REPORT,))
    bench.end(error="ValueError: broken")
    shadow = bench.jobs.of_study(STUDY)[-1]
    assert (shadow.state, shadow.reason) == ("failed", "ValueError: broken")
    assert bench.engine.submitted == {}
    assert {event.kind for event in bench.events.of_study(STUDY) if event.severity == "warning"} == {"shadow_failed"}
    assert not [event for event in bench.events.of_study(STUDY) if event.severity == "alarm"]


def test_a_shadow_that_kills_its_worker_is_tried_again_and_then_failed(bench: Shadowed) -> None:
    bench.queue()
    bench.dispatch.step(0)
    bench.end(results=())
    for _ in range(3):
        bench.engine.end("killed", reason="the worker ended")
        bench.dispatch.step(0)
    assert bench.jobs.of_study(STUDY)[-1].state == "failed"
    assert "job_failed" not in bench.kinds_of_events()


def test_beside_what_only_reports_and_beside_a_canary_nothing_runs(bench: Shadowed) -> None:
    bench.queue(give_up_reason="nothing is left")
    bench.queue("other@1.0.0", role="canary")
    for _ in range(2):
        bench.dispatch.step(0)
        bench.end(results=())
    assert [job.role for job in bench.jobs.of_study(STUDY)] == ["active", "canary"]


def test_a_job_that_runs_again_has_its_shadow_run_again(bench: Shadowed) -> None:
    shadow = bench.compared_job(APART)
    job = bench.jobs.of_study(STUDY)[0]
    stores = cast(Stores, type("S", (), {"studies": _Named(job), "jobs": bench.jobs, "models": Models(bench.database)}))
    assert analyse_again(stores, STUDY, None) == 1
    bench.dispatch.step(0)
    bench.end(results=())
    assert (bench.job(shadow).state, bench.job(shadow).comparison) == ("running", None)
    bench.end(comparison=ALIKE.document())
    assert bench.job(shadow).comparison == ALIKE.document()


class _Named:
    def __init__(self, job: Job) -> None:
        self._job = job

    def find(self, _key: str) -> list[Job]:
        return [self._job]


def test_a_version_that_ran_there_already_gets_no_shadow_of_itself(bench: Shadowed) -> None:
    bench.shadow = NewShadow("m@1.0.0", 30.0)
    bench.queue()
    bench.dispatch.step(0)
    bench.end(results=())
    assert [job.role for job in bench.jobs.of_study(STUDY)] == ["active"]


def test_shadows_do_not_gather_without_end(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.shadows.MOST_WAITING", 2)
    assert MOST_WAITING > 2
    for _ in range(3):
        job = house.ready_job()
        with house.database.write() as connection:
            queue_shadow(connection, job, NewShadow("m@2", 30.0))
    assert house.shadows.counts("m") == {("m@2", "ready"): 2}
    assert "2 of its like wait already" in house.events_of_kind("shadow_queued")[-1].text


def test_shadows_count_among_no_jobs_and_the_study_is_settled_without_them(house: House) -> None:
    job = house.ready_job()
    with house.database.write() as connection:
        queue_shadow(connection, job, NewShadow("m@2", 30.0))
    assert house.jobs.counts() == {"ready": 1}
    assert [one.role for one in house.jobs.ready(5)] == ["active", "shadow"]
    assert house.shadows.waits_for() == {job.job_id}
    assert house.shadows.drop("m", "no shadow any more") == 1
    assert house.shadows.waits_for() == frozenset()


def test_a_shadow_ends_where_its_series_or_one_that_it_reads_moves_on(house: House) -> None:
    job = house.ready_job()
    with house.database.write() as connection:
        queue_shadow(connection, job, NewShadow("m@2", 30.0))
    (shadow,) = [one for one in house.jobs.of_study(job.study_instance_uid) if one.role == "shadow"]
    house.one_more(job)
    assert house.jobs.start(shadow.job_id) is None
    found = house.jobs.get(shadow.job_id)
    assert found
    assert found.state == "superseded"


def test_what_is_kept_for_shadows_is_removed_when_none_waits_for_it(house: House) -> None:
    waited_for, running, ended = (house.ready_job() for _ in range(3))
    with house.database.write() as connection:
        queue_shadow(connection, waited_for, NewShadow("m@2", 30.0))
    house.jobs.start(running.job_id)
    objects, now = MemoryStore(), 0.0
    for job in (waited_for, running, ended):
        objects.put(kept_findings_key(job.job_id), [b"findings"])
    objects.put("results/a", [b"result"])
    kept = KeptFindings(objects, house.jobs, house.shadows, clock=lambda: now)  # type: ignore[arg-type]
    assert (kept.step(), kept.step()) == (1, 0)
    assert set(objects.keys()) == {
        kept_findings_key(waited_for.job_id),
        kept_findings_key(running.job_id),
        "results/a",
    }
    house.shadows.drop("m", "off")
    now += SWEEP_S
    assert kept.step() == 1


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, True),
        ({"role": {"shadow_sha256": None}}, False),
        ({"role": {"disabled_at": 1.0}}, False),
        ({"job": {"model": PACKAGE.key}}, False),
        ({"job": {"model": "other@1.0.0"}}, False),
        ({"job": {"companions": (Companion("prior"),)}}, False),
    ],
)
def test_a_shadow_runs_beside_another_version_that_reads_the_same_series(
    house: House, changed: dict[str, Any], expected: bool
) -> None:
    job = replace(house.ready_job(), **({"model": "ct_lung_density@0.9.0"} | changed.get("job", {})))
    role = replace(ModelRole("ct_lung_density", shadow_sha256=PACKAGE.content_sha256), **changed.get("role", {}))
    known: dict[str, Package] = {PACKAGE.content_sha256: PACKAGE}
    found = shadow_beside(job, {"ct_lung_density": role}, known.get)
    assert found == (NewShadow(PACKAGE.key, max(60.0, PACKAGE.manifest.resources.timeout_s)) if expected else None)


def test_a_comparison_names_the_studies_that_differ_most_first(bench: Shadowed) -> None:
    for found in (ALIKE, APART):
        bench.compared_job(found)
    told = comparison_of(bench.shadows, "m")
    (against,) = told.against
    assert (against.model, against.beside, against.agreement.pairs) == ("m@2.0.0", "m@1.0.0", 2)
    assert [case.difference for case in against.cases] == [1.0, 0.0]
    (segment,) = against.agreement.segments
    assert (segment.median_dice, segment.least_dice) == (0.75, 0.5)
    tree = document(told)
    assert tree["against"][0]["cases"][0]["study_instance_uid"] == STUDY
    assert tree["against"][0]["agreement"]["numbers"][0]["mean_difference"] == -2.0


def test_a_comparison_is_told_in_words(bench: Shadowed) -> None:
    bench.compared_job(APART)
    console = Console(width=200, file=StringIO())
    console.print(compared(comparison_of(bench.shadows, "m")))
    told = cast(StringIO, console.file).getvalue()
    for words in (
        "m@2.0.0 beside m@1.0.0: 1 series",
        "Lung: Dice 0.5000; Lung: Volume: 10 → 8 mL; Nodule: present → absent",
        "dicom-node explain A1",
    ):
        assert words in told
    assert comparison_of(bench.shadows, "none").against == ()


def test_a_name_that_begins_like_another_is_not_mixed_up_with_it(bench: Shadowed) -> None:
    bench.compared_job(APART)
    assert bench.shadows.compared("") == ()
    assert bench.shadows.counts("m") == {("m@2.0.0", "done"): 1}
