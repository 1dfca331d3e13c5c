"""`dicom-node demo`: a node, a scanner and a PACS on this machine, and one chest CT on its way through them.

Nothing is mocked: the node is the one that `serve` runs, the CT goes to it by C-STORE, and what is shown at the end was
read from the objects that the PACS received.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from dicom_node import account_looks as looks
from dicom_node import phantom
from dicom_node.config_file import load_config
from dicom_node.errors import NodeError
from dicom_node.history import StudyAccount, account_of
from dicom_node.network.archive import Archive
from dicom_node.network.requestor import Peer
from dicom_node.results.picture import overlay_png
from dicom_node.results.reading import answers_of, comments_of, numbers_of, segments_of
from dicom_node.send_folder import send_folder
from dicom_node.stores import Stores, open_stores
from dicom_node.supervisor import read_state
from inference.errors import NotAVolume
from inference.series import read_series

START_TIMEOUT_S = 300.0
RESULT_TIMEOUT_S = 300.0
MARKER = ".made-by-dicom-node-demo"
CONFIG = """# The configuration of the demo: the embedded default, a free port, and a PACS on loopback.
node:
  ae_title: DEMO-NODE
  address: 127.0.0.1
  port: 0
models:
  - name: ct_lung_density
routes:
  - name: chest-ct
    when: {{Modality: CT}}
    models: [ct_lung_density]
    destinations: [demo-pacs]
destinations:
  - {{name: demo-pacs, type: dicom, ae_title: DEMO-PACS, address: 127.0.0.1, port: {port}}}
storage:
  min_free_bytes: 100 MB
"""


@dataclass(frozen=True, slots=True)
class Folders:
    root: Path
    study: Path
    pacs: Path
    config: Path
    log: Path


def run_demo(out: Console, study: Path | None, output: Path) -> None:
    """Send `study` (or a phantom made here) through a node and show what comes back. Raises NodeError where it does not."""
    folders = prepare(output, study)
    if study is None:
        with out.status("making a chest CT phantom"):
            phantom.chest_ct(seed=time.time_ns() % 10_000, identity=str(time.time_ns())).write(folders.study)
    study_uids = studies_in(folders.study)
    pacs = Archive("DEMO-PACS", folders.pacs)
    folders.config.write_text(CONFIG.format(port=pacs.start()))
    try:
        with running_node(out, folders) as (stores, port):
            send(out, folders.study, port)
            accounts = [wait_for(out, stores, uid) for uid in study_uids]
    finally:
        pacs.stop()
    for account in accounts:
        show(out, account, folders)


def prepare(output: Path, study: Path | None) -> Folders:
    """An empty output folder; one that a demo made before is made anew, any other is left alone."""
    if study is not None and not study.is_dir():
        raise NodeError(f"STUDY {study}: must be a folder with DICOM files")
    if output.exists() and any(output.iterdir()):
        if not (output / MARKER).exists():
            raise NodeError(f"--output {output}: is not empty and no demo made it; name another folder")
        shutil.rmtree(output)
    output.mkdir(parents=True, exist_ok=True)
    (output / MARKER).touch()
    return Folders(output, study or output / "study", output / "pacs", output / "config.yaml", output / "node.log")


def studies_in(folder: Path) -> list[str]:
    uids: dict[str, None] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            header = dcmread(path, stop_before_pixels=True, specific_tags=["StudyInstanceUID"])
        except InvalidDicomError:
            continue
        if "StudyInstanceUID" in header:
            uids[str(header.StudyInstanceUID)] = None
    if not uids:
        raise NodeError(f"STUDY {folder}: holds no DICOM instance")
    return list(uids)


@contextmanager
def running_node(out: Console, folders: Folders) -> Iterator[tuple[Stores, int]]:
    """`dicom-node serve` on the demo's configuration, until the block ends; gives its stores and its port."""
    config = load_config(folders.config)
    stores = open_stores(config)
    with folders.log.open("w") as log:
        node = subprocess.Popen(
            [sys.executable, "-m", "dicom_node", "serve", "--config", str(folders.config)], stdout=log, stderr=log
        )
    try:
        with out.status("starting the node"):
            port = wait_for_port(node, stores, folders.log)
        out.print(f"node DEMO-NODE listens on 127.0.0.1:{port}, PACS DEMO-PACS waits for its results")
        yield stores, port
    finally:
        node.terminate()
        node.wait(60)
        stores.database.close()


