"""Success means synced: proven on the system calls of a real acceptor process, and by killing one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.dicom_node.acceptor_process import SABOTAGE
from tests.dicom_node.raw_scu import associated
from tests.dicom_node.serving import serving
from tests.encoded import CT_IMAGE_STORAGE, EXPLICIT_LITTLE, ct_image
from tests.processes import exit_status
from tests.waiting import LIMIT_S

ROOT = Path(__file__).resolve().parents[2]
CT = (CT_IMAGE_STORAGE, EXPLICIT_LITTLE)
_CALLS = "fsync,fdatasync,sendto,pwrite64,pwritev2"


@dataclass
class Running:
    process: subprocess.Popen[str]
    port: int


@contextmanager
def _acceptor_process(folder: Path, *sabotage: str, trace: Sequence[str] = ()) -> Iterator[Running]:
    command = [*trace, sys.executable, "-m", "tests.dicom_node.acceptor_process", str(folder), *sabotage]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": "."},
    ) as process:
        assert process.stdout
        try:
            yield Running(process, int(process.stdout.readline()))
        finally:
            exit_status(process)


def _steps(trace: str) -> list[str]:
    """The system calls that matter, in order, from the first byte of an object to the answer that follows it."""
    pack = r"\d+<[^>]*/packs/[0-9a-f]{2}/[0-9a-f]{32}\.pack>"
    patterns = {
        "sync folder": r"fsync\(\d+<[^>]*/packs/[0-9a-f]{2}>",
        "write head": rf'pwrite64\({pack}, "DNPACK2\+',
        "write object": rf"pwritev2\({pack}",
        "sync object": rf"f(?:data)?sync\({pack}",
        "answer": r"sendto\(\d+<[^>]*>, \"\\4",  # a P-DATA-TF PDU
    }
    steps: list[str] = []
    for line in trace.splitlines():
        for name, pattern in patterns.items():
            if re.search(pattern, line):
                if not steps or steps[-1] != name:
                    steps.append(name)
                break
    return steps


def _is_durable(steps: Sequence[str]) -> bool:
    """Whether each step of the promise happened, and in its order, before each answer."""
    if "sync folder" not in steps or "answer" not in steps or steps.index("sync folder") > steps.index("answer"):
        return False
    last = len(steps) - steps[::-1].index("answer")  # what comes after it only says that the pack is indexed
    calls = [step for step in steps[:last] if step != "sync folder"]
    promise = ["write object", "write head", "sync object", "answer"]
    return calls == promise * (len(calls) // len(promise))


def _traced(folder: Path, strace: str, *sabotage: str) -> list[str]:
    output = folder / "trace"
    trace = [
        strace,
        "-f",
        "-y",
        "-qq",
        "--seccomp-bpf",
        "-e",
        f"trace={_CALLS}",
        "-e",
        "signal=none",
        "-o",
        str(output),
    ]
    with _acceptor_process(folder / "node", *sabotage, trace=trace) as running, associated(running.port, [CT]) as scu:
        for number in range(2):
            uid = f"1.2.3.4.{number}"
            response = scu.store(ct_image(uid), CT, sop_instance_uid=uid)
            assert response
            assert response.Status == 0x0000
    return _steps(output.read_text(errors="replace"))


def test_folder_object_and_head_are_synced_before_success(tmp_path: Path, peer: Callable[[str], str]) -> None:
    steps = _traced(tmp_path, peer("strace"))
    assert _is_durable(steps), steps
    assert steps.count("answer") == 2


@pytest.mark.parametrize("sabotage", SABOTAGE)
def test_the_proof_fails_when_a_step_is_taken_away(tmp_path: Path, peer: Callable[[str], str], sabotage: str) -> None:
    assert not _is_durable(_traced(tmp_path, peer("strace"), sabotage))


def test_what_was_acknowledged_outlives_a_kill_and_the_association_is_lost(tmp_path: Path) -> None:
    acknowledged: dict[str, bytes] = {}
    with _acceptor_process(tmp_path) as running, associated(running.port, [CT]) as scu:
        for number in range(10):
            uid = f"1.2.3.4.{number}"
            payload = ct_image(uid, InstanceNumber=number)
            response = scu.store(payload, CT, sop_instance_uid=uid)
            assert response
            assert response.Status == 0x0000
            acknowledged[uid] = payload
        running.process.kill()
        assert scu.store(ct_image("1.2.3.4.99"), CT, sop_instance_uid="1.2.3.4.99") is None
    with serving(tmp_path) as again:
        assert again.data_sets() == {uid: [payload] for uid, payload in acknowledged.items()}
        (series,) = again.house.studies.arriving()
        assert series.instance_count == 10
        (association,) = again.associations("1.2.3")
        assert association.ending == "lost"
        assert association.closed_at
        with associated(again.port, [CT]) as scu:
            response = scu.store(acknowledged["1.2.3.4.3"], CT, sop_instance_uid="1.2.3.4.3")
            assert response
            assert response.Status == 0x0000
        assert len(again.data_sets()) == 10


def test_the_acceptor_cannot_reach_torch(tmp_path: Path) -> None:
    program = (
        "import sys, dicom_node.network.acceptor, dicom_node.intake; "
        "bad = {'torch', 'highdicom', 'dask', 'distributed'} & set(sys.modules); sys.exit(', '.join(bad) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stderr
