"""Seconds from the last image of a chest CT to its results at a PACS, split by stage.

The node runs as `dicom-node serve` does, DCMTK's storescu is the scanner, Orthanc the PACS, all on this machine. Each round
sends a study that the node has not seen. Run: python -m benchmarks.time_to_pacs [--study FOLDER] [--rounds 5]
"""

from __future__ import annotations

import argparse
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import generate_uid
from rich.console import Console
from rich.table import Table

from dicom_node.history import StudyAccount
from dicom_node.phantom import chest_ct
from tests.acceptance.node import NodeUnderTest, configuration
from tests.conftest import find_peer
from tests.orthanc import Orthanc
from tests.waiting import wait_until

STAGES = ("settle", "start", "fetch", "volume", "predict", "encode", "put", "record", "deliver")
MEANING = {
    "settle": "last image stored -> series judged whole (settle_s is 2.0 of it)",
    "start": "judged whole -> worker has the job",
    "fetch": "objects read and parsed",
    "volume": "instances -> volume",
    "predict": "the model",
    "encode": "SEG, SR and SC made and checked",
    "put": "results durable",
    "record": "results and outbox committed",
    "deliver": "C-STORE of the three to the PACS, answered",
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--study", type=Path, help="a folder with one chest CT; default: the phantom")
    arguments.add_argument("--rounds", type=int, default=5)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report(measure(Path(folder), given.study, given.rounds), given.study)


def measure(folder: Path, study: Path | None, rounds: int) -> list[dict[str, float]]:
    pacs = Orthanc(find_peer("Orthanc"), folder / "orthanc")
    destination = {"name": "results", "type": "dicom", "ae_title": "PACS1", "address": "127.0.0.1"}
    node = NodeUnderTest(folder, configuration(destinations=[destination | {"port": pacs.dicom_port}]))
    # The first study meets a worker that has computed nothing yet; it is sent, and not counted.
    with pacs.running(), node.running():
        return [one_round(folder / f"round{number}", node, study) for number in range(rounds + 1)][1:]


def one_round(folder: Path, node: NodeUnderTest, study: Path | None) -> dict[str, float]:
    study_instance_uid = fresh_study(folder, study)
    command = [find_peer("storescu"), "+sd", "+r", "-aec", "DICOM-NODE", "127.0.0.1", str(node.port), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    wait_until(lambda: node.settled(study_instance_uid), at_most_s=300)
    account = node.account(study_instance_uid)
    assert account
    assert account.standing == "results delivered", account.standing
    shutil.rmtree(folder)
    return stages_of(account)


def fresh_study(folder: Path, study: Path | None) -> str:
    """The study under new UIDs, so that the node has never seen it."""
    if study is None:
        phantom = chest_ct(identity=str(time.time_ns()))
        phantom.write(folder)
        return str(phantom.datasets[0].StudyInstanceUID)
    folder.mkdir()
    study_uid, series_uid = generate_uid(), generate_uid()
    for number, path in enumerate(sorted(path for path in study.rglob("*") if path.is_file())):
        dataset = dcmread(path)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, series_uid
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.save_as(folder / f"{number:05d}.dcm")
    return str(study_uid)


def stages_of(account: StudyAccount) -> dict[str, float]:
    (series,), (entry,) = account.series, account.jobs
    job = entry.job
    assert job.started_at
    assert job.finished_at
    inside = next(event.data["stage_s"] for event in account.events if event.kind == "job_done")
    delivered = max(item.delivered_at or 0.0 for item in account.deliveries)
    stages = {
        "settle": job.created_at - series.last_received_at,
        "start": job.started_at - job.created_at,
        **inside,
        "record": job.finished_at - job.started_at - sum(inside.values()),
        "deliver": delivered - job.finished_at,
    }
    return stages | {"total": delivered - series.last_received_at}


def report(rounds: list[dict[str, float]], study: Path | None) -> None:
    what = f"study {study.name}" if study else "the phantom (64 images of 512 x 512)"
    table = Table(
        "stage", "median s", "least", "most", "what", title=f"{what}, {len(rounds)} rounds, {platform.machine()}"
    )
    for stage in (*STAGES, "total"):
        seconds = [one[stage] for one in rounds]
        row = (f"{value:.2f}" for value in (statistics.median(seconds), min(seconds), max(seconds)))
        table.add_row(stage, *row, MEANING.get(stage, "last image stored -> last result at the PACS"))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
