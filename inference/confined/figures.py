"""What a process takes of memory, by the kernel's word (proc_pid_status(5))."""

from __future__ import annotations

from pathlib import Path


def data_bytes(process: int | str = "self") -> int:
    """Room that it may write to alone; what RLIMIT_DATA bounds. 0 where that is not told."""
    return _told(process, "VmData")


def taken_bytes(process: int) -> int:
    """Memory of its own that it really takes, and what it shares with others and has looked at. 0 where that is not told."""
    return _told(process, "RssAnon") + _told(process, "RssShmem")


def available_bytes() -> int:
    """What the machine could give without taking it from others. 0 where that is not told."""
    return _of_lines(Path("/proc/meminfo"), "MemAvailable")


def _told(process: int | str, name: str) -> int:
    return _of_lines(Path(f"/proc/{process}/status"), name)


def _of_lines(path: Path, name: str) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)