def wait_for_port(node: subprocess.Popen[bytes], stores: Stores, log: Path) -> int:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and node.poll() is None:
        said = [read_state(stores.run_folder, name) for name in ("acceptor-1", "dispatcher")]
        if said[0] and said[1]:
            return int(said[0]["port"])
        time.sleep(0.05)
    raise NodeError(f"the node did not start; its log is {log}:\n{log.read_text()[-2000:]}")


def send(out: Console, folder: Path, port: int) -> None:
    peer = Peer(ae_title="DEMO-NODE", address="127.0.0.1", port=port, calling_ae_title="DEMO-CT")
    columns = (TextColumn("sending the CT"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=out, transient=True) as progress:
        task = progress.add_task("", total=None)
        report = send_folder(folder, peer, lambda done, total: progress.update(task, completed=done, total=total))
    out.print(report.in_words())


def wait_for(out: Console, stores: Stores, study_instance_uid: str) -> StudyAccount:
    """Until nothing is left to do for the study."""
    deadline = time.monotonic() + RESULT_TIMEOUT_S
    with out.status("waiting for the results") as spinner:
        while time.monotonic() < deadline:
            found = account_of(stores, study_instance_uid)
            if found and found[0].is_settled:
                return found[0]
            spinner.update(f"study: {found[0].standing}" if found else "study: not arrived")
            time.sleep(0.1)
    raise NodeError(
        f"no result after {RESULT_TIMEOUT_S:g} s; the study is: {found[0].standing if found else 'unknown'}"
    )


def show(out: Console, account: StudyAccount, folders: Folders) -> None:
    """The timeline, the numbers, and where the objects and the picture are."""
    out.print()
    out.print(looks.timeline(account.timeline, since=account.study.first_received_at))
    out.print(Text(f"{account.standing}\n", "bold"))
    uids = {delivery.result.sop_instance_uid for delivery in account.deliveries}
    paths = [path for path in sorted(folders.pacs.glob("*.dcm")) if path.stem.partition("-")[2] in uids]
    received = {path: dcmread(path) for path in paths}
    for dataset in received.values():
        if dataset.Modality == "SR":
            out.print(findings_table(dataset))
            for answer in answers_of(dataset):
                out.print(f"{answer.about}: {answer.question} {answer.answer.lower()}")
            for text in comments_of(dataset):
                out.print(Text(text, "yellow"))
            out.print()
        elif dataset.Modality == "SEG":
            write_picture(dataset, folders)
    table = Table("received by the PACS", "file", box=None)
    table.columns[1].overflow = "fold"
    for path, dataset in received.items():
        table.add_row(str(dataset.SeriesDescription), str(path))
    if (folders.root / "slice.png").exists():
        table.add_row("a slice with the masks over it", str(folders.root / "slice.png"))
    out.print(table)


def findings_table(report: Dataset) -> Table:
    """A row for each finding, a column for each kind of measurement."""
    numbers = numbers_of(report)
    kinds = list(dict.fromkeys(f"{number.name} ({number.unit})" for number in numbers))
    table = Table("finding", *kinds, title="findings, as the Structured Report says them", title_justify="left")
    rows: dict[str, dict[str, str]] = {}
    for number in numbers:
        rows.setdefault(number.about, {})[f"{number.name} ({number.unit})"] = f"{number.value:,.1f}"
    for about, values in rows.items():
        table.add_row(about, *(values.get(kind, "") for kind in kinds))
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def write_picture(segmentation: Dataset, folders: Folders) -> None:
    series = str(segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID)
    try:
        volume = read_series(instances_of(folders.study, series), tilt="resample").volumes[0]
    except NotAVolume:
        return
    (folders.root / "slice.png").write_bytes(overlay_png(volume, segments_of(segmentation, volume)))


def instances_of(folder: Path, series_instance_uid: str) -> Sequence[Dataset]:
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            dataset = dcmread(path)
        except InvalidDicomError:
            continue
        if dataset.get("SeriesInstanceUID") == series_instance_uid:
            found.append(dataset)
    return found
