"""A data set that goes on and on: others are served meanwhile, memory stays as it was, and nothing of it stays."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicom_node.network.store_message import data_pdu
from tests.dicom_node.limited_acceptor import acceptor_process
from tests.dicom_node.serving import eventually
from tests.dicom_node.test_guard import MOST_GROWTH_BYTES, _echo
from tests.dicom_node.test_receive import STORE, store_command
from tests.faults.checks import Line

STREAM_BYTES = 10_000_000_000
FRAGMENT_BYTES = 128 * 1024
ANSWER_IN_S = 2


@contextmanager
def _echoing(port: int) -> Iterator[list[bool]]:
    """Whether each echo was answered in time, one after the other while the block runs."""
    answered: list[bool] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.2):
            answered.append(_echo(port, answer_in_s=ANSWER_IN_S))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answered
    finally:
        stop.set()
        thread.join()


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_ten_gigabytes_in_fragments_cost_no_memory_and_keep_nobody_waiting(tmp_path: Path) -> None:
    limits = {"message_bytes": 2 * STREAM_BYTES}
    fragment = data_pdu(STORE, bytes(FRAGMENT_BYTES), is_command=False, is_last=False)
    with acceptor_process(tmp_path, json.dumps({"port": 0, "limits": limits})) as node:
        assert _echo(node.port)
        node.forget_peak()
        before, sent = node.memory_bytes(), 0
        with Line(node.port) as line, _echoing(node.port) as answered:
            line.send(data_pdu(STORE, store_command("1.2.3"), is_command=True, is_last=True))
            while sent < STREAM_BYTES:
                line.send(fragment)
                sent += FRAGMENT_BYTES
        grown = node.peak_bytes() - before
        print(f"{sent} bytes in fragments: memory {grown:+d} bytes, {len(answered)} echoes")
        assert len(answered) > 5
        assert all(answered)
        assert grown < MOST_GROWTH_BYTES
        assert eventually(lambda: _size_bytes(tmp_path) < MOST_GROWTH_BYTES)
        assert _echo(node.port, answer_in_s=ANSWER_IN_S)


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
