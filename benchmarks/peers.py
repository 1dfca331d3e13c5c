"""The acceptors that are measured, each started on a folder of its own; the folder says what it writes to.

Those of others run at their best: the largest PDUs that they take, and Orthanc with the syncs that it has by default.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.wire import Wire
from tests.acceptance.node import NodeUnderTest, configuration
from tests.conftest import find_peer
from tests.dicom_node.peers import free_port, wait_until

OURS, ORTHANC, STORESCP, STORESCP_B, PYNETDICOM, RAW = (
    "dicom-node",
    "Orthanc",
    "storescp",
    "storescp +B",
    "pynetdicom",
    "socket to file",
)
NAMES = (OURS, ORTHANC, STORESCP, STORESCP_B, PYNETDICOM, RAW)
_DCMTK_PDU_BYTES = 131072


@dataclass(frozen=True, slots=True)
class Acceptor:
    """port: for one association at a time; port_for_many: for several at once, where that takes another program."""

    name: str
    port: int
    port_for_many: int
    received: Path | None  # what may be removed between rounds

    def tidy(self) -> None:
        if self.received:
            for entry in os.scandir(self.received):
                Path(entry.path).unlink()


Started = Callable[[Path, Wire], AbstractContextManager[Acceptor]]


@contextmanager
def node(folder: Path, _wire: Wire) -> Iterator[Acceptor]:
    """`dicom-node serve`, as configured by default; there are no models, as it is receiving that is measured."""
    under_test = NodeUnderTest(folder, configuration(models=[], routes=[], destinations=[], storage={}))
    with under_test.running():
        yield Acceptor(OURS, under_test.port, under_test.port, None)


@contextmanager
def orthanc(folder: Path, _wire: Wire) -> Iterator[Acceptor]:
    port, http_port = free_port(), free_port()
    settings = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "SyncStorageArea": True,
        "DicomAet": "DICOM-NODE",
        "DicomPort": port,
        "HttpPort": http_port,
        "MaximumPduLength": _DCMTK_PDU_BYTES,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with _running([find_peer("Orthanc"), str(folder / "orthanc.json")], http_port, port):
        yield Acceptor(ORTHANC, port, port, None)


@contextmanager
def storescp(folder: Path, _wire: Wire, *options: str) -> Iterator[Acceptor]:
    """Two of them: one that serves one association after the other, and one that forks for each."""
    received = folder / "received"
    received.mkdir()
    port, forking_port = free_port(), free_port()
    program = [find_peer("storescp"), *options, "-pdu", str(_DCMTK_PDU_BYTES), "-od", str(received)]
    name = " ".join((STORESCP, *options))
    with _running([*program, str(port)], port), _running([*program, "--fork", str(forking_port)], forking_port):
        yield Acceptor(name, port, forking_port, received)


def storescp_bit_preserving(folder: Path, wire: Wire) -> AbstractContextManager[Acceptor]:
    return storescp(folder, wire, "+B")


@contextmanager
def pynetdicom(folder: Path, _wire: Wire) -> Iterator[Acceptor]:
    received, port = folder / "received", free_port()
    received.mkdir()
    program = [sys.executable, "-m", "benchmarks.plain_pynetdicom", "receive", str(port), str(received)]
    with _running(program, port):
        yield Acceptor(PYNETDICOM, port, port, received)


@contextmanager
def raw(folder: Path, wire: Wire) -> Iterator[Acceptor]:
    received, port = folder / "received", free_port()
    received.mkdir()
    with wire.receiving_raw(port, received):
        yield Acceptor(RAW, port, port, received)


ALL: dict[str, Started] = {
    OURS: node,
    ORTHANC: orthanc,
    STORESCP: storescp,
    STORESCP_B: storescp_bit_preserving,
    PYNETDICOM: pynetdicom,
    RAW: raw,
}


@contextmanager
def one_of(name: str, parent: Path, wire: Wire) -> Iterator[Acceptor]:
    """An acceptor on a new folder, which is removed at the end."""
    folder = parent / name.replace(" ", "-")
    folder.mkdir(parents=True)
    try:
        with ALL[name](folder, wire) as acceptor:
            yield acceptor
    finally:
        shutil.rmtree(folder)


@contextmanager
def _running(command: Sequence[str], *ports: int) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: all(_listens(port) for port in ports), at_most_s=30)
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _listens(port: int) -> bool:
    """By the kernel's table: a connection that says nothing would hold an acceptor that serves one at a time."""
    wanted = f":{port:04X}"
    listening = "0A"
    lines = [line.split() for table in ("tcp", "tcp6") for line in _table(table)]
    return any(line[1].endswith(wanted) and line[3] == listening for line in lines)


def _table(name: str) -> list[str]:
    path = Path("/proc/net") / name
    return path.read_text().splitlines()[1:] if path.exists() else []
