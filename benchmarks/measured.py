"""One thing, done in a process of its own: how long it takes and how much memory.

It is done twice and timed the second time, as in a process that has done such things before; imports, and the making of what it
is given, count for nothing. Run: python -m benchmarks.measured MODULE PROGRAM CASE FOLDER;
MODULE has PROGRAMS, by name a function of case and folder that gives what is to be done; that gives the file it has written.
"""

from __future__ import annotations

import importlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

LIMIT_S = 600
KIB, MB = 1024, 1_000_000

Doing = Callable[[], Path]
Program = Callable[[str, Path], Doing]


@dataclass(frozen=True, slots=True)
class Measured:
    """before_mb: the process before it began, its input included. peak_mb: the most that it, or a program that it ran, had."""

    seconds: float
    before_mb: float
    peak_mb: float
    file_mb: float


def measure(module: str, program: str, case: str, folder: Path) -> Measured:
    """Raises CalledProcessError where it fails."""
    command = [sys.executable, "-m", "benchmarks.measured", module, program, case, str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=LIMIT_S)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def run(module: str, program: str, case: str, folder: Path) -> Measured:
    """Here, in this process."""
    doing: Doing = importlib.import_module(module).PROGRAMS[program](case, folder)
    before = _resident_mb()
    doing().unlink()
    started = time.perf_counter()
    file = doing()
    seconds = time.perf_counter() - started
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * KIB / MB
    peak = _peak_mb()
    size = file.stat().st_size / MB
    file.unlink()
    return Measured(seconds, before, max(peak, children), size)


def _peak_mb() -> float:
    """Of this program alone; ru_maxrss would count what the process that started it had."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * KIB / MB


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MB


if __name__ == "__main__":
    print(json.dumps(asdict(run(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])))))
