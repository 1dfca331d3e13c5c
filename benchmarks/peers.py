"""The acceptors that are measured, each started on a folder of its own; the folder says what it writes to.

Those of others run at their best: the largest PDUs that they take, and Orthanc with the syncs that it has by default.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.wire import Wire
from dicom_node.acceptors import acceptor_names
from storage.objects.spares import PACK_BYTES
from tests.acceptance.node import NodeUnderTest, configuration
from tests.conftest import find_peer
from tests.orthanc import Orthanc
from tests.ports import free_port, listens
from tests.processes import terminated
from tests.waiting import wait_until

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
    rests: Callable[[], bool] = lambda: True  # whether it has done what it does while nothing comes

    def tidy(self) -> None:
        if self.received:
            for entry in os.scandir(self.received):
                Path(entry.path).unlink()


Started = Callable[[Path, Wire], AbstractContextManager[Acceptor]]


@contextmanager
def node(folder: Path, _wire: Wire) -> Iterator[Acceptor]:
    """`dicom-node serve`, as configured by default; there are no models, as it is receiving that is measured."""
    under_test = NodeUnderTest(folder, configuration(models=[], routes=[], destinations=[], storage={}))
    ready = under_test.config.storage.prepared_packs * len(acceptor_names(under_test.config.node))
    packs = under_test.config.node.data_folder / "objects" / "packs"

    def rests() -> bool:
        """It writes packs to have them ready: no other acceptor is to be measured beside that."""
        return sum(_is_unused(path) for path in packs.glob("*/*.pack")) == ready

    with under_test.running():
        yield Acceptor(OURS, under_test.port, under_test.port, None, rests)


def _is_unused(pack: Path) -> bool:
    with pack.open("rb", buffering=0) as file:
        return pack.stat().st_size == PACK_BYTES and not file.read(8).strip(b"\0")


@contextmanager
def orthanc(folder: Path, _wire: Wire) -> Iterator[Acceptor]:
    settings = {"SyncStorageArea": True, "MaximumPduLength": _DCMTK_PDU_BYTES}
    with Orthanc(find_peer("Orthanc"), folder, "DICOM-NODE", more=settings).running() as pacs:
        yield Acceptor(ORTHANC, pacs.dicom_port, pacs.dicom_port, None)


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
            wait_until(lambda: all(listens(port) for port in ports))
            yield
        finally:
            terminated(process)
