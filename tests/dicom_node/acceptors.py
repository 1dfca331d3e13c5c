"""The acceptor processes of a node, as `serve` starts them, without the processes behind them: for tests."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from dicom_node.acceptors import acceptor_names
from dicom_node.app import add_acceptors, take_over
from dicom_node.config_file import load_config
from dicom_node.config_in_use import InUse
from dicom_node.network.listening import Listening
from dicom_node.stores import open_stores
from dicom_node.supervisor import Supervisor, read_state


class AcceptorsUnderTest:
    """node: that section of the configuration; port 0 takes any free one, as elsewhere."""

    def __init__(self, folder: Path, acceptors: int, **node: object) -> None:
        path = folder / "config.yaml"
        section = {"port": 0, "data_folder": "data", "acceptors": acceptors, **node}
        path.write_text(yaml.safe_dump({"node": section, "storage": {"min_free_bytes": "1 MB"}}))
        self._path = path
        self.config = load_config(path)
        self.names = acceptor_names(self.config.node)
        self.data_folder = self.config.node.data_folder
        self.restarts: list[tuple[str, int]] = []
        self.stores = open_stores(self.config)
        self.port = self.tls_port = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        self.stores.database.migrate()
        take_over(self.config, self.stores)
        listening = Listening.open(self.config.node, processes=len(self.names))
        self.port = listening.plain.getsockname()[1] if listening.plain else 0
        self.tls_port = listening.tls.getsockname()[1] if listening.tls else 0
        supervisor = self._supervisor = Supervisor(
            self.stores.run_folder, lambda name, code: self.restarts.append((name, code))
        )
        in_use = InUse.of(self.stores.run_folder, self._path)
        in_use.accept(self._path.read_bytes())
        add_acceptors(supervisor, self.names, listening, in_use, "text")
        ready = threading.Event()
        thread = threading.Thread(target=supervisor.run, args=(lambda _: ready.set(), listening.close))
        thread.start()
        try:
            assert ready.wait(60)
            yield
        finally:
            supervisor.stop()
            thread.join(60)
            self.stores.database.close()

    def kill_all(self) -> None:
        """As when the power fails: all at once, and none is started again."""
        for name in self.names:
            os.kill(self.pid(name), signal.SIGKILL)
        self._supervisor.stop()

    def pid(self, name: str) -> int:
        state = read_state(self.stores.run_folder, name)
        assert state
        return int(state["pid"])

    def associations(self) -> list[tuple[str, str | None, float]]:
        """Of each: the acceptor that served it, how it ended, and when it was opened."""
        return self.rows("select acceptor, ending, opened_at from association")

    def rows(self, query: str) -> list[tuple[str, str | None, float]]:
        connection = sqlite3.connect(self.data_folder / "node.sqlite3", timeout=30)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()
