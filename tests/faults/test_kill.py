"""Processes are killed at random moments while studies come in: nothing that was acknowledged may be lost."""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dicom_node.network.file_meta import read_file_meta
from dicom_node.network.requestor import Outgoing, Peer, Timeouts, send
from dicom_node.phantom import chest_ct
from tests.acceptance.node import NodeUnderTest, configuration, kill
from tests.orthanc import Orthanc
from tests.waiting import wait_until

GIVE_UP_S = 400.0
KINDS = ["acceptor", "dispatcher", "worker"]


class Scanner:
    """Sends studies until every instance was acknowledged, as a modality does, and remembers what was acknowledged."""

    def __init__(self, port: int) -> None:
        timeouts = Timeouts(connect_s=5, acse_s=10, dimse_s=30, network_s=30)
        self._peer = Peer(
            ae_title="DICOM-NODE", address="127.0.0.1", port=port, calling_ae_title="CT1", timeouts=timeouts
        )
        self.acknowledged: dict[str, str] = {}
        self.refused: list[str] = []

    def send(self, files: list[Path]) -> None:
        items = [outgoing(path) for path in files]
        deadline = time.monotonic() + GIVE_UP_S
        while items:
            assert time.monotonic() < deadline, f"{len(items)} instances were never acknowledged"
            outcomes = list(send(self._peer, items))
            for item, outcome in zip(items, outcomes, strict=True):
                if outcome.verdict == "delivered":
                    self.acknowledged[item.sop_instance_uid] = digest_of(item.part10)
                elif outcome.verdict == "refused":
                    self.refused.append(outcome.reason)
            items = [item for item in items if item.sop_instance_uid not in self.acknowledged]
            if items:
                time.sleep(0.2)


def outgoing(path: Path) -> Outgoing:
    content = path.read_bytes()
    meta = read_file_meta(content)
    return Outgoing(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, content)


def digest_of(part10: bytes | Callable[[], bytes]) -> str:
    content = part10() if callable(part10) else part10
    return hashlib.sha256(content[read_file_meta(content).data_set_at :]).hexdigest()


class Killer:
    """Kills an acceptor, the dispatcher or a worker every now and then, as often as it is told."""

    def __init__(self, node: NodeUnderTest, kills: int, pause_s: tuple[float, float], seed: int) -> None:
        self._node = node
        self._kills = kills
        self._pause_s = pause_s
        self._random = random.Random(seed)
        self.killed: Counter[str] = Counter()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    @property
    def count(self) -> int:
        return self.killed.total()

    def _pids(self, kind: str) -> list[int | None]:
        if kind == "worker":
            return [*self._node.worker_pids()]
        return [self._node.pid(name) for name in self._node.process_names if name.startswith(kind)]

    def _run(self) -> None:
        deck: list[str] = []
        while self.killed.total() < self._kills and not self._stopping.wait(self._random.uniform(*self._pause_s)):
            # Drawn from a shuffled deck, so that even a few kills meet every kind of process.
            deck = deck or self._random.sample(KINDS, len(KINDS))
            name = deck[-1]
            pids = [pid for pid in self._pids(name) if pid and Path(f"/proc/{pid}").exists()]
            pid = self._random.choice(pids) if pids else None
            if pid is not None:
                kill(pid)
                self.killed[deck.pop()] += 1


@pytest.fixture
def orthanc(tmp_path: Path, peer: Callable[[str], str]) -> Iterator[Orthanc]:
    with Orthanc(peer("Orthanc"), tmp_path / "orthanc").running() as pacs:
        yield pacs


def run_with_kills(folder: Path, pacs: Orthanc, *, studies: int, kills: int, pause_s: tuple[float, float]) -> None:
    made = [made_study(folder / f"study{number}", number) for number in range(studies)]
    node = NodeUnderTest(
        folder,
        configuration(
            destinations=[
                {
                    "name": "results",
                    "type": "dicom",
                    "ae_title": "PACS1",
                    "address": "127.0.0.1",
                    "port": pacs.dicom_port,
                    "retry": {"first_s": 0.2, "max_s": 1},
                }
            ],
            completeness={"settle_s": 0.5, "quiet_s": 60},
            engine={"attempts": 100},
        ),
    )
    with node.running():
        scanner = Scanner(node.port)
        with Killer(node, kills, pause_s, seed=studies) as killer:
            for number, (_, files) in enumerate(made):
                # Kills and studies go side by side, from the first study to the last.
                wait_until(lambda due=kills * number // studies: killer.count >= due, at_most_s=GIVE_UP_S)  # type: ignore[misc]
                scanner.send(files)
            wait_until(lambda: killer.count == kills, at_most_s=GIVE_UP_S)
        for uid, _ in made:
            wait_until(lambda uid=uid: node.settled(uid), at_most_s=GIVE_UP_S)  # type: ignore[misc]
        assert scanner.refused == []
        assert set(scanner.acknowledged) == {
            item.sop_instance_uid for _, files in made for item in map(outgoing, files)
        }
        assert lost_instances(node, scanner, [uid for uid, _ in made]) == []
        results = {uid: results_at(pacs, uid) for uid, _ in made}
        assert results == {uid: {"SEG": 1, "SR": 1, "OT": 1} for uid, _ in made}, killer.killed
        assert "Traceback" not in node.log()
        assert set(killer.killed) == set(KINDS)


def made_study(folder: Path, number: int) -> tuple[str, list[Path]]:
    phantom = chest_ct(seed=number + 1, slices=40, rows=128, identity=f"kill-{number}")
    return str(phantom.datasets[0].StudyInstanceUID), phantom.write(folder)


def lost_instances(node: NodeUnderTest, scanner: Scanner, studies: list[str]) -> list[str]:
    """Acknowledged instances whose stored data set is not what was sent."""
    stored: dict[str, str] = {}
    for study in studies:
        for series in node.stores.studies.series_of(study):
            for item in node.stores.instances.of_series(series.series_id, up_to_revision=series.revision):
                stored[item.sop_instance_uid] = digest_of(node.stores.objects.get(item.object_key))
    return [uid for uid, digest in scanner.acknowledged.items() if stored.get(uid) != digest]


def results_at(pacs: Orthanc, study_instance_uid: str) -> dict[str, int]:
    """How many instances of each modality the PACS holds in a study."""
    query = {"Level": "Instance", "Query": {"StudyInstanceUID": study_instance_uid}, "Expand": True}
    request = urllib.request.Request(f"http://127.0.0.1:{pacs.http_port}/tools/find", json.dumps(query).encode())
    with urllib.request.urlopen(request, timeout=30) as answer:
        found = json.load(answer)
    counts: Counter[str] = Counter()
    for instance in found:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{pacs.http_port}/instances/{instance['ID']}/simplified-tags", timeout=30
        ) as answer:
            counts[json.load(answer)["Modality"]] += 1
    return dict(counts)


def test_two_studies_survive_five_kills(tmp_path: Path, orthanc: Orthanc) -> None:
    run_with_kills(tmp_path, orthanc, studies=2, kills=5, pause_s=(0.3, 2.5))


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_twenty_studies_survive_a_hundred_kills(tmp_path: Path, orthanc: Orthanc) -> None:
    run_with_kills(tmp_path, orthanc, studies=20, kills=100, pause_s=(0.3, 3.0))
