"""`dicom-node serve`: one command, one tree of processes. Prepares what they share, then watches over them."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from dicom_node import logs
from dicom_node.acceptors import acceptor_names
from dicom_node.config import Config
from dicom_node.config_file import parse_config, read_content
from dicom_node.config_in_use import InUse
from dicom_node.door import open_intake
from dicom_node.errors import NodeError
from dicom_node.network.listening import CannotListen, Listening
from dicom_node.reload import Installed, Reload, standing
from dicom_node.stores import Stores, open_stores
from dicom_node.supervisor import Supervisor
from dicom_node.versions import Versions, versions_of
from storage.errors import StorageError
from storage.records.events import Event

log = logs.get("app")


def serve(
    config_path: Path,
    on_ready: Callable[[Config, dict[str, dict[str, Any]]], None],
    log_format: Literal["text", "json"] | None = None,
) -> None:
    """Run the node until SIGTERM or SIGINT. on_ready is told the configuration and what the processes said.

    Raises ConfigError where config.yaml is not valid, PackageError where a model is not as its manifest says, NodeError
    where the node cannot start for another reason.
    """
    # What the node writes is patient data: for its own user, and to be read by its group, never by others. Who started
    # it may be stricter (UMask of a systemd unit).
    os.umask(os.umask(0o027) | 0o027)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until somebody can answer it; its default is the end
    content = read_content(config_path)
    config = parse_config(content, config_path)
    log_format = log_format or config.logging.format
    logs.configure(config.logging.level, log_format, process="supervisor")
    with _only_one(config.node.data_folder):
        stores = open_stores(config)
        stores.database.migrate()
        stores.run_folder.mkdir(parents=True, exist_ok=True)
        versions = versions_of(config, stores)
        take_up_models(versions, config, stores)
        now = standing(content, config, versions.routable(config))
        in_use = InUse.of(stores.run_folder, config_path)
        in_use.accept(content)
        _warn_if_open(config)
        names = acceptor_names(config.node)
        try:
            listening = Listening.open(config.node, processes=len(names))
        except CannotListen as error:
            raise NodeError(str(error)) from error
        take_over(config, stores)
        supervisor = Supervisor(stores.run_folder, lambda name, code: _record_restart(stores, name, code))
        add_acceptors(supervisor, names, listening, in_use, log_format)
        supervisor.add("dispatcher", "dicom_node.processes.dispatcher", in_use.in_words(), log_format)
        reload = Reload(
            in_use,
            now,
            record=lambda event: _record(stores, event),
            on_accepted=_accepted,
            installed=Installed(
                versions.routable, versions.problem_of, lambda then: take_up_models(versions, then, stores)
            ),
        )
        signal.signal(signal.SIGHUP, lambda *_: reload.ask())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: supervisor.stop())
        try:
            reload.start()
            # The ports are closed before the acceptors are stopped: who comes then is refused, and not left waiting.
            supervisor.run(lambda said: on_ready(config, said), on_stop=listening.close)
        finally:
            reload.stop()
            stores.database.close()


def add_acceptors(
    supervisor: Supervisor, names: Sequence[str], listening: Listening, in_use: InUse, log_format: str
) -> None:
    """A process for each name, on the same sockets."""
    for row, name in enumerate(names):
        told = in_use.in_words(), log_format, str(row), listening.in_words()
        supervisor.add(name, "dicom_node.processes.acceptor", *told, inherits=listening.descriptors())


def take_over(config: Config, stores: Stores) -> None:
    """What an earlier run left, whatever its acceptors were called: no process of this one runs yet."""
    intake = open_intake(config, stores)
    try:
        intake.recover()
        intake.sweep()
        lost = stores.studies.lose_associations()
    finally:
        intake.close()
    if lost:
        log.warning("associations of an earlier run closed as lost", associations=lost)


def take_up_models(versions: Versions, config: Config, stores: Stores) -> None:
    """Keep the versions that the configuration names, and say what of it is not in use."""
    for event in versions.take_up(config):
        stores.events.record_once(event)


def _accepted(config: Config) -> None:
    logs.set_level(config.logging.level)
    _warn_if_open(config)


def _warn_if_open(config: Config) -> None:
    if config.access.open:
        log.warning("access is open: every peer may send; close it with access.open: false")


def _record_restart(stores: Stores, name: str, code: int) -> None:
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    _record(stores, Event("process_restarted", f"the {name} ended with {how} and was started again", "warning"))


def _record(stores: Stores, event: Event) -> None:
    try:
        stores.events.record(event)
    except StorageError as error:
        log.error("event could not be recorded", error=error)  # what is watched over goes on all the same


@contextmanager
def _only_one(data_folder: Path) -> Iterator[None]:
    """Hold the data folder. Two nodes on one folder would each answer for what the other does."""
    data_folder.mkdir(parents=True, exist_ok=True)
    with (data_folder / "node.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NodeError(
                f"node.data_folder {data_folder}: another dicom-node is running on it; stop that one or name another folder"
            ) from None
        yield
