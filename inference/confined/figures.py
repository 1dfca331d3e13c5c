"""What a process takes of memory, by the kernel's word (proc_pid_status(5))."""

from __future__ import annotations

from pathlib import Path


def data_bytes(process: int | str = "self") -> int:
    """Room that it may write to alone; what RLIMIT_DATA bounds. 0 where that is not told."""
    return _told(process, "VmData")


def taken_bytes(process: int) -> int:
    """Memory of its own that it really takes, and what it shares with others and has looked at. 0 where that is not told."""
    return _told(process, "RssAnon") + _told(process, "RssShmem")


def _told(process: int | str, name: str) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)
