"""Processes that tests start: whether they live, and their end, which none may put off for ever."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.waiting import LIMIT_S


def is_running(pid: int) -> bool:
    """Whether the process lives: one that ended, but whose parent has not asked for its exit status, does not."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    except OSError:
        return False
    return after_name.split()[0] not in {"Z", "X"}


def terminated(process: subprocess.Popen[Any]) -> int:
    """The exit status of a program that is asked to end. One that does not end is killed, and that is an error."""
    process.terminate()
    return exit_status(process)


def exit_status(process: subprocess.Popen[Any]) -> int:
    """Of a program that ends by itself: its standard input, where it has one from us, is closed. Else as `terminated`."""
    if process.stdin:
        with suppress(BrokenPipeError):
            process.stdin.close()
    try:
        return process.wait(LIMIT_S)
    finally:
        process.kill()


def waiting_for(path: Path) -> int:
    """How many wait for the lock, by the kernel's own list."""
    inode = f":{path.stat().st_ino} "
    return sum("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())
