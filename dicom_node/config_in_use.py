"""The configuration that the node accepted: kept beside its data, and read by every process of it.

The file that a person edits may be half written, or wrong, when a process is started again. So the supervisor alone
reads that; what it accepted it writes down here as it stood, `${NAME}` unfilled, and replaced as a whole.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dicom_node import logs
from dicom_node.config import Config
from dicom_node.config_file import load_config, parse_config, read_content
from dicom_node.errors import ConfigError, NodeError
from dicom_node.supervisor import STATE as SUPERVISOR
from dicom_node.supervisor import is_alive, read_state
from storage.errors import StorageError
from storage.events import Events
from storage.records.events import Event

ACCEPTED = "config-accepted.yaml"
# The name of the state in which the supervisor says what became of the file: file, refused (reasons, none where it is in use).
STATE = "config"
_DATA_FOLDER = re.compile(rb"^\s*data_folder:[ \t]*([^#\r\n]+)", re.MULTILINE)
_NAMED_AT_MOST = 12
Stamp = tuple[int, int, int]

log = logs.get("config")


@dataclass(frozen=True, slots=True)
class InUse:
    """file: the one that people edit, which problems name and paths count from. accepted: what the node goes by."""

    file: Path
    accepted: Path

    @classmethod
    def of(cls, run_folder: Path, file: Path) -> Self:
        return cls(file.absolute(), run_folder / ACCEPTED)

    @classmethod
    def told(cls, words: str) -> Self:
        """What `in_words` says, in the process that it was said to."""
        return cls(*map(Path, json.loads(words)))

    def in_words(self) -> str:
        """For the command line of a process."""
        return json.dumps([str(self.file), str(self.accepted)])

    def accept(self, content: bytes) -> None:
        """Written whole or not at all; for this user alone, as it may hold a password."""
        part = self.accepted.with_suffix(".part")
        part.unlink(missing_ok=True)
        self.accepted.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(self.accepted)

    def content(self) -> bytes:
        """Raises ConfigError where it cannot be read."""
        return read_content(self.accepted)

    def load(self) -> tuple[Config, Stamp | None]:
        """With what tells this one from those that follow, for a `Follower`. Raises ConfigError."""
        read_at = stamp(self.accepted)
        return parse_config(self.content(), self.file), read_at


class Follower:
    """Has a process take up what is accepted while it runs. Not safe for threads.

    taken_up: the one that the process began with. take_up: goes on with another; raises NodeError, and has then changed
    nothing. name: of the process.
    """

    def __init__(
        self, in_use: InUse, taken_up: Stamp | None, take_up: Callable[[Config], None], events: Events, name: str
    ) -> None:
        self._in_use = in_use
        self._seen = taken_up
        self._take_up = take_up
        self._events = events
        self._name = name

    def step(self) -> None:
        """Look whether another configuration was accepted. Costs little where none was."""
        now = stamp(self._in_use.accepted)
        if now == self._seen or now is None:
            return
        self._seen = now  # also where it does not work: it would work no better a moment later
        try:
            config, self._seen = self._in_use.load()
            self._take_up(config)
        except NodeError as error:
            self._tell(error)
        else:
            log.info("configuration taken up")

    def _tell(self, error: NodeError) -> None:
        """What was accepted a moment ago does not work here: files that it names were changed since."""
        log.error("configuration cannot be taken up, the one before stays", error=error)
        text = f"the {self._name} goes on with the configuration before: {error}; mend it and send SIGHUP"
        try:
            self._events.record(Event("config_refused", text, "alarm"))
        except StorageError as failure:
            log.error("event could not be recorded", error=failure)


def stamp(path: Path) -> Stamp | None:
    """What changes when a file is written or another one takes its place; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def config_of_node(file: Path) -> Config:
    """What a node goes by that was started with this file and runs; of one that does not run, what stands in the file.

    So a file that is wrong, or being edited, keeps nobody from looking at a node that runs. Raises ConfigError.
    """
    try:
        written, problems = load_config(file), None
    except ConfigError as error:
        written, problems = None, error
    folder = _data_folder(file) if written is None else written.node.data_folder
    if folder is not None and (running := _running_on(folder / "run", file)):
        try:
            return running.load()[0]
        except ConfigError:  # it may not be read by this user
            pass
    if written is None:
        raise problems or ConfigError()
    return written


def why_not_in_use(run_folder: Path, file: Path) -> str | None:
    """Why a node that runs does not go by what stands in this file, for a person; None where it does, or does not run."""
    state = read_state(run_folder, STATE)
    if state is None or not _is_running(run_folder):
        return None
    if state["file"] != str(file.absolute()):
        return f"{file} is not the file in use: the node was started with {state['file']}"
    what = f"{file.name} on disk is not the one in use"
    if state["refused"]:
        return f"{what}: {in_words(state['refused'], '; ')}"
    try:
        differs = read_content(file) != InUse.of(run_folder, file).content()
    except ConfigError as error:
        return f"{what}: {error}"
    return f"{what}: it was changed just now, and is looked at within seconds" if differs else None


def in_words(items: Sequence[str], between: str) -> str:
    """As many as a person reads."""
    more = len(items) - _NAMED_AT_MOST
    return between.join(items[:_NAMED_AT_MOST]) + (f"{between}and {more} more" if more > 0 else "")


def _running_on(run_folder: Path, file: Path) -> InUse | None:
    state = read_state(run_folder, STATE)
    is_its = state is not None and state["file"] == str(file.absolute())
    return InUse.of(run_folder, file) if is_its and _is_running(run_folder) else None


def _is_running(run_folder: Path) -> bool:
    state = read_state(run_folder, SUPERVISOR)
    return state is not None and is_alive(state)


def _data_folder(file: Path) -> Path | None:
    """Of a file that is not valid, as far as it can be told."""
    try:
        found = _DATA_FOLDER.search(read_content(file))
        line = b"node:\n  data_folder: " + found[1] if found else b""
        return parse_config(line, file).node.data_folder
    except ConfigError:
        return None
