"""Studies played on a clock, few of them: every habit is played, by every rule, and exact evidence is never wrong."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from benchmarks import time_to_result
from benchmarks.on_the_clock import Node, Played, quiet_timer
from benchmarks.sources import SOURCES, studies
from benchmarks.time_to_result import EXACT, OURS, PEERS, figures, group_of, on_the_clock
from benchmarks.timelines import Tape, Timeline, stack
from dicom_node.completeness import Rules


@pytest.fixture(scope="module")
def played() -> dict[str, list[Played]]:
    return on_the_clock(1, len(SOURCES), Rules())


def test_every_source_is_played_by_every_rule_until_a_job_has_all_images(played: dict[str, list[Played]]) -> None:
    for series in played.values():
        assert {one.timeline.calling_ae_title for one in series} == {source.calling_ae_title for source in SOURCES}
        assert all(one.starts[-1].images == one.images for one in series)
        assert all(one.waited_s >= 0 for one in series)
    assert set(played) == {OURS, *PEERS}


def test_no_job_starts_too_early_on_exact_evidence(played: dict[str, list[Played]]) -> None:
    exact = [one for one in played[OURS] if group_of(one) in EXACT]
    assert exact
    assert [one.series_instance_uid for one in exact if one.wrong] == []


def test_the_same_seed_gives_the_same_studies_and_another_one_others() -> None:
    assert list(studies(3, 14)) == list(studies(3, 14))
    assert list(studies(3, 14)) != list(studies(4, 14))


def _in_two_parts(pause_s: float) -> Timeline:
    """In order, on two associations: the geometry of the first part closes, too."""
    tape = Tape("1", "CT1", 1000.0, Random(1))
    lane, images = tape.lane(), stack("1.1", 20)
    lane.send(images[:10], 0.1)
    lane.pause(pause_s)
    lane.send(images[10:], 0.1)
    return tape.timeline("two parts")


@pytest.mark.parametrize(("pause_s", "ours", "five", "sixty"), [(1, 0, 0, 0), (30, 1, 1, 0), (90, 1, 1, 1)])
def test_who_starts_while_images_are_to_come_is_counted(pause_s: float, ours: int, five: int, sixty: int) -> None:
    study = _in_two_parts(pause_s)
    (by_us,) = Node(Rules()).play(study)
    (by_five,) = quiet_timer(study, 5.0, by="study", round_s=1.0)
    (by_sixty,) = quiet_timer(study, 60.0, by="series", round_s=0.1)
    assert (by_us.wrong, by_five.wrong, by_sixty.wrong) == (ours, five, sixty)


def test_a_source_that_paused_is_waited_for_in_its_next_studies() -> None:
    node = Node(Rules())
    wrong = [node.play(_in_two_parts(30))[0].wrong for _ in range(8)]
    assert wrong[0] == 1
    assert wrong[5:] == [0, 0, 0]


def test_the_figures_of_all_are_written_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    time_to_result.main(["--quick", "--json", str(tmp_path / "figures.json")])
    kept = json.loads((tmp_path / "figures.json").read_text())
    assert {one["rule"] for one in kept["clock"][0]["figures"]} == {OURS, *PEERS}
    exact = [one for one in kept["clock"][0]["bars"] if one["text"] == "wrongly whole on exact evidence"]
    assert [one["holds"] for one in exact] == [True]
    assert "Series wrongly whole, by source" in capsys.readouterr().out


def test_the_figures_add_up(played: dict[str, list[Played]]) -> None:
    found = figures(played)
    for rule, series in played.items():
        of_rule = [one for one in found if one.rule == rule]
        assert sum(one.series for one in of_rule) == len(series)
        assert sum(one.jobs for one in of_rule) == sum(one.wrong for one in series)
