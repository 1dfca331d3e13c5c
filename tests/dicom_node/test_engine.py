"""The engine on real worker processes: what it says when one dies, hangs or fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.engine import Ended, Engine, EngineLost, EngineSettings
from dicom_node.errors import NodeError
from tests.processes import is_running
from tests.waiting import LIMIT_S, wait_until


def behave(how: str) -> int:
    """Run in a worker."""
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "hang":
        while True:
            time.sleep(0.01)
    if how == "raise":
        raise ValueError("no such thing")
    return os.getpid()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    settings = EngineSettings("local", 1, 1, None, str(tmp_path_factory.mktemp("scratch")), "json")
    running = Engine(settings, behave)
    yield running
    running.close()


def end_of(engine: Engine) -> Ended:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        for ended in engine.ended(1.0):
            return ended
    raise AssertionError("the attempt did not end")


def test_a_job_runs_in_another_process_and_its_value_comes_back(engine: Engine) -> None:
    engine.submit((1, 1), "return")
    assert engine.free() == 0
    ended = end_of(engine)
    assert (ended.key, ended.outcome) == ((1, 1), "done")
    assert ended.value != os.getpid()
    assert engine.free() == 1


def test_a_worker_that_dies_is_told_at_once_and_the_next_job_runs(engine: Engine) -> None:
    engine.submit((2, 1), "die")
    assert end_of(engine).outcome == "killed"
    wait_until(lambda: engine.free() == 1)
    engine.submit((3, 1), "return")
    assert end_of(engine).outcome == "done"


def test_what_a_job_raises_comes_back_in_words(engine: Engine) -> None:
    engine.submit((4, 1), "raise")
    ended = end_of(engine)
    assert (ended.outcome, ended.reason) == ("failed", "ValueError: no such thing")


def test_an_attempt_that_hangs_is_stopped_and_the_next_job_runs_on_a_new_worker(engine: Engine) -> None:
    engine.submit((5, 1), "return")
    before = end_of(engine).value
    engine.submit((6, 1), "hang")
    time.sleep(0.5)
    engine.stop_attempt((6, 1))
    engine.submit((7, 1), "return")
    ended = end_of(engine)
    assert ended.key == (7, 1)
    assert ended.value != before


def test_a_worker_that_ends_again_and_again_is_replaced_each_time(engine: Engine) -> None:
    """Dask by itself gives up a worker that is missing 15 s after it died, though it died anew in the meantime."""
    began, number = time.monotonic(), 0
    while time.monotonic() - began < 17:
        number += 1
        engine.submit((8, number), "hang")
        assert list(engine.ended(0.2)) == []
        engine.stop_attempt((8, number))
        wait_until(lambda: engine.free() == 1)
    engine.submit((9, 1), "return")
    assert end_of(engine).outcome == "done"


def test_workers_that_are_gone_for_good_are_told(tmp_path: Path) -> None:
    engine = Engine(EngineSettings("local", 1, 1, None, str(tmp_path), "json"), behave)
    try:
        (address,) = engine._addresses()
        engine._client.retire_workers([address], close_workers=True)
        with pytest.raises(EngineLost, match="1 worker processes ended"):
            wait_until(lambda: engine.free() < 0)
    finally:
        engine.close()


def test_a_scheduler_that_does_not_answer_is_named() -> None:
    settings = EngineSettings("tcp://127.0.0.1:9", 1, 1, None, "", "json")
    with pytest.raises(NodeError, match=r"engine\.scheduler tcp://127\.0\.0\.1:9"):
        Engine(settings, behave, start_timeout_s=1.0)


HOLD = """
import os, sys, time
from dicom_node.engine import Engine, EngineSettings

if __name__ == "__main__":
    engine = Engine(EngineSettings("local", 1, 1, None, sys.argv[1], "json"), os.getpid)
    engine.submit((1, 1))
    print(next(engine.ended(60)).value, flush=True)
    time.sleep(600)
"""


def test_workers_do_not_outlive_a_dispatcher_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "hold.py"
    script.write_text(HOLD)
    holder = subprocess.Popen([sys.executable, str(script), str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout
    with holder.stdout:
        worker = int(holder.stdout.readline())
        holder.kill()
        holder.wait()
    wait_until(lambda: not is_running(worker))
