"""Turns on a device that processes share: one computes, the others wait, and none waits for one that is gone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.turns import VISIBLE, Turns, show_gpu

OTHER = """
import sys, time
from pathlib import Path
from inference.turns import Turns
turns = Turns()
turns.share(Path(sys.argv[1]), cpu=0, gpu=0)
with turns.at(sys.argv[2]):
    print("computes", flush=True)
    time.sleep(3600)
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that computes on the cores and does not end by itself."""
    process = subprocess.Popen([sys.executable, "-c", OTHER, str(tmp_path), "cpu"], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "computes\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def placed(folder: Path, *, cpu: int = 0, gpu: int = 0) -> Turns:
    turns = Turns()
    turns.share(folder, cpu=cpu, gpu=gpu)
    return turns


def test_a_turn_comes_when_the_process_that_computes_is_killed_and_not_before(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    turns, came = placed(tmp_path), list[float]()

    def compute() -> None:
        with turns.at("cpu"):
            came.append(turns.waited_s())

    waiting = threading.Thread(target=compute)
    waiting.start()
    time.sleep(0.3)
    assert not came
    other.kill()
    waiting.join(30)
    assert len(came) == 1
    assert came[0] >= 0.25
    assert turns.waited_s() == 0.0  # it is told once, and to the thread that waited


def test_another_place_and_another_kind_of_device_wait_for_nobody(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    assert other.poll() is None
    with placed(tmp_path, cpu=1).at("cpu"), placed(tmp_path).at("cuda"), placed(tmp_path, gpu=1).at("cuda"):
        assert other.poll() is None


def test_who_shares_nothing_waits_for_nobody() -> None:
    turns = Turns()
    with turns.at("cpu"), turns.at("cpu"):
        assert turns.waited_s() == 0.0


def test_a_turn_ends_where_what_computes_fails(tmp_path: Path) -> None:
    def fail(turns: Turns) -> None:
        with turns.at("cpu"):
            raise ValueError("out of range")

    with pytest.raises(ValueError, match="out of range"):
        fail(placed(tmp_path))
    with placed(tmp_path).at("cpu"):
        pass  # else it would wait for ever


@pytest.mark.parametrize(("seen", "number", "then"), [(None, 0, "0"), (None, 3, "1"), ("5,7", 1, "7"), ("5,7", 2, "5")])
def test_each_worker_sees_one_gpu_of_those_that_there_are(
    seen: str | None, number: int, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VISIBLE, seen or "")
    show_gpu(number, 2)
    assert os.environ[VISIBLE] == then
