"""A model process, seen from the node: started, asked, watched, ended. Whatever it does, the node only gets words of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from inference import tunings
from inference.confined.figures import taken_bytes
from inference.confined.interpreter import started
from inference.confined.wire import Connection, Gone, Message, WireError
from inference.errors import InferenceError, ModelProcessEnded, PackageError
from inference.package import Package

START_TIMEOUT_S = 120.0
_END_TIMEOUT_S = 10.0
_MOST_WORDS = 2000
_MOST_DEVICE = 16
# A process is told to end with the thread that started it, so that thread must live as long as this process.
_starter = ThreadPoolExecutor(1, "starts model processes")


@dataclass(frozen=True, slots=True)
class Bounds:
    """timeout_s: for what is asked, without the time that a process needs to start; spent_s of it are over. memory_bytes: of the
    process, without what it is lent and what it takes before it has a model."""

    timeout_s: float
    memory_bytes: int
    spent_s: float = 0.0


class ModelProcess:
    """missing: the walls that this system did not allow, in words. device: where its model is, once it is loaded."""

    def __init__(self) -> None:
        here, there = socket.socketpair()
        try:
            self._process = _starter.submit(started, there.fileno()).result()
        except BaseException:
            here.close()
            raise
        finally:
            there.close()
        self._connection = Connection(here)
        self._before = 0
        said, _ = self._asked(None, (), Bounds(START_TIMEOUT_S, sys.maxsize), "while it started", 0)
        self._before = taken_bytes(self._process.pid)
        self.missing = tuple(str(words) for words in said.get("missing", ()))
        self.device = ""

    def load(self, package: Package, device: str, bounds: Bounds) -> None:
        """Make it the process of this package. Raises as `ask` does, and PackageError where the weights are refused."""
        told = {
            "do": "load",
            "manifest": json.dumps(package.manifest.model_dump()),
            "folder": str(package.folder.absolute()),
            "content_sha256": package.content_sha256,
            "device": device,
            "tunings": {where: asdict(found) for where in ("cpu", "cuda") if (found := tunings.known(package, where))},
        }
        answer, _ = self.ask(told, (), bounds, f"while it loaded {package.key}")
        self.device = str(answer.get("device"))[:_MOST_DEVICE]

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(
        self, message: Message, descriptors: Sequence[int], bounds: Bounds, doing: str, lent_bytes: int = 0
    ) -> tuple[Message, list[int]]:
        """Its answer, with descriptors that the caller must close.

        doing: in words, for the reason ("while it ran demo@1.0.0"). Raises ModelProcessEnded where it ends instead, or
        does not keep within the bounds; InferenceError, with its own words, where it refuses or fails.
        """
        told = message | {"memory_bytes": bounds.memory_bytes, "lent_bytes": lent_bytes}
        answer, came = self._asked(told, descriptors, bounds, doing, lent_bytes)
        if answer.get("said") in ("loaded", "found", "tuned"):
            return answer, came
        for descriptor in came:
            os.close(descriptor)
        if answer.get("said") != "refused":
            self.end()
        raise _error(answer)

    def end(self) -> None:
        """End it, whatever it is doing."""
        self._connection.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_END_TIMEOUT_S)

    def _asked(
        self, message: Message | None, descriptors: Sequence[int], bounds: Bounds, doing: str, lent_bytes: int
    ) -> tuple[Message, list[int]]:
        watch = self._watch(bounds, doing, lent_bytes)
        try:
            if message is not None:
                self._connection.send(message, descriptors)
            return self._connection.receive(watch)
        except Gone:
            raise self._how_it_ended(doing) from None
        except BaseException as error:
            self.end()
            if isinstance(error, WireError):
                raise InferenceError(
                    f"the model process answered with what cannot be read, {doing}: {error}"
                ) from error
            raise

    def _watch(self, bounds: Bounds, doing: str, lent_bytes: int) -> Callable[[], None]:
        deadline = time.monotonic() + bounds.timeout_s - bounds.spent_s
        most = bounds.memory_bytes + self._before + lent_bytes

        def watch() -> None:
            if time.monotonic() > deadline:
                raise ModelProcessEnded(f"took longer than {bounds.timeout_s:g} s {doing}, and was ended", "timeout")
            if (taken := taken_bytes(self._process.pid)) > most:
                raise ModelProcessEnded(
                    f"the model process took {taken - self._before - lent_bytes} bytes of memory {doing}, more than the"
                    f" {bounds.memory_bytes} that it may, and was ended",
                    "killed",
                )

        return watch

    def _how_it_ended(self, doing: str) -> ModelProcessEnded:
        # It closed its end: what ends by itself is gone in a moment, and what only hides is ended now.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        code = self._process.poll()
        self.end()
        if code is None or code >= 0:
            return ModelProcessEnded(f"the model process ended with code {code or 0} {doing}", "killed")
        name = signal.Signals(-code).name
        why = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
        return ModelProcessEnded(f"the model process ended by signal {-code} ({name}{why}) {doing}", "killed")


def _error(answer: Message) -> InferenceError:
    """What a model process said of itself, in one line that may stand in a report."""
    words = "".join(letter if letter.isprintable() else " " for letter in str(_text(answer.get("words"))))[:_MOST_WORDS]
    return PackageError(words) if answer.get("kind") == PackageError.__name__ else InferenceError(words)


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value else "the model process gave no reason"
