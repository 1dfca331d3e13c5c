"""Every sync, write and rename of a store fails once, or is the last thing that the acceptor does."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.dicom_node.raw_scu import associated
from tests.dicom_node.serving import eventually
from tests.faults.checks import CT, OUT_OF_RESOURCES, SUCCESS, Sender, acceptor_process, assert_nothing_lost_or_torn

IMAGES = 3
# How often a call is failed at: the first time in a thread, the second, and so on. Packs are full after a few images, so
# that folders and packs are made, sealed and removed as well.
CALLS = {
    "pwrite64": 24,
    "pwritev": 6,
    "fdatasync": 8,
    "fsync": 3,
    "ftruncate": 2,
    "write": 2,
    "rename": 1,
    "openat": 4,
    "mkdir": 1,
    "unlink": 1,
    "statfs": 2,
}
SMALL_PACKS = "tests.faults.small_packs"
LONG_TIMES = 3  # so many times as many places, in the long run
KILLED_AT = [("pwrite64", when) for when in (1, 2, 4, 6, 9, 12)] + [
    *(("fdatasync", when) for when in (1, 2, 3)),
    ("fsync", 1),
    ("ftruncate", 1),
]


@contextmanager
def _injected(strace: str, pid: int, fault: str, trace: Path) -> Iterator[None]:
    """The fault happens in the process while the block runs, in each thread at its own n-th call."""
    call = fault.partition(":")[0]
    trace.unlink(missing_ok=True)
    with subprocess.Popen(
        [strace, "-fqq", f"-etrace={call}", f"-einject={fault}", "-esignal=none", "-o", str(trace), "-p", str(pid)],
        stderr=subprocess.DEVNULL,
    ) as tracer:
        try:
            assert eventually(lambda: _is_traced(pid)), f"{strace} cannot attach"
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(20)


def _is_traced(pid: int) -> bool:
    states = []
    for path in Path(f"/proc/{pid}/task").glob("*/status"):
        with suppress(OSError):  # a thread that just ended
            states.append(path.read_text())
    return all(re.search(r"^TracerPid:\t[1-9]", state, re.M) for state in states)


def _hits(trace: Path) -> int:
    return trace.read_text(errors="replace").count("INJECTED")


def _fail_at_each(folder: Path, strace: str, error: str, times: int) -> None:
    sender, hits, told = Sender(), 0, 0
    with acceptor_process(folder / "node", module=SMALL_PACKS) as (process, port):
        assert sender.send(port, 2) == [SUCCESS, SUCCESS]
        for call, places in CALLS.items():
            for when in range(1, places * times + 1):
                with _injected(strace, process.pid, f"{call}:error={error}:when={when}", folder / "trace"):
                    answers = sender.send(port, IMAGES)
                    time.sleep(0.05)
                hits += _hits(folder / "trace")
                told += answers.count(OUT_OF_RESOURCES)
                assert set(answers) <= {SUCCESS, OUT_OF_RESOURCES, None}, (call, when, answers)
                assert process.poll() is None, (call, when)
                assert eventually(lambda: sender.send(port, 1) == [SUCCESS]), (call, when, "does not recover")
    assert hits >= 20
    assert told >= 5
    assert_nothing_lost_or_torn(folder / "node", sender.acknowledged, sender.sent)


def test_one_error_at_any_call_is_never_a_success_and_passes(tmp_path: Path, peer: Callable[[str], str]) -> None:
    _fail_at_each(tmp_path, peer("strace"), "EIO", 1)


@pytest.mark.long
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_one_error_at_many_more_calls_is_never_a_success(
    tmp_path: Path, peer: Callable[[str], str], error: str
) -> None:
    _fail_at_each(tmp_path, peer("strace"), error, LONG_TIMES)


@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
def test_a_full_disk_is_said_while_it_is_full_and_no_longer(
    tmp_path: Path, peer: Callable[[str], str], call: str
) -> None:
    sender = Sender()
    with acceptor_process(tmp_path / "node") as (process, port):
        assert sender.send(port, 1) == [SUCCESS]
        with _injected(peer("strace"), process.pid, f"{call}:error=ENOSPC", tmp_path / "trace"):
            answers = sender.send(port, IMAGES)
        assert SUCCESS not in answers
        assert eventually(lambda: sender.send(port, 1) == [SUCCESS])
    assert_nothing_lost_or_torn(tmp_path / "node", sender.acknowledged, sender.sent)


def test_a_sync_that_fails_under_an_open_association_is_no_success(tmp_path: Path, peer: Callable[[str], str]) -> None:
    sender = Sender()
    with acceptor_process(tmp_path / "node") as (process, port), associated(port, [CT]) as scu:
        assert sender.store(scu) == SUCCESS
        time.sleep(0.5)  # its row is committed: what fails next is the sync of an instance
        with _injected(peer("strace"), process.pid, "fdatasync:error=EIO", tmp_path / "trace"):
            answers = [sender.store(scu) for _ in range(IMAGES)]
        assert answers == [OUT_OF_RESOURCES] * IMAGES
        assert eventually(lambda: sender.store(scu) == SUCCESS)
    assert_nothing_lost_or_torn(tmp_path / "node", sender.acknowledged, sender.sent)


@pytest.mark.parametrize(("call", "when"), KILLED_AT)
def test_a_kill_at_any_call_loses_nothing_acknowledged(
    tmp_path: Path, peer: Callable[[str], str], call: str, when: int
) -> None:
    assert _kill_at(tmp_path, peer("strace"), call, when, wait_s=10)


@pytest.mark.long
@pytest.mark.parametrize("when", range(1, 60))
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync", "fsync", "ftruncate"])
def test_a_kill_at_each_call_loses_nothing_acknowledged(
    tmp_path: Path, peer: Callable[[str], str], call: str, when: int
) -> None:
    _kill_at(tmp_path, peer("strace"), call, when)


def _kill_at(folder: Path, strace: str, call: str, when: int, *, wait_s: float = 0.3) -> bool:
    """Whether the call came so often that the process was killed by it."""
    sender = Sender()
    with acceptor_process(folder / "node", module=SMALL_PACKS) as (process, port):
        with _injected(strace, process.pid, f"{call}:signal=KILL:when={when}", folder / "trace"):
            sender.send(port, IMAGES)
            if not eventually(lambda: process.poll() is not None, limit_s=0.3):
                sender.send(port, IMAGES)
            was_killed = eventually(lambda: process.poll() is not None, limit_s=wait_s)
        process.kill()
    assert_nothing_lost_or_torn(folder / "node", sender.acknowledged, sender.sent)
    return was_killed
