"""The way of a study: pushed with DCMTK's storescu, analysed, and at the PACS as SEG, SR and Secondary Capture."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_node.results.reading import numbers_of
from storage.records.results import Delivery
from tests.acceptance.node import NodeUnderTest, configuration
from tests.acceptance.pacs import destination, modalities, report_in, storescu
from tests.acceptance.studies import Study, made_study
from tests.conformance.validators import dciodvfy_errors
from tests.dicom_node.peers import data_set_bytes
from tests.orthanc import Orthanc
from tests.ports import free_port
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.timeout(PATIENCE_S)

GE_CHEST = "ct_chest_ge_tcga-34-2605"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, orthanc: Orthanc) -> Iterator[NodeUnderTest]:
    """Routes by calling AE title and one for all; one destination is a port that nobody listens on."""
    down = destination(orthanc, "down", port=free_port(), breaker={"failures": 2, "pause_s": 1})
    node = NodeUnderTest(
        tmp_path_factory.mktemp("node"),
        configuration(
            routes=[
                route("urgent", when={"CallingAETitle": "EMERGENCY"}, priority="stat"),
                route("both", when={"CallingAETitle": "BOTH"}, destinations=["down"]),
                route("all"),
            ],
            destinations=[destination(orthanc), down],
            completeness={"settle_s": 0.5, "quiet_s": 60},
        ),
    )
    with node.running():
        yield node


def route(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "models": ["ct_lung_density"], "destinations": ["results"], "when": {"Modality": "CT"}} | more


@pytest.fixture(scope="module")
def sent(
    tmp_path_factory: pytest.TempPathFactory, node: NodeUnderTest, peer: Callable[[str], str]
) -> tuple[Study, Path]:
    """A study that went all the way, and a folder with what remains of it."""
    study = made_study(tmp_path_factory.mktemp("studies"), "whole")
    storescu(peer("storescu"), node.port, *study.files)
    wait_until(lambda: node.settled(study.uid))
    return study, study.folder


def test_a_phantom_comes_to_the_pacs_as_seg_sr_and_sc_as_they_were_stored(
    node: NodeUnderTest, sent: tuple[Study, Path], orthanc: Orthanc, peer: Callable[[str], str], tmp_path: Path
) -> None:
    assert_delivered(node, sent[0].uid, orthanc, peer("dciodvfy"), tmp_path)


def test_a_real_chest_ct_comes_to_the_pacs_as_seg_sr_and_sc(
    node: NodeUnderTest, orthanc: Orthanc, peer: Callable[[str], str], shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / GE_CHEST
    first = next(path for path in sorted(folder.iterdir()) if path.is_file())
    uid = str(dcmread(first, stop_before_pixels=True).StudyInstanceUID)
    storescu(peer("storescu"), node.port, "+sd", "+r", folder)
    wait_until(lambda: node.settled(uid))
    assert_delivered(node, uid, orthanc, peer("dciodvfy"), tmp_path)


def assert_delivered(node: NodeUnderTest, uid: str, pacs: Orthanc, dciodvfy: str, folder: Path) -> None:
    account = node.account(uid)
    assert account
    assert account.standing == "results delivered"
    files = pacs.held(uid)
    assert modalities(files) == ["OT", "SEG", "SR"]
    stored = {
        item.result.sop_instance_uid: node.stores.objects.get(item.result.object_key) for item in account.deliveries
    }
    assert {key: data_set_bytes(content) for key, content in files.items()} == {
        key: data_set_bytes(content) for key, content in stored.items()
    }
    for key, content in files.items():
        path = folder / f"{key}.dcm"
        path.write_bytes(content)
        assert dciodvfy_errors(dciodvfy, path) == []
    assert len(numbers_of(report_in(files))) >= 12


def test_explain_tells_the_way_of_a_study_by_each_of_its_keys(node: NodeUnderTest, sent: tuple[Study, Path]) -> None:
    study = sent[0]
    for key in (study.uid, study.accession_number, study.patient_id):
        told = node.cli("explain", key)
        assert (told.returncode, told.stderr) == (0, "")
        for words in (
            "results delivered",
            "first image of a series from CT1 at 127.0.0.1",
            "association from CT1 was released",
            "instance numbers contiguous",
            "queued by route all, routine",
            "15 measurements",
            "SEG, SR and SC at results",
        ):
            assert words in told.stdout, told.stdout
    (machine,) = json.loads(node.cli("explain", study.uid, "--json").stdout)["studies"]
    assert machine["standing"] == "results delivered"
    assert machine["accession_number"] == study.accession_number
    assert [job["state"] for job in machine["jobs"]] == ["done"]
    assert {result["kind"] for result in machine["results"] if result["deliveries"]} == {"seg", "sr", "sc"}
    assert {one["state"] for result in machine["results"] for one in result["deliveries"]} == {"delivered"}


def test_the_same_study_again_changes_nothing_and_a_late_image_makes_a_revision_of_its_own(
    tmp_path: Path, node: NodeUnderTest, orthanc: Orthanc, peer: Callable[[str], str]
) -> None:
    study = made_study(tmp_path, "late")
    storescu(peer("storescu"), node.port, *study.files[:-1])
    wait_until(lambda: node.settled(study.uid))
    first = orthanc.held(study.uid)
    assert modalities(first) == ["OT", "SEG", "SR"]

    storescu(peer("storescu"), node.port, *study.files[:-1])
    time.sleep(1.5)
    assert node.settled(study.uid)
    assert node.job_states(study.uid) == ["done"]

    storescu(peer("storescu"), node.port, study.files[-1])
    wait_until(lambda: node.job_states(study.uid) == ["done", "done"] and node.settled(study.uid))
    account = node.account(study.uid)
    assert account
    assert [(item.revision, item.instance_count) for item in account.series] == [(2, len(study.files))]
    both = orthanc.held(study.uid)
    assert modalities(both) == ["OT", "OT", "SEG", "SEG", "SR", "SR"]
    assert set(first) < set(both)


@pytest.mark.long
def test_stat_studies_run_before_routine_ones_that_wait(
    tmp_path: Path, node: NodeUnderTest, peer: Callable[[str], str]
) -> None:
    names = ["busy", "routine", "urgent"]
    busy, routine, urgent = studies = [made_study(tmp_path, name) for name in names]
    with node.paused_worker():
        for study, title in ((busy, "CT1"), (routine, "CT1"), (urgent, "EMERGENCY")):
            storescu(peer("storescu"), node.port, "-aet", title, *study.files)
            wait_until(lambda study=study: node.job_states(study.uid) != [])  # type: ignore[misc]
        wait_until(lambda: [node.job_states(study.uid) for study in studies] == [["running"], ["ready"], ["ready"]])
    for study in studies:
        wait_until(lambda study=study: node.settled(study.uid))  # type: ignore[misc]
    jobs = [account.jobs[0].job for study in studies if (account := node.account(study.uid))]
    assert [job.priority for job in jobs] == ["routine", "routine", "stat"]
    started = dict(zip(names, [job.started_at or 0 for job in jobs], strict=True))
    assert sorted(names, key=started.__getitem__) == ["busy", "urgent", "routine"]


def test_a_pacs_that_is_down_delays_no_other_and_gets_everything_once_when_it_returns(
    tmp_path: Path, node: NodeUnderTest, orthanc: Orthanc, peer: Callable[[str], str]
) -> None:
    to_both, to_one = made_study(tmp_path, "to-both"), made_study(tmp_path, "to-one")
    storescu(peer("storescu"), node.port, "-aet", "BOTH", *to_both.files)
    storescu(peer("storescu"), node.port, *to_one.files)
    wait_until(lambda: node.settled(to_one.uid) and len(orthanc.held(to_both.uid)) == 3)
    wait_until(lambda: all(item.attempts > 1 for item in to(node, "down", to_both)))
    assert {item.state for item in to(node, "down", to_both)} == {"waiting"}
    assert "analysed, results on their way" in node.cli("explain", to_both.uid).stdout

    port = node.config.destination("down").model_dump()["port"]
    returned = Orthanc(orthanc.program, tmp_path, dicom_port=port)
    with returned.running():
        wait_until(lambda: node.settled(to_both.uid))
        assert returned.held(to_both.uid) == orthanc.held(to_both.uid)
    assert len(to(node, "down", to_both)) == 3
    told = node.cli("explain", to_both.uid).stdout
    assert "results delivered" in told
    assert "refused" in told


def to(node: NodeUnderTest, name: str, study: Study) -> list[Delivery]:
    account = node.account(study.uid)
    return [item for item in account.deliveries if item.destination == name] if account else []


def test_results_are_sent_again_on_a_persons_word(
    node: NodeUnderTest, sent: tuple[Study, Path], orthanc: Orthanc
) -> None:
    study = sent[0]
    before = orthanc.held(study.uid)
    again = node.cli("requeue", study.accession_number, "--deliveries", "--destination", "results")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.startswith("3 results")
    wait_until(lambda: node.settled(study.uid))
    assert orthanc.held(study.uid) == before
    assert "by hand" in node.cli("explain", study.uid).stdout


def test_status_and_check_tell_that_the_node_is_well(node: NodeUnderTest, sent: tuple[Study, Path]) -> None:
    status = node.cli("status")
    assert (status.returncode, status.stderr) == (0, "")
    assert status.stdout.count("running, pid") == len(node.process_names)
    connect = node.cli("check", "--connect")
    assert connect.returncode == 1
    assert "down" in connect.stdout
    assert "Traceback" not in connect.stdout + connect.stderr
    assert node.cli("check").returncode == 0


def test_a_second_node_on_the_same_data_or_on_the_same_port_says_why_it_does_not_start(
    tmp_path: Path, node: NodeUnderTest
) -> None:
    same_data = node.cli("serve")
    assert same_data.returncode == 1
    assert "another dicom-node is running on it" in same_data.stderr
    other = NodeUnderTest(tmp_path, configuration(node={"port": node.port, "data_folder": "data"}))
    same_port = other.cli("serve")
    assert same_port.returncode == 1
    assert "cannot listen" in same_port.stderr
    assert f"node.address 127.0.0.1, node.port {node.port}: address already in use" in same_port.stderr
    for refused in (same_data, same_port):
        assert "Traceback" not in refused.stderr


def test_a_study_can_be_sent_from_the_command_line(
    tmp_path: Path, node: NodeUnderTest, sent: tuple[Study, Path], orthanc: Orthanc
) -> None:
    study = made_study(tmp_path, "by-hand")
    by_name = node.cli("send", str(study.files[0]), "--to", "results")
    assert (by_name.returncode, by_name.stdout.splitlines()[0].split(",")[0]) == (0, "1 instance delivered")
    by_place = node.cli("send", str(study.folder), "--to", f"PACS1@127.0.0.1:{orthanc.dicom_port}")
    assert by_place.stdout.startswith("40 instances delivered")
    assert len(orthanc.held(study.uid)) == 40
    down = node.cli("send", str(study.folder), "--to", "down")
    assert down.returncode == 1
    assert "40 not delivered" in down.stdout
    assert "Traceback" not in down.stderr


def test_the_log_of_all_this_holds_no_traceback_and_no_patient(node: NodeUnderTest, sent: tuple[Study, Path]) -> None:
    log = node.log()
    assert "Traceback" not in log
    assert "Phantom^Chest" not in log
    assert sent[0].patient_id not in log
    assert sent[0].accession_number not in log
