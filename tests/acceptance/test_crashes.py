"""The node is stopped or killed while a job runs: each study still ends once, with the same results or with a reason."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from dicom_node.results.reading import comments_of
from tests.acceptance.node import NodeUnderTest, configuration, kill
from tests.acceptance.pacs import destination, modalities, report_in, storescu
from tests.acceptance.studies import Study, made_study
from tests.orthanc import Orthanc
from tests.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(PATIENCE_S)]

# /proc/PID/task/TID/syscall begins with the number of the call that the thread is in, and openat's arguments.
_OPENAT = "257 0xffffff9c"


def calls_of(pid: int) -> list[str]:
    """What each thread of a process is doing now; of one that has just ended, nothing."""
    with suppress(OSError):
        return [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/syscall")]
    return []


class Obstacle:
    """Stands in for a stored object: a worker that reads it waits for ever, as in a decoder that hangs."""

    def __init__(self, node: NodeUnderTest, study: Study) -> None:
        self._node = node
        # Rows follow their objects in batches, a moment after the answer.
        wait_until(lambda: node.stores.studies.series_of(study.uid))
        series = node.stores.studies.series_of(study.uid)[0]
        key = node.stores.instances.of_series(series.series_id, up_to_revision=series.revision)[0].object_key
        record = node.folder / "data" / "objects" / key
        self._path = record.parent if record.parent.suffix == ".pack" else record  # received instances lie in packs
        self._aside = self._path.with_suffix(".aside")
        self._path.rename(self._aside)
        os.mkfifo(self._path)

    def is_met(self) -> bool:
        """Whether a worker waits now: one of its threads is in an openat that does not return."""
        return any(_OPENAT in call for pid in self._node.worker_pids() for call in calls_of(pid))

    def remove(self) -> None:
        self._aside.replace(self._path)


@pytest.fixture
def node(tmp_path: Path, orthanc: Orthanc) -> NodeUnderTest:
    return NodeUnderTest(
        tmp_path, configuration(destinations=[destination(orthanc)], completeness={"settle_s": 0.5, "quiet_s": 60})
    )


def push(peer: Callable[[str], str], node: NodeUnderTest, study: Study) -> None:
    storescu(peer("storescu"), node.port, *study.files)


def test_after_a_power_failure_or_a_stop_amid_a_job_the_results_are_those_of_an_undisturbed_run(
    tmp_path: Path, node: NodeUnderTest, orthanc: Orthanc, peer: Callable[[str], str]
) -> None:
    study = made_study(tmp_path, "crash-1")
    with node.running():
        with node.paused_worker():
            push(peer, node, study)
            wait_until(lambda: node.job_states(study.uid) == ["running"])
            node.kill_all()
        assert node.job_states(study.uid) == ["running"]
        node.start()
        with node.paused_worker():
            wait_until(lambda: outcomes(node, study) == ["interrupted", "running"])
            node.stop()
    assert "did not stop in time" not in node.log()
    assert node.job_states(study.uid) == ["ready"]

    with node.running():
        wait_until(lambda: node.settled(study.uid))
    account = node.account(study.uid)
    assert account
    assert [item.outcome for item in account.jobs[0].attempts] == ["interrupted", "interrupted", "done"]
    assert account.jobs[0].attempts[0].reason == "the node was stopped"
    disturbed = orthanc.held(study.uid)
    assert modalities(disturbed) == ["OT", "SEG", "SR"]
    assert "Traceback" not in node.log()

    undisturbed = NodeUnderTest(made(tmp_path / "undisturbed"), configuration(completeness={"settle_s": 0.5}))
    with undisturbed.running():
        push(peer, undisturbed, study)
        wait_until(lambda: undisturbed.settled(study.uid))
    assert {path.stem.partition("-")[2] for path in undisturbed.folder.glob("results/*/*.dcm")} == set(disturbed)


def test_a_study_that_kills_its_worker_three_times_is_failed_and_reported_and_the_next_one_runs(
    tmp_path: Path, node: NodeUnderTest, orthanc: Orthanc, peer: Callable[[str], str]
) -> None:
    deadly, harmless = made_study(tmp_path, "crash-deadly"), made_study(tmp_path, "crash-harmless")
    with node.running():
        with node.paused_worker():
            push(peer, node, deadly)
            obstacle = Obstacle(node, deadly)
            push(peer, node, harmless)
        for kills in range(1, 4):
            wait_until(obstacle.is_met)
            if kills == 3:
                obstacle.remove()
            for pid in node.worker_pids():
                kill(pid)
            wait_until(lambda kills=kills: outcomes(node, deadly).count("killed") == kills)  # type: ignore[misc]
        for study in (deadly, harmless):
            wait_until(lambda study=study: node.settled(study.uid))  # type: ignore[misc]
        reason = "the worker process ended while it ran the job (killed, or out of memory), 3 times"
        account = node.account(deadly.uid)
        assert account
        job = account.jobs[0].job
        assert (job.state, job.reason) == ("failed", reason)
        assert outcomes(node, deadly) == ["killed", "killed", "killed", "done"]
        assert account.standing == "failed"
        assert node.job_states(harmless.uid) == ["done"]
        report = orthanc.held(deadly.uid)
        assert modalities(report) == ["OT", "SR"]
        assert any("not analysed" in text.lower() and reason in text for text in comments_of(report_in(report)))
        assert modalities(orthanc.held(harmless.uid)) == ["OT", "SEG", "SR"]
        assert "Traceback" not in node.log()

        # On a person's word it is analysed after all. What the PACS was told before stays another document.
        told = set(report)
        requeued = node.cli("requeue", deadly.accession_number)
        assert (requeued.stdout, requeued.returncode) == ("1 job queued again\n", 0)
        wait_until(lambda: node.job_states(deadly.uid) == ["done"] and node.settled(deadly.uid))
        after = {uid: content for uid, content in orthanc.held(deadly.uid).items() if uid not in told}
        assert modalities(after) == ["OT", "SEG", "SR"]


def test_a_job_that_takes_too_long_has_its_worker_restarted_and_ends_with_a_report(
    tmp_path: Path, orthanc: Orthanc, peer: Callable[[str], str]
) -> None:
    node = NodeUnderTest(
        tmp_path,
        configuration(
            models=[{"name": "ct_lung_density", "timeout_s": 10}],
            destinations=[destination(orthanc)],
            completeness={"settle_s": 0.5, "quiet_s": 60},
            engine={"attempts": 2},
        ),
    )
    study = made_study(tmp_path, "crash-slow")
    with node.running():
        with node.paused_worker():
            push(peer, node, study)
            obstacle = Obstacle(node, study)
        wait_until(lambda: outcomes(node, study) == ["timeout", "running"])
        wait_until(obstacle.is_met)
        obstacle.remove()
        wait_until(lambda: node.settled(study.uid))
        reason = "took longer than 10 s; its worker was restarted, 2 times"
        account = node.account(study.uid)
        assert account
        assert (account.jobs[0].job.state, account.jobs[0].job.reason) == ("failed", reason)
        report = orthanc.held(study.uid)
        assert modalities(report) == ["OT", "SR"]
        assert any(reason in text for text in comments_of(report_in(report)))
        assert "Traceback" not in node.log()


def outcomes(node: NodeUnderTest, study: Study) -> list[str]:
    account = node.account(study.uid)
    return [item.outcome for entry in account.jobs for item in entry.attempts] if account else []


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder
