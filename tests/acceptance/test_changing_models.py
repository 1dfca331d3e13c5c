"""Versions of a model change on a node that runs: activated, refused, rolled back, disabled, each effective at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inference.scaffold import write_package
from storage.records.jobs import Job
from tests.acceptance.node import NodeUnderTest, configuration
from tests.acceptance.pacs import storescu
from tests.acceptance.studies import Study, made_study
from tests.inference.made_versions import version_of
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.timeout(PATIENCE_S)


class Hospital:
    """A node whose only model came with the configuration, and what a scanner sends to it."""

    def __init__(self, folder: Path, tool: str) -> None:
        self.folder, self._tool = folder, tool
        self.first = write_package(folder / "demo", "demo_seg")
        models = [{"name": "demo_seg", "folder": str(self.first)}]
        routes = [{"name": "demo", "when": {"Modality": "CT"}, "models": ["demo_seg"], "destinations": ["results"]}]
        completeness = {"settle_s": 0.2, "quiet_s": 60}
        tree = configuration(models=models, routes=routes, completeness=completeness)
        self.node = NodeUnderTest(folder, tree)
        self._count = 0

    def send(self) -> Study:
        self._count += 1
        study = made_study(self.folder, f"study {self._count}")
        storescu(self._tool, self.node.port, *study.files)
        return study

    def job_of(self, study: Study) -> Job:
        wait_until(lambda: self.node.job_states(study.uid))
        account = self.node.account(study.uid)
        assert account
        (entry,) = account.jobs
        return entry.job

    def analysed_by(self) -> str:
        """The version that analyses the next study."""
        study = self.send()
        wait_until(lambda: self.node.settled(study.uid))
        job = self.job_of(study)
        assert job.state == "done", job.reason
        return job.model

    def models(self, *command: str) -> str:
        """What a command says that succeeds."""
        done = self.node.cli("models", *command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def hospital(tmp_path: Path, peer: Callable[[str], str]) -> Hospital:
    return Hospital(tmp_path, peer("storescu"))


def test_versions_change_on_a_running_node_and_the_next_job_knows(hospital: Hospital, tmp_path: Path) -> None:
    equal = version_of(hospital.first, tmp_path / "equal", "1.1.0")
    worse = version_of(hospital.first, tmp_path / "worse", "2.0.0", window_low=-200.0)
    node = hospital.node
    with node.running():
        assert hospital.analysed_by() == "demo_seg@1.0.0"
        assert "demo_seg@1.1.0 is active, in place of demo_seg@1.0.0" in hospital.models("activate", str(equal))
        assert hospital.analysed_by() == "demo_seg@1.1.0"

        refused = node.cli("models", "activate", str(worse))
        assert refused.returncode == 1
        (row,) = [line for line in refused.stdout.splitlines() if "Dice of dense" in line]
        assert row.split()[:5] == ["A", "block", "of", "water", "in"]
        assert "failed" in row
        assert hospital.analysed_by() == "demo_seg@1.1.0"

        # What is queued when the version is rolled back goes over; what runs ends as what it was started as.
        with node.paused_worker():
            running, queued = hospital.send(), hospital.send()
            wait_until(lambda: node.job_states(running.uid) == ["running"] and node.job_states(queued.uid) == ["ready"])
            hospital.models("rollback", "demo_seg")
            assert hospital.job_of(queued).model == "demo_seg@1.0.0"
        wait_until(lambda: node.settled(running.uid) and node.settled(queued.uid))
        assert [hospital.job_of(study).model for study in (running, queued)] == ["demo_seg@1.1.0", "demo_seg@1.0.0"]
        assert {hospital.job_of(study).state for study in (running, queued)} == {"done"}
    kinds = {event.kind for event in node.stores.events.recent(severities=("info", "warning", "alarm"), limit=500)}
    assert {"model_activated", "activation_refused", "model_rolled_back", "job_moved"} <= kinds


@pytest.mark.long
def test_a_version_is_removed_and_what_it_found_names_it_and_is_reproduced_once_it_is_back(
    hospital: Hospital, tmp_path: Path
) -> None:
    node = hospital.node
    with node.running():
        study = hospital.send()
        wait_until(lambda: node.settled(study.uid))
        folders = [version_of(hospital.first, tmp_path / number, number) for number in ("1.1.0", "1.2.0")]
        hospital.models("activate", str(folders[0]))
        refused = node.cli("models", "remove", "demo_seg@1.0.0")
        assert (refused.returncode, "which config.yaml names, holds it" in refused.stderr) == (1, True)
        aside = hospital.first.rename(tmp_path / "aside")
        folders[0].rename(hospital.first)
        refused = node.cli("models", "remove", "demo_seg@1.0.0")
        assert (refused.returncode, "is what a rollback returns to" in refused.stderr) == (1, True)
        hospital.models("activate", str(folders[1]))
        assert "demo_seg@1.0.0 is removed, which frees" in hospital.models("remove", "demo_seg@1.0.0")
        assert hospital.analysed_by() == "demo_seg@1.2.0"
    assert "demo_seg@1.0.0" in node.cli("explain", study.uid).stdout
    (result, *_) = [item.result for item in node.stores.history.results(study.uid) if item.result.kind == "seg"]
    again = node.cli("reproduce", result.sop_instance_uid)
    assert again.returncode == 2
    assert "cannot be run: model demo_seg@1.0.0: was removed" in again.stderr
    hospital.models("add", str(aside))
    again = node.cli("reproduce", result.sop_instance_uid)
    assert again.returncode == 0, again.stdout + again.stderr


@pytest.mark.long
def test_a_model_that_is_disabled_stops_at_once_and_goes_on_when_it_is_enabled(hospital: Hospital) -> None:
    node = hospital.node
    with node.running():
        wait_until(node.stores.models.latest_checks, "the golden cases are run after the start")
        with node.paused_worker():
            study = hospital.send()
            wait_until(lambda: node.job_states(study.uid) == ["running"])
            hospital.models("disable", "demo_seg", "--reason", "its masks are mirrored")
            wait_until(lambda: node.job_states(study.uid) == ["ready"])
        later = hospital.send()
        wait_until(lambda: node.job_states(later.uid) == ["ready"])
        status = node.cli("status")
        assert "demo_seg is disabled: its masks are mirrored" in status.stdout
        assert "its masks are mirrored" in node.cli("explain", study.uid).stdout
        assert "disabled: its masks are mirrored" in hospital.models("list")
        assert node.job_states(study.uid) == node.job_states(later.uid) == ["ready"]
        hospital.models("enable", "demo_seg")
        wait_until(lambda: node.settled(study.uid) and node.settled(later.uid))
    assert [hospital.job_of(one).state for one in (study, later)] == ["done", "done"]
