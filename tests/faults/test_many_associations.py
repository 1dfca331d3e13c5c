"""Associations that come and go, and those that break off, leave no thread, descriptor or memory behind."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest

from dicom_node.network.store_message import data_pdu
from tests.dicom_node.limited_acceptor import AcceptorProcess
from tests.dicom_node.serving import eventually
from tests.dicom_node.test_receive import STORE, Socket, store_command
from tests.faults.checks import acceptor_process, assert_nothing_lost_or_torn, image

ABORT = struct.pack(">BxIBBBB", 7, 4, 0, 0, 0, 0)
MOST_GROWTH_BYTES = 20_000_000
WARM_UP = 60
# What the acceptor keeps for the next association, however many there were: 16 packs, and the database's connections, 15
# at most, of three files each. A descriptor left behind by each association, or by each abort, would be hundreds.
MOST_POOLED_DESCRIPTORS = 16 + 15 * 3


def _associate(port: int, number: int) -> dict[str, bytes]:
    """One instance, then a release."""
    uid, payload = image(number)
    connection = Socket(port)
    connection.send(data_pdu(STORE, store_command(uid), is_command=True, is_last=True))
    connection.send(data_pdu(STORE, payload, is_command=False, is_last=True))
    assert connection.status() == 0
    connection.release()
    return {uid: payload}


def _abort(port: int, number: int) -> dict[str, bytes]:
    """An A-ABORT, a reset or a hang-up, in the middle of an instance."""
    uid, payload = image(number)
    connection = Socket(port)
    connection.send(data_pdu(STORE, store_command(uid), is_command=True, is_last=True))
    connection.send(data_pdu(STORE, payload[: 5000 - number % 999], is_command=False, is_last=False))
    if number % 3 == 0:
        connection.send(ABORT)
    elif number % 3 == 1:
        connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    return {}


def _many(folder: Path, count: int) -> None:
    acknowledged: dict[str, bytes] = {}
    with acceptor_process(folder) as (process, port):
        acceptor, number = AcceptorProcess(port, process.pid), 0
        for one in (_associate, _abort):
            for _ in range(WARM_UP):
                acknowledged |= one(port, number)
                number += 1
        assert eventually(lambda: acceptor.threads() < 10)
        threads, descriptors, memory = acceptor.threads(), acceptor.descriptors(), acceptor.memory_bytes()
        for one in (_associate, _abort):
            for _ in range(count):
                acknowledged |= one(port, number)
                number += 1
        assert eventually(lambda: acceptor.threads() <= threads, limit_s=30)
        assert eventually(lambda: acceptor.descriptors() <= descriptors + MOST_POOLED_DESCRIPTORS, limit_s=30)
        assert acceptor.memory_bytes() - memory < MOST_GROWTH_BYTES
    assert len(acknowledged) == WARM_UP + count
    assert_nothing_lost_or_torn(folder, acknowledged, acknowledged)


def test_three_hundred_associations_and_as_many_aborts_leave_nothing_behind(tmp_path: Path) -> None:
    _many(tmp_path, 300)


@pytest.mark.long
def test_ten_thousand_associations_and_as_many_aborts_leave_nothing_behind(tmp_path: Path) -> None:
    _many(tmp_path, 10_000)
