"""Rates of several programs, taken in turn in each round, and what they must come to.

A ratio is taken within each round and the median of these is given, so that what else the machine does in a round falls on
both sides of it.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

Case = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """at_least: of the median ratio of `ours` to `theirs` (or of the rate of `ours` alone, where there is none)."""

    what: str
    ours: Case
    theirs: Case | None
    at_least: float


@dataclass(frozen=True, slots=True)
class Judged:
    bar: Bar
    reached: float
    least: float
    most: float

    @property
    def holds(self) -> bool:
        return self.reached >= self.bar.at_least


@dataclass(slots=True)
class Rounds:
    """Rates by case, one for each round, in `unit`; megabytes of 10^6 bytes a second where they are known."""

    unit: str = "instances/s"
    rates: dict[Case, list[float]] = field(default_factory=dict)
    megabytes: dict[Case, list[float]] = field(default_factory=dict)

    def add(self, case: Case, instances: int, seconds: float, sent_bytes: int = 0) -> None:
        self.rates.setdefault(case, []).append(instances / seconds)
        if sent_bytes:
            self.megabytes.setdefault(case, []).append(sent_bytes / seconds / 1e6)

    def judge(self, bar: Bar) -> Judged | None:
        """None where the case, or the one that it is held against, was not measured."""
        ours, theirs = self.rates.get(bar.ours), self.rates.get(bar.theirs) if bar.theirs else None
        if not ours or (bar.theirs and not theirs):
            return None
        ratios = [one / other for one, other in zip(ours, theirs, strict=True)] if theirs else ours
        return Judged(bar, statistics.median(ratios), min(ratios), max(ratios))

    def report(self, title: str, columns: Sequence[str], bars: Sequence[Bar], console: Console) -> list[Judged]:
        table = Table(*columns, self.unit, "least", "most", "MB/s", title=title)
        for case, rates in self.rates.items():
            megabytes = self.megabytes.get(case)
            speed = f"{statistics.median(megabytes):.0f}" if megabytes else ""
            table.add_row(*case, *(f"{one:.0f}" for one in (statistics.median(rates), min(rates), max(rates))), speed)
        judged = [one for one in map(self.judge, bars) if one]
        verdicts = Table("bar", "at least", "median", "least", "most", "", title="ours against theirs, round by round")
        for one in judged:
            figures = (f"{value:.2f}" for value in (one.bar.at_least, one.reached, one.least, one.most))
            verdicts.add_row(one.bar.what, *figures, "[green]pass" if one.holds else "[red]fail")
        console.print(table, verdicts)
        return judged

    def write(self, path: Path, judged: Sequence[Judged], machine: dict[str, str]) -> None:
        path.write_text(
            json.dumps(
                {
                    "machine": machine,
                    "unit": self.unit,
                    "rates": [{"case": case, "rounds": rates} for case, rates in self.rates.items()],
                    "bars": [{**asdict(one), "holds": one.holds} for one in judged],
                },
                indent=1,
            )
        )


def machine(programs: Sequence[str], places: Mapping[str, Path]) -> dict[str, str]:
    """What the figures were taken on. programs: paths; each tells its version. places: folders by what they stand for."""
    kernel = platform.uname()
    found = {
        "processors": f"{os.cpu_count()} x {_processor()}",
        "kernel": f"{kernel.system} {kernel.release}",
        "python": platform.python_version(),
        "load before": " ".join(f"{one:.1f}" for one in os.getloadavg()),
    }
    found |= {name: file_system(folder) for name, folder in places.items()}
    return found | {Path(program).name: _version(program) for program in programs}


def file_system(folder: Path) -> str:
    """The type and device of the file system that a folder is on."""
    inside = folder.resolve()
    mounts = [line.split()[:3] for line in Path("/proc/mounts").read_text().splitlines()]
    around = [mount for mount in mounts if inside.is_relative_to(mount[1])]
    device, _, kind = max(around, key=lambda mount: len(mount[1]))
    return f"{kind} on {device}"


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _version(program: str) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    return said.splitlines()[0].strip("$ ") if said else "unknown"
