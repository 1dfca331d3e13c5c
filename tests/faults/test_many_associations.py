"""Associations that come and go, and those that break off, leave no thread, descriptor or memory behind."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest

from tests.dicom_node.limited_acceptor import AcceptorProcess
from tests.dicom_node.serving import eventually
from tests.faults.checks import Line, acceptor_process, assert_nothing_lost_or_torn, fill_pools, image

ABORT = struct.pack(">BxIBBBB", 7, 4, 0, 0, 0, 0)
MOST_GROWTH_BYTES = 20_000_000
WARM_UP = 60


def _associate(port: int, number: int) -> dict[str, bytes]:
    """One instance, then a release."""
    with Line(port) as line:
        stored = line.store(number)
        line.release()
    return stored


def _abort(port: int, number: int) -> dict[str, bytes]:
    """An A-ABORT, a reset or a hang-up, in the middle of an instance."""
    uid, payload = image(number)
    with Line(port) as line:
        line.begin(uid, payload[: 5000 - number % 999], is_last=False)
        if number % 3 == 0:
            line.send(ABORT)
        elif number % 3 == 1:
            line._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return {}


def _many(folder: Path, count: int) -> None:
    acknowledged: dict[str, bytes] = {}
    with acceptor_process(folder) as (process, port):
        acceptor, number = AcceptorProcess(port, process.pid), 0
        for one in (_associate, _abort):
            for _ in range(WARM_UP):
                acknowledged |= one(port, number)
                number += 1
        acknowledged |= fill_pools(acceptor, 10_000_000)
        assert eventually(lambda: acceptor.threads() < 10)
        threads, descriptors, memory = acceptor.threads(), acceptor.descriptors(), acceptor.memory_bytes()
        before = len(acknowledged)
        for one in (_associate, _abort):
            for _ in range(count):
                acknowledged |= one(port, number)
                number += 1
        assert eventually(lambda: acceptor.threads() <= threads, limit_s=30)
        assert eventually(lambda: acceptor.descriptors() <= descriptors, limit_s=30)
        grown = acceptor.memory_bytes() - memory
        assert grown < MOST_GROWTH_BYTES
        figures = (
            f"threads {threads}, then {acceptor.threads()}; descriptors {descriptors}, then {acceptor.descriptors()}"
        )
        print(f"{count} associations and {count} aborts: {figures}; memory {grown:+d} bytes")
    assert len(acknowledged) == before + count
    assert_nothing_lost_or_torn(folder, acknowledged, acknowledged)


def test_three_hundred_associations_and_as_many_aborts_leave_nothing_behind(tmp_path: Path) -> None:
    _many(tmp_path, 300)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_ten_thousand_associations_and_as_many_aborts_leave_nothing_behind(tmp_path: Path) -> None:
    _many(tmp_path, 10_000)
