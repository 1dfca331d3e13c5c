"""A real node for tests: `dicom-node serve` on a configuration of its own, with what is needed to look into it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from dicom_node.acceptors import acceptor_names
from dicom_node.config_file import load_config
from dicom_node.history import StudyAccount, account_of
from dicom_node.stores import Stores, open_stores
from dicom_node.supervisor import read_state
from tests.ports import free_port
from tests.processes import exit_status, terminated
from tests.waiting import PATIENCE_S, wait_until


def configuration(**more: Any) -> dict[str, Any]:
    """A configuration with every default that is not about this machine; sections in `more` replace whole ones.

    But of workers there is one, since two take twice as long to start.
    """
    base: dict[str, Any] = {
        "node": {"port": free_port(), "data_folder": "data"},
        "models": [{"name": "ct_lung_density"}],
        "routes": [
            {"name": "ct", "when": {"Modality": "CT"}, "models": ["ct_lung_density"], "destinations": ["results"]}
        ],
        "destinations": [{"name": "results", "type": "folder", "path": "results"}],
        "storage": {"min_free_bytes": "50 MB", "prepared_packs": 0},
        "engine": {"workers": 1},
    }
    return base | more


class NodeUnderTest:
    def __init__(self, folder: Path, tree: dict[str, Any]) -> None:
        self.folder = folder
        self.config_path = folder / "config.yaml"
        self.config_path.write_text(yaml.safe_dump(tree))
        self.config = load_config(self.config_path)
        self.log_path = folder / "node.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.stores: Stores = open_stores(self.config)
        # Tests look into the stores after the node has stopped, so no block's end is the end of their use.
        weakref.finalize(self, self.stores.database.close)

    @property
    def port(self) -> int:
        return self.config.node.port

    @property
    def acceptors(self) -> tuple[str, ...]:
        return acceptor_names(self.config.node)

    @property
    def process_names(self) -> tuple[str, ...]:
        return (*self.acceptors, "dispatcher")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Started, and stopped in order unless the block did; killed where it fails, so that nothing outlives its test."""
        try:
            self.start()
            yield
        except BaseException:
            self.kill_all()
            raise
        if self.process:
            self.stop()

    def start(self) -> None:
        for name in self.process_names:
            (self.stores.run_folder / f"{name}.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "dicom_node", "serve", "--config", str(self.config_path)]
        with self.log_path.open("a") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._is_ready)

    def stop(self) -> None:
        assert self.process
        try:
            assert terminated(self.process) == 0, self.log()
        except BaseException:
            self.kill_all()
            raise
        self.process = None

    def kill_all(self) -> None:
        """As when the power fails: every process of the node at once."""
        if self.process is None:
            return
        doomed = [self.process.pid, *(pid for name in self.process_names if (pid := self.pid(name)))]
        for pid in [*doomed, *self.worker_pids()]:
            kill(pid)
        exit_status(self.process)
        self.process = None

    def pid(self, name: str) -> int | None:
        state = read_state(self.stores.run_folder, name)
        return int(state["pid"]) if state else None

    def worker_pids(self) -> list[int]:
        """The worker processes: children of the dispatcher that run Python's spawned main."""
        dispatcher = self.pid("dispatcher")
        return [pid for pid in children(dispatcher) if b"spawn_main" in command_line(pid)] if dispatcher else []

    @contextmanager
    def paused_worker(self) -> Iterator[None]:
        """What is started meanwhile runs, but gets no further until the block ends."""
        paused = self.worker_pids()
        assert paused
        for pid in paused:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in paused:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def job_states(self, key: str) -> list[str]:
        """States of the jobs of a study, oldest job first; none while it has not arrived."""
        account = self.account(key)
        return [entry.job.state for entry in account.jobs] if account else []

    def account(self, key: str) -> StudyAccount | None:
        found = account_of(self.stores, key)
        return found[0] if found else None

    def settled(self, key: str) -> bool:
        account = self.account(key)
        return account is not None and account.is_settled

    def log(self) -> str:
        return self.log_path.read_text()

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return dicom_node(*arguments, "--config", str(self.config_path))

    def _is_ready(self) -> bool:
        assert self.process
        assert self.process.poll() is None, self.log()
        return all(self.pid(name) for name in self.process_names)


def dicom_node(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command line, run in a folder, as on a wide terminal without colours."""
    command = [sys.executable, "-m", "dicom_node", *arguments]
    environment = os.environ | {"COLUMNS": "300", "NO_COLOR": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, check=False, cwd=folder, timeout=PATIENCE_S
    )


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def children(pid: int) -> list[int]:
    """Child processes, whichever thread started them."""
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
