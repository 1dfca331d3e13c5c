"""The line between DCMTK's sender and the acceptor breaks at any byte: what came in part is nowhere, then or later."""

from __future__ import annotations

import os
import random
import struct
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from dicom_node.network.file_meta import read_file_meta
from dicom_node.part10 import file_meta
from storage.objects.file import FileStore
from storage.objects.pack import _SEALED, records
from tests.dicom_node.limited_acceptor import AcceptorProcess
from tests.dicom_node.serving import eventually
from tests.faults.checks import CT, acceptor_process, assert_nothing_lost_or_torn, fill_pools, image
from tests.faults.cutting_proxy import CuttingProxy

INSTANCES = 2
FIRST_NUMBER = 1_000_000  # all numbers are of seven digits, so that all streams are of one length
PDU_BYTES = 4096  # a data set takes three
P_DATA_TF = 4


class Storescu:
    """Sends new instances through a proxy, and remembers what it said was stored."""

    def __init__(self, program: str, folder: Path, port: int) -> None:
        self._program = program
        self._folder = folder
        self._port = port
        self.sent: dict[str, bytes] = {}
        self.acknowledged: dict[str, bytes] = {}
        folder.mkdir()

    def send(self) -> None:
        made = [image(FIRST_NUMBER + len(self.sent) + offset) for offset in range(INSTANCES)]
        paths = []
        for position, (uid, payload) in enumerate(made):
            path = self._folder / f"{position}.dcm"
            meta = file_meta(sop_class_uid=CT[0], sop_instance_uid=uid, transfer_syntax_uid=CT[1])
            path.write_bytes(meta + payload)
            paths.append(str(path))
        self.sent |= dict(made)
        options = ["-v", "-R", "-xe", "--max-send-pdu", str(PDU_BYTES), "-aec", "DICOM-NODE"]
        told = subprocess.run(
            [self._program, *options, "127.0.0.1", str(self._port), *paths],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"TCP_NODELAY": "1"},
            text=True,
            timeout=60,
        ).stdout
        stored = told.count("Received Store Response (Success)")
        self.acknowledged |= dict(made[:stored])


def _edges(stream: bytes) -> set[int]:
    """Where PDUs, their headers, presentation data values and their headers end, and one byte before and behind."""
    edges: set[int] = set()
    at = 0
    while at < len(stream):
        kind, length = struct.unpack_from(">BxI", stream, at)
        end = at + 6 + length
        edges |= {at + 6, end}
        at += 6
        while kind == P_DATA_TF and at < end:
            (value,) = struct.unpack_from(">I", stream, at)
            edges |= {at + 4, at + 6, at + 4 + value}
            at += 4 + value
        at = end
    return {near for edge in edges for near in (edge - 1, edge, edge + 1) if 0 < near <= len(stream)}


def _offsets(stream: bytes, count: int, seed: int) -> list[int]:
    """Some or all of the edges, and others by chance, in no order."""
    chance, edges = random.Random(seed), sorted(_edges(stream))
    if len(edges) > count * 3 // 4:
        edges = chance.sample(edges, count * 3 // 4)
    rest = sorted(set(range(1, len(stream))) - set(edges))
    offsets = edges + chance.sample(rest, count - len(edges))
    chance.shuffle(offsets)
    return offsets


def _tails(folder: Path) -> list[int]:
    """Bytes behind the last whole record of each pack that are no seal."""
    tails = []
    for pack in (folder / "objects" / "packs").glob("*/*.pack"):
        found = list(records(pack, proven=True))
        end = found[-1].span.start + found[-1].span.length if found else 0
        behind = pack.read_bytes()[end:].rstrip(b"\0")  # a pack may be made of zeros, to be written over
        tails.append(0 if behind.startswith(_SEALED) else len(behind))
    return tails


def _cut_at(folder: Path, storescu: str, choose: Callable[[bytes], Sequence[int]]) -> None:
    with acceptor_process(folder / "node") as (process, port):
        proxy = CuttingProxy(port)
        sender, acceptor = Storescu(storescu, folder / "images", proxy.port), AcceptorProcess(port, process.pid)
        for _ in range(3):
            with proxy.session() as whole:
                sender.send()
        assert len(sender.acknowledged) == 3 * INSTANCES
        others = fill_pools(acceptor, 10_000_000)
        assert eventually(lambda: acceptor.threads() < 10)
        threads, descriptors = acceptor.threads(), acceptor.descriptors()
        for number, offset in enumerate(choose(whole.stream)):
            with proxy.session(offset, is_reset=bool(number % 2)) as passed:
                sender.send()
            assert len(passed.stream) == offset
            assert eventually(lambda: acceptor.threads() <= threads and acceptor.descriptors() <= descriptors), offset
            assert eventually(lambda: not any(_tails(folder / "node"))), (offset, _tails(folder / "node"))
            _assert_only_whole(folder / "node", sender, others, offset)
        proxy.close()
        assert process.poll() is None
    assert len(sender.acknowledged) > len(sender.sent) // 4
    assert_nothing_lost_or_torn(folder / "node", sender.acknowledged | others, sender.sent | others)
    assert "Traceback" not in (folder / "node" / "stderr").read_text()


def _assert_only_whole(node: Path, sender: Storescu, others: Mapping[str, bytes], offset: int) -> None:
    """While the acceptor runs: what can be seen was sent whole."""
    objects, whole = FileStore(node / "objects"), {*sender.sent.values(), *others.values()}
    seen = [objects.get(key) for key in objects.keys()]  # noqa: SIM118 - no dict
    assert len(seen) >= len(sender.acknowledged) + len(others), offset
    assert all(file[read_file_meta(file).data_set_at :] in whole for file in seen), offset


def test_a_line_that_breaks_at_sixty_places_leaves_what_was_acknowledged(
    tmp_path: Path, peer: Callable[[str], str]
) -> None:
    _cut_at(tmp_path, peer("storescu"), lambda stream: _offsets(stream, 60, seed=1))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_line_that_breaks_at_five_hundred_places_leaves_what_was_acknowledged(
    tmp_path: Path, peer: Callable[[str], str]
) -> None:
    _cut_at(tmp_path, peer("storescu"), lambda stream: _offsets(stream, 500, seed=2))
