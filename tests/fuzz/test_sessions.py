"""Sessions of hostile senders beside one that means well: it loses nothing, and the acceptor stays as it was.

Half of them are recorded sessions of real senders, mutated; the others send data sets by a grammar as they should be
sent, and each of these is answered.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from dicom_node.network.file_meta import read_file_meta
from storage.objects.file import FileStore
from tests.dicom_node.limited_acceptor import AcceptorProcess
from tests.dicom_node.serving import eventually
from tests.faults.checks import ROOT, SUCCESS, Sender, assert_nothing_lost_or_torn
from tests.fuzz.mutations import mutated
from tests.fuzz.recorded import record_sessions
from tests.fuzz.stores import Told, digest, play
from tests.made_rows import open_house

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


def _play_all(port: int, sessions: list[bytes], count: int, name: str, told: Told) -> list[threading.Thread]:
    def play_some(worker: int) -> None:
        chance = random.Random(f"{SEED} {name} {worker}")
        for number in range(count // AT_ONCE):
            if number % 2:
                _play(port, mutated(chance.choice(sessions), chance))
                continue
            session = f"{worker + 1}.{int(name == 'warm-up')}.{number}"
            try:
                play(port, session, chance, told)
            except OSError as error:
                told.wrong.append(f"{session}: {error!r}")

    threads = [threading.Thread(target=play_some, args=(worker,)) for worker in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    return threads


@contextmanager
def _killed_if_it_hangs(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def _alarms(node: Path) -> list[str]:
    """What the node itself says went wrong in it."""
    query = text("SELECT text FROM event WHERE kind = 'request_failed' LIMIT 10")
    database = open_house(node).database
    with database.read() as connection:
        found = [str(one) for one in connection.execute(query).scalars()]
    database.close()
    return found


def _stored_digests(objects: FileStore) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for key in objects.keys():  # noqa: SIM118 - no dict
        file = objects.get(key)
        meta = read_file_meta(file)
        found.setdefault(meta.sop_instance_uid, set()).add(digest(file[meta.data_set_at :]))
    return found


@pytest.mark.timeout(7200)
def test_hostile_sessions_hurt_neither_the_acceptor_nor_who_sends_beside_them(
    tmp_path: Path, peer: Callable[[str], str]
) -> None:
    command = [sys.executable, "-m", "tests.fuzz.acceptor_process", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    sender, told = Sender(), Told()
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
            for thread in _play_all(port, sessions, 400, "warm-up", told):  # what the first sessions load stays
                thread.join()
            assert sender.send(port, 1) == [SUCCESS]
            assert eventually(lambda: acceptor.threads() < 10)
            threads, memory = acceptor.threads(), acceptor.memory_bytes()
            playing = _play_all(port, sessions, SESSIONS, "sessions", told)
            while len(sender.sent) < BESIDE:
                assert sender.send(port, 20) == [SUCCESS] * 20
            for thread in playing:
                thread.join()
            assert process.poll() is None
            assert eventually(lambda: acceptor.threads() <= threads, limit_s=30)
            grown = acceptor.memory_bytes() - memory
            assert grown < MOST_GROWTH_BYTES
        finally:
            process.stdin.close()
            with _killed_if_it_hangs(process):
                code = process.wait(60)
    assert code == 0
    assert (tmp_path / "uncaught").read_text() == ""
    assert "Traceback" not in (tmp_path / "stderr").read_text()
    assert told.wrong == []
    assert _alarms(tmp_path / "node") == []
    assert {0x0000, 0xA900, 0xC000} <= set(told.answers)
    stored = _stored_digests(FileStore(tmp_path / "node" / "objects"))
    assert [uid for uid, one in told.acknowledged.items() if one not in stored.get(uid, ())] == []
    assert_nothing_lost_or_torn(tmp_path / "node", sender.acknowledged, sender.sent, others_allowed=True)
    figures = f"memory {grown:+d} bytes, {threads} threads before and after, answers {dict(told.answers)}"
    print(f"{SESSIONS} sessions, seed {SEED}: {figures}")
