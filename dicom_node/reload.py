"""Watches config.yaml while the node runs: what changed is judged, and accepted whole or refused whole with the reasons.

Runs in the supervisor, which alone reads that file. What is accepted is written down for the other processes, which take
it up by themselves (`config_in_use`): for new associations and new jobs, never for those under way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_node import logs
from dicom_node.config import Config, Model
from dicom_node.config_changes import changes
from dicom_node.config_check import machine_remarks
from dicom_node.config_file import parse_config, read_content
from dicom_node.config_in_use import STATE, InUse, in_words, stamp
from dicom_node.errors import ConfigError, NodeError
from dicom_node.models import problem_of, routable_models
from dicom_node.routing import RoutableModel
from dicom_node.supervisor import write_state
from inference.errors import PackageError
from inference.package import Package
from storage.errors import StorageError
from storage.records.events import Event

POLL_S = 0.25
# Editors and copies write in pieces: what is read must have stood still for so long.
STILL_S = 1.0

log = logs.get("config")


class Refused(NodeError):
    """A configuration that the node does not take up."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = tuple(reasons)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the node goes by. packages: of each model, by its name in routes."""

    content: bytes
    config: Config
    packages: Mapping[str, Package]


@dataclass(frozen=True, slots=True)
class Installed:
    """What is known of models. routable: those of a configuration as they run now. problem_of: what keeps one from being loaded.

    take_up: keeps what a configuration names, before it is taken up.
    """

    routable: Callable[[Config], Mapping[str, RoutableModel]] = routable_models
    problem_of: Callable[[Model], str | None] = problem_of
    take_up: Callable[[Config], None] = lambda _: None


BY_CONFIGURATION = Installed()


def standing(content: bytes, config: Config, models: Mapping[str, RoutableModel]) -> Standing:
    return Standing(content, config, {name: model.package for name, model in models.items()})


def judge(
    content: bytes, file: Path, now: Standing, installed: Installed = BY_CONFIGURATION
) -> tuple[Standing, tuple[str, ...]]:
    """What the node would go by then, and what changed, in words. file: where the content stands.

    Raises Refused with every reason that is found, ConfigError where the content is no valid configuration.
    """
    config = parse_config(content, file)
    if config == parse_config(b"", file) != now.config:
        raise Refused(["holds no key that says anything: all models, routes and destinations would be gone"])
    found = changes(now.config, config)
    reasons = [
        f"{change.path}: cannot change while the node runs; it needs a restart" for change in found if change.at_start
    ]
    # What was wrong already does not stand in the way of what is mended.
    known = {remark.text for remark in machine_remarks(now.config, installed.problem_of) if remark.severity == "error"}
    reasons += [
        f"{remark.key}: {remark.text}"
        for remark in machine_remarks(config, installed.problem_of)
        if remark.severity == "error" and (remark.text not in known or remark.key.startswith("models"))
    ]
    if reasons:
        raise Refused(reasons)
    try:
        models = installed.routable(config)
    except PackageError as error:
        raise Refused([f"models: {error}"]) from error
    then = standing(content, config, models)
    if changed := _packages_changed(config, now, then):
        raise Refused(changed)
    return then, tuple(change.path for change in found)


