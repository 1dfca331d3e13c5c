"""Whose turn it is to compute, where several processes share a device: while one computes, the others read, encode and write.

A turn is a lock of the kernel on a file, so that it ends with the process that has it, however that ends. Of two that share a
place the one that waits has the next turn; of more, one of those that wait.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

VISIBLE = "CUDA_VISIBLE_DEVICES"


class Turns:
    """Of this process, which has a place on each kind of device; alone there, and waiting for nobody, until it is told."""

    def __init__(self) -> None:
        self._files: Mapping[str, Path] = MappingProxyType({})
        self._of = threading.local()

    def share(self, folder: Path, *, cpu: int, gpu: int) -> None:
        """Take turns with all that share the folder and have the same place: cores of that number, or a GPU."""
        folder.mkdir(parents=True, exist_ok=True)
        self._files = {"cpu": folder / f"turn-cpu-{cpu}", "cuda": folder / f"turn-cuda-{gpu}"}

    @contextmanager
    def at(self, kind: str) -> Iterator[None]:
        """Waits until nobody else computes there. kind: "cpu" or "cuda"."""
        if (path := self._files.get(kind)) is None:
            yield
            return
        held = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            began = time.perf_counter()
            fcntl.flock(held, fcntl.LOCK_EX)
            self._of.waited_s = getattr(self._of, "waited_s", 0.0) + time.perf_counter() - began
            yield
        finally:
            os.close(held)

    def waited_s(self) -> float:
        """How long this thread waited for its turns since it was asked the last time."""
        waited: float = getattr(self._of, "waited_s", 0.0)
        self._of.waited_s = 0.0
        return waited


def show_gpu(number: int, count: int) -> None:
    """Let this process see one GPU of `count`, or of those that it sees so far. Before torch asks for CUDA."""
    seen = [one for one in os.environ.get(VISIBLE, "").split(",") if one] or [str(one) for one in range(count)]
    if seen:
        os.environ[VISIBLE] = seen[number % len(seen)]


TURNS = Turns()
"""Of this process."""
