"""Seconds and memory to encode results, against the libraries that others use, and the bars that must hold.

Each program runs in a process of its own, in turn in each round; imports and the making of the input count for nothing. A
ratio is taken within each round.

Run: python -m benchmarks.encode [--rounds 5] [--only WORD] [--folder DIR] [--unverified] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType

from rich.console import Console
from rich.table import Table

from benchmarks import encode_seg, encode_sr
from benchmarks.measured import Measured, measure
from benchmarks.rounds import machine

PARTS: tuple[ModuleType, ...] = (encode_seg, encode_sr)
"""Each has CASES, PROGRAMS, BARS, `prepare(folder)`, which writes what its programs read, and `verify(folder, case, console)`,
which holds what they write against each other."""


@dataclass(frozen=True, slots=True)
class Bar:
    """How many times as fast `ours` must be as `theirs` in a case; parts give these four as a tuple."""

    case: str
    ours: str
    theirs: str
    at_least: float


@dataclass(frozen=True, slots=True)
class Contest:
    """What was measured, by case and program, in the order of the rounds."""

    measured: dict[tuple[str, str], list[Measured]] = field(default_factory=dict)

    def add(self, case: str, program: str, one: Measured) -> None:
        self.measured.setdefault((case, program), []).append(one)

    def ratios(self, bar: Bar) -> list[float]:
        """Their seconds to ours, round by round; none where one of the two was not measured."""
        ours, theirs = self.measured.get((bar.case, bar.ours), []), self.measured.get((bar.case, bar.theirs), [])
        return [slow.seconds / quick.seconds for quick, slow in zip(ours, theirs, strict=False)]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--only", default="", help="cases whose name holds this")
    arguments.add_argument(
        "--folder", type=Path, help="where files are written; default: in memory, where there is /dev/shm"
    )
    arguments.add_argument("--unverified", action="store_true", help="do not hold the files against each other first")
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    shared_memory = Path("/dev/shm")  # noqa: S108 - a fresh folder is made in it
    parent = given.folder or (shared_memory if shared_memory.is_dir() else Path(tempfile.gettempdir()))
    console = Console(width=130)
    with tempfile.TemporaryDirectory(dir=parent) as name:
        contest, bars = contend(Path(name), given, console)
        about = machine([], {"files": Path(name)})
    holds = report(contest, bars, console)
    console.print(about)
    if given.json:
        given.json.write_text(json.dumps({"machine": about, "measured": rows(contest)}, indent=1))
    sys.exit(0 if holds else 1)


def contend(folder: Path, given: argparse.Namespace, console: Console) -> tuple[Contest, list[Bar]]:
    """All programs of all cases, in turn in each round; what they write is held against each other first."""
    contest, bars = Contest(), []
    for part in PARTS:
        cases = [case for case in part.CASES if given.only in case]
        if not cases:
            continue
        within = folder / part.__name__.rpartition(".")[2]
        within.mkdir()
        part.prepare(within)
        for case in () if given.unverified else cases:
            part.verify(within, case, console)
        for number in range(given.rounds):
            for case in cases:
                for program in in_turn(part.CASES[case], number):
                    contest.add(case, program, measure(part.__name__, program, case, within))
        bars += [Bar(*bar) for bar in part.BARS]
        shutil.rmtree(within)
    return contest, bars


def in_turn(programs: Sequence[str], number: int) -> Sequence[str]:
    """Another begins in each round, so that none always comes after the same one."""
    first = number % len(programs)
    return [*programs[first:], *programs[:first]]


def report(contest: Contest, bars: Sequence[Bar], console: Console) -> bool:
    """Print the tables; True where all bars hold."""
    table = Table("case", "program", "s", "least", "most", "peak MB", "of it input", "file MB", title="to encode")
    for (case, program), found in contest.measured.items():
        seconds = [one.seconds for one in found]
        sizes = [statistics.median(getattr(one, name) for one in found) for name in ("peak_mb", "before_mb", "file_mb")]
        figures = [f"{value:.3f}" for value in (statistics.median(seconds), min(seconds), max(seconds))]
        table.add_row(case, program, *figures, *(f"{size:.0f}" for size in sizes))
    verdicts = Table("bar", "at least", "median", "least", "most", "", title="theirs to ours, round by round")
    hold = True
    for bar in bars:
        if ratios := contest.ratios(bar):
            reached = statistics.median(ratios)
            hold = hold and reached >= bar.at_least
            figures = [f"{value:.2f}" for value in (bar.at_least, reached, min(ratios), max(ratios))]
            said = "[green]pass" if reached >= bar.at_least else "[red]fail"
            verdicts.add_row(f"{bar.case}: {bar.ours} against {bar.theirs}", *figures, said)
    console.print(table, verdicts)
    return hold


def rows(contest: Contest) -> list[dict[str, object]]:
    """As JSON."""
    return [
        {"case": case, "program": program, "rounds": [asdict(one) for one in found]}
        for (case, program), found in contest.measured.items()
    ]


if __name__ == "__main__":
    main()
