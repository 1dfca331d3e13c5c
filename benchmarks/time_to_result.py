"""Seconds from the last C-STORE response to the start of the job that has all images, and jobs that started too early.

On a clock: 200 studies of sources with habits of their own, judged by the node's own rules and by those of its peers. For
real: studies sent over TCP to `dicom-node serve`. Run: python -m benchmarks.time_to_result [--seed N] [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import for_real
from benchmarks.on_the_clock import Node, Played, quiet_timer
from benchmarks.sources import SOURCES, studies
from benchmarks.timelines import Timeline
from dicom_node.completeness import Rules

OURS = "node"
# The rule of each, as it comes: what restarts its timer, how long that runs, how often it looks.
PEERS: Mapping[str, Callable[[Timeline], list[Played]]] = {
    "MONAI 5 s": lambda study: quiet_timer(study, 5.0, by="study", round_s=1.0),
    "Orthanc 60 s": lambda study: quiet_timer(study, 60.0, by="series", round_s=0.1),
    "mercure 60 s": lambda study: quiet_timer(study, 60.0, by="series", round_s=1.0),
}
GROUPS = {
    "list": "MPPS or availability notification",
    "count": "C-FIND, peer has the whole series",
    "agreeing": "C-FIND, peer still gets it",
    "closing": "closing geometry or counts in the images",
    "rest": "nothing of these",
}
EXACT = ("list", "count")


@dataclass(frozen=True, slots=True)
class Figures:
    """Of the series of a group. wrong: on how many a job started while images of it were to come; jobs: how many did.

    median_s, most_s: from the last C-STORE response to the job that has all images, and of 95 %; told_s: the median from
    when all was said that was announced, where that was later.
    """

    group: str
    rule: str
    series: int
    median_s: float
    most_s: float
    told_s: float
    wrong: int
    jobs: int


@dataclass(frozen=True, slots=True)
class Bar:
    text: str
    reached: float
    bar: float
    holds: bool


def on_the_clock(seed: int, count: int, rules: Rules) -> dict[str, list[Played]]:
    """The same series in the same order, as each rule started jobs on them."""
    node = Node(rules)
    played: dict[str, list[Played]] = {rule: [] for rule in (OURS, *PEERS)}
    for study in studies(seed, count):
        played[OURS] += node.play(study)
        for rule, play in PEERS.items():
            played[rule] += play(study)
    return played


def group_of(ours: Played) -> str:
    """By what made it whole when its first job started, which is the job that may have been too early."""
    kind = ours.starts[0].kind
    assert kind
    return "agreeing" if kind == "count" and ours.timeline.asked == "still gets them" else kind


def figures(played: Mapping[str, Sequence[Played]]) -> list[Figures]:
    groups = [group_of(one) for one in played[OURS]]
    found = []
    for group in GROUPS:
        for rule, series in played.items():
            chosen = [one for one, of in zip(series, groups, strict=True) if of == group]
            if chosen:
                found.append(_figures(group, rule, chosen))
    return found


def _figures(group: str, rule: str, series: Sequence[Played]) -> Figures:
    waited = sorted(one.waited_s for one in series)
    return Figures(
        group,
        rule,
        len(series),
        statistics.median(waited),
        waited[math.ceil(0.95 * len(waited)) - 1],
        statistics.median(one.waited_since_told_s for one in series),
        sum(one.wrong > 0 for one in series),
        sum(one.wrong for one in series),
    )


def bars(found: Iterable[Figures]) -> list[Bar]:
    known = {(one.group, one.rule): one for one in found}
    judged = []
    for group, most_s in (("list", 0.5), ("count", 0.5), ("closing", 2.5)):
        if (group, OURS) in known:
            reached = known[group, OURS].told_s
            judged.append(Bar(f"{GROUPS[group]}: seconds, median", reached, most_s, reached <= most_s))
    wrong = {
        rule: sum(known[group, rule].wrong for group in GROUPS if group not in EXACT and (group, rule) in known)
        for rule in (OURS, *PEERS)
    }
    exact = sum(known[group, OURS].wrong for group in EXACT if (group, OURS) in known)
    judged.append(Bar("wrongly whole on exact evidence", exact, 0, exact == 0))
    judged += [
        Bar(f"wrongly whole on the rest, fewer than {rule}", wrong[OURS], wrong[rule], wrong[OURS] < wrong[rule])
        for rule in PEERS
    ]
    return judged


def by_source(played: Mapping[str, Sequence[Played]]) -> Table:
    """Where each rule is wrong: habits, not groups."""
    table = Table("source", "habit", "series", *played, title="Series wrongly whole, by source")
    sources = {one.timeline.calling_ae_title: one.timeline.habit for one in played[OURS]}
    for title, habit in sources.items():
        of = {
            rule: [one for one in series if one.timeline.calling_ae_title == title] for rule, series in played.items()
        }
        table.add_row(
            title, habit, str(len(of[OURS])), *(str(sum(one.wrong > 0 for one in series)) for series in of.values())
        )
    return table


def report(console: Console, title: str, found: Sequence[Figures], judged: Sequence[Bar]) -> None:
    table = Table("evidence", "rule", "series", "median s", "95 % s", "since told s", "wrongly whole", "jobs too early")
    table.title = title
    for one in found:
        seconds = (f"{value:.2f}" for value in (one.median_s, one.most_s, one.told_s))
        table.add_row(GROUPS[one.group], one.rule, str(one.series), *seconds, str(one.wrong), str(one.jobs))
    console.print(table)
    for bar in judged:
        console.print(f"{'pass' if bar.holds else 'fail'}  {bar.text}: {bar.reached:g} (bar {bar.bar:g})")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, action="append", help="may be given several times; default: 1")
    parser.add_argument("--studies", type=int, default=200, help="on the clock")
    parser.add_argument("--quick", action="store_true", help="few studies, and none for real")
    parser.add_argument("--clock-only", action="store_true", help="none for real")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    given = parser.parse_args(arguments)
    console, kept = Console(width=140), []
    count = len(SOURCES) if given.quick else given.studies
    for seed in given.seed or [1]:
        played = on_the_clock(seed, count, Rules())
        found = figures(played)
        judged = bars(found)
        report(console, f"{count} studies on a clock, seed {seed}", found, judged)
        console.print(by_source(played))
        kept.append({"seed": seed, "figures": [asdict(one) for one in found], "bars": [asdict(one) for one in judged]})
    real = []
    if not (given.quick or given.clock_only):
        with tempfile.TemporaryDirectory() as folder:
            real = for_real.measure(Path(folder))
        for_real.report(console, real)
    if given.json:
        given.json.write_text(json.dumps({"clock": kept, "real": [asdict(one) for one in real]}, indent=1))


if __name__ == "__main__":
    main()