class Reload:
    """A thread from `start` to `stop`. on_accepted: told the configuration once it is written down.

    record: writes an event of the node, and never raises. Whatever it is asked is done at most POLL_S later.
    """

    def __init__(
        self,
        in_use: InUse,
        now: Standing,
        *,
        record: Callable[[Event], None],
        on_accepted: Callable[[Config], None] = lambda _: None,
        installed: Installed = BY_CONFIGURATION,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._in_use = in_use
        self._now = now
        self._record = record
        self._on_accepted = on_accepted
        self._installed = installed
        self._clock = clock
        self._asked = self._answered = 0
        self._looked_at: object = None  # it may have changed since it was read for the start
        self._stamp = stamp(in_use.file)
        self._still_since = clock()
        self._reasons: tuple[str, ...] = ()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reload", daemon=True)
        self._write_state()

    def ask(self) -> None:
        """Look now, also at what the file names (SIGHUP). Takes no lock, so a signal's handler may call it."""
        self._asked += 1

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def step(self) -> None:
        """One look at the file; it is read when it changed and stood still since, or when somebody asked."""
        seen, now = stamp(self._in_use.file), self._clock()
        if seen != self._stamp:
            self._stamp, self._still_since = seen, now
        asked, self._answered = self._asked != self._answered, self._asked
        if asked or (seen != self._looked_at and now - self._still_since >= STILL_S):
            self._looked_at = seen
            self._look(was_asked=asked)

    def _run(self) -> None:
        while not self._stopping.wait(POLL_S):
            try:
                self.step()
            except Exception as error:  # noqa: BLE001 - a thread that ends in silence would take up nothing any more
                log.error("configuration could not be looked at", error=error)

    def _look(self, *, was_asked: bool) -> None:
        file = self._in_use.file
        try:
            content = read_content(file)
            if content == self._now.content and not was_asked:
                if self._reasons:
                    self._unchanged("it is again the one in use")
                return
            then, changed = judge(content, file, self._now, self._installed)
            if stamp(file) != self._looked_at:
                return  # written to meanwhile: what was read may be half of it, and it is looked at again
            self._installed.take_up(then.config)
            self._accept(then, changed)
        except ConfigError as error:
            self._refuse([str(problem) for problem in error.problems] or [str(error)])
        except Refused as error:
            self._refuse([f"{file.name}: {reason}" for reason in error.reasons])
        except NodeError as error:
            self._refuse([f"{file.name}: models: {error}"])
        except StorageError as error:
            self._refuse([f"models cannot be taken up: {error}"])
        except OSError as error:
            self._refuse([f"{self._in_use.accepted} cannot be written: {error.strerror}"])

    def _accept(self, then: Standing, changed: Sequence[str]) -> None:
        if not changed and then.content == self._now.content:
            self._unchanged("nothing changed")
            return
        self._in_use.accept(then.content)
        self._now = then
        if not changed:
            self._unchanged("no key changed")
            return
        self._settle(())
        self._on_accepted(then.config)
        log.info("configuration accepted", count=len(changed))
        text = f"{self._in_use.file.name} was reloaded: {in_words(changed, ', ')}"
        self._record(Event("config_reloaded", text, data={"keys": list(changed)}))

    def _unchanged(self, what: str) -> None:
        self._settle(())
        log.info("configuration unchanged")
        self._record(Event("config_unchanged", f"{self._in_use.file.name} was looked at: {what}"))

    def _refuse(self, reasons: Sequence[str]) -> None:
        self._settle(reasons)
        log.error("configuration refused, the one in use stays: dicom-node status says why", count=len(reasons))
        text = f"{self._in_use.file.name} was refused, the one in use stays: {in_words(reasons, '; ')}"
        self._record(Event("config_refused", text, "alarm", data={"reasons": list(reasons)}))

    def _settle(self, reasons: Sequence[str]) -> None:
        self._reasons = tuple(reasons)
        self._write_state()

    def _write_state(self) -> None:
        try:
            write_state(self._in_use.accepted.parent, STATE, file=str(self._in_use.file), refused=list(self._reasons))
        except OSError as error:
            log.error("state of the configuration could not be written", error=error)


def _packages_changed(config: Config, now: Standing, then: Standing) -> list[str]:
    """Models whose package is another in the same place: workers may have loaded what was there before."""
    return [
        f"models[{index}]: its package {then.packages[model.name].folder} was changed; that needs a restart"
        for index, model in enumerate(config.models)
        if (before := now.packages.get(model.name)) is not None
        and (after := then.packages.get(model.name)) is not None
        and before.folder == after.folder
        and before.content_sha256 != after.content_sha256
    ]
