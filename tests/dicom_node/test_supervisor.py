"""The supervisor with children that die, refuse, and must not outlive it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from dicom_node.errors import NodeError
from dicom_node.supervisor import EXIT_CONFIG, Supervisor, is_alive, read_state, write_state
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


def test_a_child_that_the_machine_cannot_start_now_is_started_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = subprocess.Popen, [OSError(errno.EAGAIN, "no process to spare")] * 2

    def short_of_memory(*arguments: Any, **more: Any) -> Any:
        if failures:
            raise failures.pop()
        return real(*arguments, **more)

    with Watched(folder, "one", "two") as node:
        killed, left = node.pid("one"), node.pid("two")
        monkeypatch.setattr("dicom_node.supervisor.subprocess.Popen", short_of_memory)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: node.pid("one") != killed, "the child is started again")
        assert node.pid("two") == left
    assert not failures


def test_a_process_that_has_got_the_number_of_one_that_ended_is_not_taken_for_it(tmp_path: Path) -> None:
    write_state(tmp_path, "one")
    state = read_state(tmp_path, "one")
    assert state
    assert is_alive(state)
    assert not is_alive({**state, "pid": 1})  # which lives
    with subprocess.Popen(["true"]) as ended:
        pass
    assert not is_alive({**state, "pid": ended.pid})


REFUSES_LATER = """
    import sys
    from pathlib import Path
    from dicom_node.supervisor import EXIT_CONFIG, stop_requested, write_state

    name, folder, _ = sys.argv[1:4]
    tries = Path(folder) / f"{name}.tries"
    tries.write_text(tries.read_text() + "I" if tries.exists() else "I")
    stopping = stop_requested()
    if len(tries.read_text()) == 2:
        sys.exit(EXIT_CONFIG)
    write_state(Path(folder), name)
    stopping.wait()
"""


def test_a_child_that_cannot_start_again_is_tried_again_while_the_others_go_on(folder: Path) -> None:
    (folder / "supervised_child.py").write_text(textwrap.dedent(REFUSES_LATER))
    with Watched(folder, "one") as node:
        os.kill(node.pid("one"), signal.SIGKILL)
        wait_until(lambda: (folder / "one.tries").read_text() == "III", "the child is started a third time")
        assert [code for _, code in node.restarts] == [-signal.SIGKILL, EXIT_CONFIG]


def test_a_child_inherits_what_it_is_given_and_the_other_does_not(folder: Path) -> None:
    (folder / "supervised_child.py").write_text(
        textwrap.dedent("""
            import os, sys
            from pathlib import Path
            from dicom_node.supervisor import stop_requested, write_state
            name, folder, descriptor = sys.argv[1:4]
            stopping = stop_requested()
            write_state(Path(folder), name, has_it=os.path.exists(f"/proc/self/fd/{descriptor}"))
            stopping.wait()
        """)
    )
    given, other = os.pipe()
    said: list[dict[str, dict[str, object]]] = []
    supervisor = Supervisor(folder, lambda *_: None)
    supervisor.add("one", "supervised_child", str(folder), str(given), inherits=[given])
    supervisor.add("two", "supervised_child", str(folder), str(given))
    closed: list[bool] = []
    thread = threading.Thread(target=supervisor.run, args=(said.append, lambda: closed.append(True)))
    thread.start()
    wait_until(lambda: bool(said), "both are ready")
    supervisor.stop()
    thread.join(30)
    os.close(given)
    os.close(other)
    assert [said[0][name]["has_it"] for name in ("one", "two")] == [True, False]
    assert closed == [True]
