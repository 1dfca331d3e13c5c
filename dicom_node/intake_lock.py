"""Who takes instances in? Every intake of a node holds this lock with the others; to sweep, one must hold it alone.
One at a time looks after what dead writers left, while the others go on.

An acceptor that is being stopped finishes its associations while the next one starts already, and of a node whose
supervisor was killed one may be left over. The kernel frees the lock of a process that died.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class IntakeLock:
    """path: of a file on a local disk, made when absent. Waits while another intake is alone."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        self._recovery = path.with_name("recovery.lock")

    @contextmanager
    def recovering(self) -> Iterator[None]:
        """Waits while another process recovers."""
        with self._recovery.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether no other process takes instances in; if so, none begins to while the block runs."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)  # an attempt that fails may have given up the shared one
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def close(self) -> None:
        os.close(self._descriptor)
