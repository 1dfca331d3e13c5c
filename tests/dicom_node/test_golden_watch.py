"""Golden cases are run again after a start and daily, where jobs run and behind them; a failure is told, and acted on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_node.attempt import GoldenOutcome, GoldenSpec, run_attempt
from dicom_node.config import Config
from dicom_node.engine import Ended, Key
from dicom_node.golden_watch import AGAIN_S, LOOK_S, PATIENCE_S, GoldenWatch
from dicom_node.model_words import wrong_models
from dicom_node.patience import Patience
from dicom_node.versions import Versions
from inference.golden_verdict import Verdict
from inference.package import Package, load_package
from inference.scaffold import CASE, write_package
from storage.records.models import GoldenCheck
from tests.made_rows import House, open_house

GOOD = Verdict("A block of water in air", (), 0.1)
BAD = Verdict("A block of water in air", ("segment/dense: Dice 0.2 < 1",), 0.1)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return load_package(write_package(tmp_path_factory.mktemp("made") / "demo", "demo_seg"))


class Bench:
    """A watch over one model, an engine of one worker that ends what the test says, and a clock that the test turns."""

    def __init__(self, house: House, package: Package, others: int = 0, **model: Any) -> None:
        self.patience = Patience(others)
        self.house = house
        self.config = Config.model_validate({"models": [{"name": "demo_seg", "folder": str(package.folder)} | model]})
        self.versions = Versions(house.models, house.run_folder / "models")
        self.versions.take_up(self.config)
        self.now = 1_000_000.0
        self.running: dict[Key, GoldenSpec] = {}
        self.stopped: list[Key] = []
        self.watch = GoldenWatch(
            self,  # type: ignore[arg-type]
            house.jobs,
            house.models,
            patience=self.patience,
            clock=lambda: self.now,
        )
        self.use()

    def use(self) -> None:
        self.watch.use(self.config, self.versions.routable(self.config))

    def free(self) -> int:
        return 0 if self.running else 1

    def submit(self, key: Key, spec: GoldenSpec) -> None:
        self.running[key] = spec

    def stop_attempt(self, key: Key) -> None:
        self.stopped.append(key)
        del self.running[key]

    def step(self, later_s: float = LOOK_S) -> None:
        self.now += later_s
        self.watch.step()

    def end(self, verdict: Verdict | None = None, **ended: Any) -> None:
        (key,) = self.running
        del self.running[key]
        given = {"outcome": "done", "value": GoldenOutcome(verdict, "cpu")} if verdict else ended
        self.watch.take(Ended(key, **given))

    @property
    def checks(self) -> list[tuple[bool, str]]:
        return [(check.passed, check.words) for check in self.house.models.latest_checks().values()]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = open_house(tmp_path)
    yield made
    made.database.close()


def test_they_run_after_the_start_and_again_a_day_later(house: House, package: Package) -> None:
    bench = Bench(house, package)
    bench.step()
    (spec,) = bench.running.values()
    assert (spec.case, spec.package_sha256) == (0, package.content_sha256)
    bench.end(GOOD)
    assert bench.checks == [(True, "1 of 1 passed")]
    bench.step()
    bench.step(AGAIN_S / 2)
    assert not bench.running
    bench.step(AGAIN_S / 2)
    assert bench.running


def test_what_was_run_for_its_activation_is_not_run_again_the_same_day(house: House, package: Package) -> None:
    bench = Bench(house, package)
    house.models.add_check(GoldenCheck(package.content_sha256, "cpu", bench.now + 1, True, "1 of 1 passed"))
    bench.use()
    bench.step()
    assert not bench.running


def test_jobs_go_first_but_not_for_ever(house: House, package: Package) -> None:
    house.ready_job(model="other@1.0.0")
    bench = Bench(house, package)
    bench.step()
    bench.step()
    assert not bench.running
    bench.step(PATIENCE_S)
    assert bench.running


def test_a_failure_is_an_alarm_and_a_pass_after_it_is_told_too(house: House, package: Package) -> None:
    bench = Bench(house, package)
    bench.step()
    bench.end(BAD)
    (event,) = house.events_of_kind("golden_failed")
    assert (event.severity, event.text) == (
        "alarm",
        "golden cases of demo_seg@1.0.0 failed: A block of water in air: segment/dense: Dice 0.2 < 1",
    )
    assert house.models.disabled() == frozenset()
    (words,) = wrong_models(house.models)
    assert words.startswith("golden cases of demo_seg@1.0.0 failed")
    bench.step(AGAIN_S + LOOK_S)
    bench.end(GOOD)
    assert len(house.events_of_kind("golden_passed")) == 1
    assert wrong_models(house.models) == ()


def test_a_failure_disables_the_model_where_the_configuration_says_so(house: House, package: Package) -> None:
    bench = Bench(house, package, on_golden_failure="disable")
    bench.step()
    bench.end(BAD)
    role = house.models.roles()["demo_seg"]
    assert (role.disabled, role.disabled_by) == (True, "golden")
    assert "Dice 0.2 < 1" in (role.disabled_reason or "")
    bench.use()
    bench.step(AGAIN_S + LOOK_S)
    assert not bench.running


def test_a_case_whose_worker_is_lost_is_tried_again_and_given_up_in_the_end(house: House, package: Package) -> None:
    bench = Bench(house, package)
    for _ in range(3):
        bench.step()
        bench.end(outcome="killed", reason="the worker process ended")
    assert bench.checks == [(False, "A block of water in air: the worker process ended")]


def test_a_case_that_takes_longer_than_a_job_may_is_stopped(house: House, package: Package) -> None:
    bench = Bench(house, package, timeout_s=60)
    bench.step()
    bench.step(61)
    assert len(bench.stopped) == 1
    assert bench.checks == [(False, "A block of water in air: took longer than 60 s; its worker was restarted")]


def test_a_case_that_waits_for_a_job_gets_the_time_that_the_job_may_take(house: House, package: Package) -> None:
    bench = Bench(house, package, others=1, timeout_s=60)
    bench.patience.begins((7, 1), 3600, bench.now)
    bench.step()
    bench.step(3659)
    assert not bench.stopped
    bench.step(2)
    assert len(bench.stopped) == 1


def test_a_case_of_a_version_that_is_not_in_use_any_more_is_stopped_and_is_no_failure(
    house: House, package: Package
) -> None:
    bench = Bench(house, package, on_golden_failure="disable")
    bench.step()
    bench.watch.use(bench.config, {})
    assert len(bench.stopped) == 1
    bench.step()
    assert not bench.running
    assert bench.checks == []
    assert house.models.disabled() == frozenset()
    bench.use()
    bench.step()
    assert bench.running


def test_a_worker_runs_a_case_and_says_what_came_of_it(package: Package, tmp_path: Path) -> None:
    spec = GoldenSpec(str(package.folder), package.content_sha256, 0, "cpu")
    outcome = run_attempt(spec)
    assert outcome.verdict.passed, outcome.verdict.differences
    assert (outcome.verdict.case, outcome.device) == ("A block of water in air", "cpu")
    changed = write_package(tmp_path / "demo", "demo_seg")
    (changed / CASE).write_bytes(b"other")
    broken = run_attempt(GoldenSpec(str(changed), package.content_sha256, 0, "cpu"))
    assert "SHA-256 must be" in broken.verdict.differences[0]
