"""A whole node on a disk that fills up, mark by mark, and is emptied again: nobody restarts anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.history import StudyAccount
from dicom_node.room import Marks
from tests.acceptance.node import NodeUnderTest, configuration
from tests.acceptance.studies import Study, made_study
from tests.dicom_node.peers import wait_until
from tests.dicom_node.serving import serving
from tests.faults.checks import OUT_OF_RESOURCES, SUCCESS, Sender
from tests.faults.small_disks import leave_free, mounted

MB = 1_000_000
SIZE_BYTES, WARN_BYTES, PAUSE_BYTES, MIN_BYTES = 200 * MB, 120 * MB, 80 * MB, 40 * MB


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", SIZE_BYTES) as disk:
        yield disk


def _node(folder: Path, results: Path, **storage: object) -> NodeUnderTest:
    """Two routes: STAT for what comes to the called AE title STAT, routine for what comes to ROUTINE."""
    folder.mkdir()

    def route(called_ae_title: str, priority: str) -> dict[str, object]:
        when = {"CalledAETitle": called_ae_title}
        models, destinations = ["ct_lung_density"], ["results"]
        return {"name": priority, "when": when, "priority": priority, "models": models, "destinations": destinations}

    return NodeUnderTest(
        folder,
        configuration(
            routes=[
                route("STAT", "stat"),
                route("ROUTINE", "routine"),
            ],
            destinations=[{"name": "results", "type": "folder", "path": str(results)}],
            completeness={"settle_s": 0.2},
            storage=storage,
        ),
    )


@pytest.fixture
def node(disk: Path, tmp_path: Path) -> Iterator[NodeUnderTest]:
    marks = {"min_free_bytes": MIN_BYTES, "pause_free_bytes": PAUSE_BYTES, "warn_free_bytes": WARN_BYTES}
    made = _node(disk / "node", tmp_path / "results", **marks)
    with made.running():
        yield made
    made.stores.database.close()


def _send(node: NodeUnderTest, study: Study, called_ae_title: str) -> None:
    sent = node.cli("send", str(study.folder), "--to", f"{called_ae_title}@127.0.0.1:{node.port}")
    assert sent.returncode == 0, sent


def _kinds(node: NodeUnderTest) -> list[str]:
    events = node.stores.events.recent(severities=("info", "warning", "alarm"), limit=1000)
    return [event.kind for event in reversed(events) if event.kind.startswith("disk_")]


def _told(node: NodeUnderTest, *kinds: str) -> None:
    wait_until(lambda: _kinds(node) == list(kinds))


def _account(node: NodeUnderTest, study: Study) -> StudyAccount:
    account = node.account(study.uid)
    assert account
    return account


def test_a_disk_that_fills_warns_then_lets_routine_jobs_wait_then_refuses_and_goes_on_when_there_is_room(
    node: NodeUnderTest, disk: Path, tmp_path: Path
) -> None:
    routine, stat = made_study(tmp_path, "routine"), made_study(tmp_path, "stat")
    processes, sender = [node.pid(name) for name in node.process_names], Sender()
    assert sender.send(node.port, 1) == [SUCCESS]

    leave_free(disk, WARN_BYTES - 5 * MB)
    _told(node, "disk_low")
    assert "less than storage.warn_free_bytes" in node.cli("status").stdout

    leave_free(disk, PAUSE_BYTES - 5 * MB)
    _told(node, "disk_low", "disk_paused")
    _send(node, routine, "ROUTINE")
    wait_until(lambda: node.job_states(routine.uid) == ["ready"])
    explained = node.cli("explain", routine.uid).stdout
    assert "waiting for room on the disk" in explained
    assert "waits for room, and runs by itself once there is some" in explained
    as_json = json.loads(node.cli("explain", routine.uid, "--json").stdout)
    assert "storage.pause_free_bytes" in as_json["studies"][0]["jobs"][0]["waits"]

    with node.paused_worker():  # so that the STAT job's results come while nothing is taken in
        _send(node, stat, "STAT")
        wait_until(lambda: node.job_states(stat.uid) == ["running"])
        leave_free(disk, MIN_BYTES - 5 * MB)
        _told(node, "disk_low", "disk_paused", "disk_full")
        assert sender.send(node.port, 20) == [OUT_OF_RESOURCES] * 20
    wait_until(lambda: node.settled(stat.uid), at_most_s=60)
    assert _account(node, stat).standing == "results delivered"
    assert len(list((tmp_path / "results").rglob("*.dcm"))) == 3
    assert sender.send(node.port, 1) == [OUT_OF_RESOURCES]
    assert node.job_states(routine.uid) == ["ready"]
    wait_until(lambda: _refused(node) == 21)
    shown = node.cli("status").stdout
    assert "less than storage.min_free_bytes" in shown
    assert "0xA700" in shown

    (disk / "ballast").unlink()
    _told(node, "disk_low", "disk_paused", "disk_full", "disk_ok")
    wait_until(lambda: node.settled(routine.uid), at_most_s=60)
    assert _account(node, routine).standing == "results delivered"
    assert [entry.job.attempt for study in (routine, stat) for entry in _account(node, study).jobs] == [1, 1]
    assert sender.send(node.port, 1) == [SUCCESS]
    assert [node.pid(name) for name in node.process_names] == processes
    assert node.stores.events.count("process_restarted") == 0


def _refused(node: NodeUnderTest) -> int:
    return sum(item.count for item in node.stores.answers.all() if item.status == OUT_OF_RESOURCES)


def test_a_database_on_a_full_disk_of_its_own_refuses_instances_though_the_objects_have_room(
    disk: Path, tmp_path: Path
) -> None:
    (tmp_path / "objects").mkdir()
    (disk / "objects").symlink_to(tmp_path / "objects")
    sender = Sender()
    with serving(disk, marks=Marks(MIN_BYTES, MIN_BYTES, MIN_BYTES)) as served:
        assert sender.send(served.port, 1) == [SUCCESS]
        leave_free(disk, MIN_BYTES - 5 * MB)
        wait_until(lambda: sender.send(served.port, 1) == [OUT_OF_RESOURCES])
        assert "at the database" in served.events("instance_refused")[0].text
        (disk / "ballast").unlink()
        wait_until(lambda: sender.send(served.port, 1) == [SUCCESS])


def test_a_quota_is_the_end_of_room_though_the_disk_has_some(tmp_path: Path) -> None:
    sender = Sender()
    with serving(tmp_path, quota_bytes=2 * MB) as served:
        answers = [answer for _ in range(15) for answer in sender.send(served.port, 20)]
        assert set(answers) == {SUCCESS, OUT_OF_RESOURCES}
        assert set(answers[answers.index(OUT_OF_RESOURCES) :]) == {OUT_OF_RESOURCES}
        taken = sum(len(payload) for payload in sender.acknowledged.values())
        assert 2 * MB <= taken < 2.5 * MB  # rows follow their answers by a moment
        wait_until(lambda: served.house.usage.total_bytes() == taken)
        assert "storage.quota_bytes" in served.events("instance_refused")[0].text
