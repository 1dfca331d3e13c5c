"""The supervisor with children that die, refuse, and must not outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from dicom_node.errors import NodeError
from dicom_node.supervisor import Supervisor, read_state, write_state
from tests.processes import is_running
from tests.waiting import LIMIT_S, wait_until

CHILD = """
    import sys
    from pathlib import Path
    from dicom_node.supervisor import EXIT_CONFIG, stop_requested, write_state

    name, folder, how = sys.argv[1:4]
    if how == "refuse":
        sys.exit(EXIT_CONFIG)
    stopping = stop_requested()
    write_state(Path(folder), name, port=7)
    stopping.wait()
    (Path(folder) / f"{name}.stopped").touch()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "supervised_child.py").write_text(textwrap.dedent(CHILD))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])]))
    return tmp_path


class Watched:
    """A supervisor running in a thread of the test."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder, self.names = folder, names
        self.restarts: list[tuple[str, int]] = []
        self.ready = threading.Event()
        self.supervisor = Supervisor(folder, lambda name, code: self.restarts.append((name, code)))
        for name in names:
            self.supervisor.add(name, "supervised_child", str(folder), "stay")
        self.thread = threading.Thread(target=self.supervisor.run, args=(lambda _: self.ready.set(),))

    def __enter__(self) -> Watched:
        self.thread.start()
        assert self.ready.wait(LIMIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.supervisor.stop()
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive()

    def pid(self, name: str) -> int:
        state = read_state(self.folder, name)
        assert state
        return int(state["pid"])


def test_a_child_that_is_killed_is_started_again_and_the_other_is_left_alone(folder: Path) -> None:
    with Watched(folder, "one", "two") as node:
        killed, left = node.pid("one"), node.pid("two")
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: node.pid("one") != killed, "the child is started again")
        assert node.pid("two") == left
        assert node.restarts == [("one", -signal.SIGKILL)]


def test_stopping_lets_every_child_end_by_itself(folder: Path) -> None:
    with Watched(folder, "one", "two"):
        pass
    assert (folder / "one.stopped").exists()
    assert (folder / "two.stopped").exists()


def test_a_child_that_cannot_use_the_configuration_ends_the_node(folder: Path) -> None:
    supervisor = Supervisor(folder, lambda *_: None)
    supervisor.add("one", "supervised_child", str(folder), "refuse")
    with pytest.raises(NodeError, match="one process could not start"):
        supervisor.run(lambda _: None)


def test_children_end_when_the_supervisor_is_killed(folder: Path) -> None:
    script = f"""
        from pathlib import Path
        from dicom_node.supervisor import Supervisor
        supervisor = Supervisor(Path({str(folder)!r}), lambda *_: None)
        supervisor.add("one", "supervised_child", {str(folder)!r}, "stay")
        supervisor.run(lambda said: print(said["one"]["pid"], flush=True))
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE)
    assert parent.stdout
    with parent.stdout:
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
    wait_until(lambda: not is_running(child), "the child ends")


def test_a_state_file_is_never_seen_half_written(tmp_path: Path) -> None:
    write_state(tmp_path, "one", port=1)
    whole = (tmp_path / "one.json").read_text()
    (tmp_path / "one.json").write_text(whole[: len(whole) // 2])
    assert read_state(tmp_path, "one") is None
    write_state(tmp_path, "one", port=2)
    state = read_state(tmp_path, "one")
    assert state
    assert state["port"] == 2
    assert list(tmp_path.glob("*.part")) == []
