"""Mutated sessions of real senders, beside a sender that means well: it loses nothing, and the acceptor stays as it was."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.dicom_node.limited_acceptor import AcceptorProcess
from tests.dicom_node.serving import eventually
from tests.faults.checks import ROOT, SUCCESS, Sender, assert_nothing_lost_or_torn
from tests.fuzz.mutations import mutated
from tests.fuzz.recorded import record_sessions

SESSIONS = int(os.environ.get("FUZZ_SESSIONS", "3000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
BESIDE = 1000
AT_ONCE = 4
MOST_GROWTH_BYTES = 50_000_000


def _play(port: int, parts: list[bytes]) -> None:
    """Send the request, wait for its answer, then send the rest and hang up."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(parts[0])
        connection.settimeout(0.05)
        with suppress(TimeoutError):
            connection.recv(65536)
        connection.settimeout(20)
        connection.sendall(b"".join(parts[1:]))
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass


def _play_all(port: int, sessions: list[bytes], count: int) -> list[threading.Thread]:
    def play(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(count // AT_ONCE):
            _play(port, mutated(chance.choice(sessions), chance))

    threads = [threading.Thread(target=play, args=(SEED + number,)) for number in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    return threads


def test_mutated_sessions_hurt_neither_the_acceptor_nor_who_sends_beside_them(
    tmp_path: Path, peer: Callable[[str], str]
) -> None:
    command = [sys.executable, "-m", "tests.fuzz.acceptor_process", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    sender = Sender()
    with (
        (tmp_path / "stderr").open("w") as stderr,
        subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=environment,
        ) as process,
    ):
        assert process.stdin
        assert process.stdout
        try:
            port = int(process.stdout.readline())
            sessions = record_sessions(port, tmp_path, peer)
            assert len(sessions) == 3
            assert min(map(len, sessions)) > 8192
            acceptor = AcceptorProcess(port, process.pid)
            for thread in _play_all(port, sessions, 200):  # what the first sessions load stays
                thread.join()
            assert sender.send(port, 1) == [SUCCESS]
            assert eventually(lambda: acceptor.threads() < 10)
            threads, memory = acceptor.threads(), acceptor.memory_bytes()
            playing = _play_all(port, sessions, SESSIONS)
            while len(sender.sent) < BESIDE:
                assert sender.send(port, 20) == [SUCCESS] * 20
            for thread in playing:
                thread.join()
            assert process.poll() is None
            assert eventually(lambda: acceptor.threads() <= threads, limit_s=30)
            assert acceptor.memory_bytes() - memory < MOST_GROWTH_BYTES
        finally:
            process.stdin.close()
            code = process.wait(60)
    assert code == 0
    assert (tmp_path / "uncaught").read_text() == ""
    assert "Traceback" not in (tmp_path / "stderr").read_text()
    assert_nothing_lost_or_torn(tmp_path / "node", sender.acknowledged, sender.sent, others_allowed=True)
