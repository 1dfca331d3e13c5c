"""What the benchmarks make of the rates that they measured."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.instances import PLACEHOLDER, made, write_replay
from benchmarks.rounds import Bar, Rounds, file_system

OURS, THEIRS = ("ct", "ours"), ("ct", "theirs")


def measured(ours: list[float], theirs: list[float]) -> Rounds:
    rounds = Rounds()
    for case, rates in ((OURS, ours), (THEIRS, theirs)):
        for rate in rates:
            rounds.add(case, 100, 100 / rate, 52_000_000)
    return rounds


def test_a_ratio_is_taken_within_each_round_and_the_median_of_them_is_judged() -> None:
    # The machine is ten times as slow in the second round: no ratio of medians would give 2.
    judged = measured([200, 20, 400], [100, 10, 100]).judge(Bar("ct", OURS, THEIRS, 2.0))
    assert judged is not None
    assert (judged.reached, judged.least, judged.most) == (pytest.approx(2), pytest.approx(2), pytest.approx(4))
    assert not measured([200, 19, 190], [100, 10, 100]).judge(Bar("ct", OURS, THEIRS, 2.0)).holds  # type: ignore[union-attr]


def test_a_bar_without_another_is_held_against_the_rate_itself_and_one_that_was_not_measured_is_left_out() -> None:
    rounds = measured([99, 101, 102], [1, 1, 1])
    judged = rounds.judge(Bar("a second", OURS, None, 100))
    assert judged is not None
    assert judged.holds
    assert rounds.judge(Bar("a second", OURS, ("disk", "theirs"), 1)) is None
    assert rounds.judge(Bar("a second", ("disk", "ours"), None, 1)) is None


def test_the_report_says_pass_or_fail_and_the_file_has_every_round(tmp_path: Path) -> None:
    rounds, said = measured([200, 200, 200], [100, 100, 100]), StringIO()
    bars = [Bar("twice", OURS, THEIRS, 1.9), Bar("thrice", OURS, THEIRS, 3)]
    judged = rounds.report("title", ("kind", "program"), bars, Console(file=said, width=120))
    lines = said.getvalue().splitlines()
    assert any("twice" in line and "pass" in line for line in lines)
    assert any("thrice" in line and "fail" in line for line in lines)
    rounds.write(tmp_path / "figures.json", judged, {"kernel": "Linux"})
    kept = json.loads((tmp_path / "figures.json").read_text())
    assert [len(one["rounds"]) for one in kept["rates"]] == [3, 3]
    assert [one["holds"] for one in kept["bars"]] == [True, False]


def test_the_file_system_of_a_folder_is_that_of_the_mount_around_it() -> None:
    assert file_system(Path("/proc/self")).startswith("proc ")


@pytest.mark.parametrize(("kind", "size"), [("ct", 524_288), ("small", 8_192)])
def test_each_instance_has_a_uid_of_its_own_that_the_sender_can_make_new(kind: str, size: int, tmp_path: Path) -> None:
    instances = made(kind, 3)
    assert len({one.sop_instance_uid for one in instances}) == 3
    assert all(one.data_set.count(one.sop_instance_uid.encode()) == 1 for one in instances)
    assert all(size < len(one.data_set) < size + 1200 for one in instances)
    write_replay(tmp_path / "replay", instances)
    # SOP instance, study, series and frame of reference in the data set; the SOP instance once more before it.
    assert (tmp_path / "replay").read_bytes().count(PLACEHOLDER.encode()) == 3 * 5
