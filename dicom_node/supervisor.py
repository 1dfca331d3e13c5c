"""Starts the node's processes, watches them, and starts again what ends. It runs nothing else, so it has no reason to end.

Each child holds the read end of a pipe as its standard input: when the supervisor is gone, whatever the cause, the pipe
closes and the child stops by itself, so no part of a node outlives it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_node import logs
from dicom_node.errors import NodeError

# A process that ends with this code says that starting it again would not help (sysexits.h: EX_CONFIG).
EXIT_CONFIG = 78
# A process that lived this long was well: the wait before its restart begins again from the shortest.
WELL_AFTER_S = 30.0
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 10.0
STOP_TIMEOUT_S = 20.0
POLL_S = 0.1
# The name of the supervisor's own state: which children it has.
STATE = "supervisor"

log = logs.get("supervisor")


@dataclass(slots=True)
class _Child:
    name: str
    argv: Sequence[str]
    inherits: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    wait_s: float = FIRST_WAIT_S
    start_at: float = 0.0


class Supervisor:
    def __init__(self, run_folder: Path, on_restart: Callable[[str, int], None]) -> None:
        """run_folder: where children say that they are ready. on_restart: told the name and exit code of what ended."""
        self._run_folder = run_folder
        self._on_restart = on_restart
        self._children: list[_Child] = []
        self._stopping = threading.Event()

    def add(self, name: str, module: str, *arguments: str, inherits: Sequence[int] = ()) -> None:
        """inherits: descriptors that stay open in the process, under their numbers."""
        (self._run_folder / f"{name}.json").unlink(missing_ok=True)
        self._children.append(_Child(name, (sys.executable, "-m", module, name, *arguments), inherits))

    def stop(self) -> None:
        self._stopping.set()

    def run(
        self, on_ready: Callable[[dict[str, dict[str, Any]]], None], on_stop: Callable[[], None] = lambda: None
    ) -> None:
        """Until `stop`: keep every child running. on_ready is told once what the children said of themselves.

        on_stop: called before the children are told to end. Raises NodeError when a child cannot be started with this
        configuration; once all of them are ready, it is tried again instead, as the others serve on.
        """
        told = False
        write_state(self._run_folder, STATE, children=[child.name for child in self._children])
        try:
            while not self._stopping.wait(POLL_S):
                for child in self._children:
                    self._tend(child, may_refuse=not told)
                if not told and (said := self._readiness()) is not None:
                    told = True
                    on_ready(said)
        finally:
            on_stop()
            self._end_all()

    def _tend(self, child: _Child, *, may_refuse: bool) -> None:
        now = time.monotonic()
        if child.process is None:
            if now >= child.start_at:
                self._start(child, now)
            return
        code = child.process.poll()
        if code is None:
            return
        _close_pipe(child.process)
        child.process = None
        if code == EXIT_CONFIG and may_refuse:
            raise NodeError(f"the {child.name} process could not start with this configuration; its log says why")
        child.wait_s = FIRST_WAIT_S if now - child.started_at > WELL_AFTER_S else min(child.wait_s * 2, LONGEST_WAIT_S)
        child.start_at = now + child.wait_s
        log.error("process ended, it is started again", name=child.name, exit_code=code, wait_s=child.wait_s)
        self._on_restart(child.name, code)

    def _start(self, child: _Child, now: float) -> None:
        """A machine that has no memory or no process to spare now may have one later; the others serve on."""
        try:
            child.process = subprocess.Popen(child.argv, stdin=subprocess.PIPE, pass_fds=child.inherits)
            child.started_at = now
        except OSError as error:
            child.wait_s = min(child.wait_s * 2, LONGEST_WAIT_S)
            child.start_at = now + child.wait_s
            log.error("process cannot be started, it is tried again", name=child.name, error=error, wait_s=child.wait_s)

    def _readiness(self) -> dict[str, dict[str, Any]] | None:
        """What each child wrote when it was ready, or None while one of them is not."""
        said: dict[str, dict[str, Any]] = {}
        for child in self._children:
            state = read_state(self._run_folder, child.name)
            if state is None or child.process is None or state["pid"] != child.process.pid:
                return None
            said[child.name] = state
        return said

    def _end_all(self) -> None:
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("process did not stop in time, it is killed", pid=process.pid)
                process.kill()
                process.wait()
            _close_pipe(process)


def _close_pipe(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        process.stdin.close()


def write_state(run_folder: Path, name: str, **values: Any) -> None:
    """Say that this process is ready. Replaced at once, so a reader never sees half of it."""
    run_folder.mkdir(parents=True, exist_ok=True)
    whole = run_folder / f"{name}.json"
    part = whole.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps({"pid": os.getpid(), "since": time.time(), "born": born(os.getpid()), **values}))
    part.replace(whole)


def read_state(run_folder: Path, name: str) -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = json.loads((run_folder / f"{name}.json").read_text())
    except (OSError, ValueError):
        return None
    return state


def is_alive(state: Mapping[str, Any]) -> bool:
    """Whether the process that wrote the state lives: this one, and not another that has got its number since."""
    return state.get("born") is not None and born(state["pid"]) == state["born"]


def born(pid: int) -> int | None:
    """When a process was started, in clock ticks since the machine was; None where there is no such process."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    except OSError:
        return None
    return int(after_name.split()[19])  # proc_pid_stat(5): field 22; what stands after the name begins with the third


def stop_requested() -> threading.Event:
    """For a child: set on SIGTERM or SIGINT, or when the supervisor is gone (standard input closes).

    SIGHUP is for the supervisor; a terminal that closes sends it to all.
    """
    stopping = threading.Event()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    threading.Thread(target=_wait_for_end_of_input, args=(stopping,), name="supervisor-watch", daemon=True).start()
    return stopping


def _wait_for_end_of_input(stopping: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    stopping.set()
