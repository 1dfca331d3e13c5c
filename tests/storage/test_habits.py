"""How sources pause: one row for each series that was judged, the latest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from storage.records.arriving import Silence
from tests.made_rows import House, open_house

SHORT = Silence("SCANNER", longest_gap_s=2.0, longest_pause_s=1.0, at=100.0)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    opened = open_house(tmp_path)
    yield opened
    opened.database.close()


def judged(house: House, silence: Silence) -> None:
    """A series of its own, judged again with this silence."""
    job = house.ready_job()
    house.one_more(job)
    (series,) = house.studies.arriving()
    assert house.studies.settle(series, evidence="made", jobs=[], events=[], silence=silence)


def test_the_series_that_a_source_sent_last_come_first_and_no_more_than_asked_for(house: House) -> None:
    for at in (1.0, 3.0, 2.0):
        judged(house, replace(SHORT, at=at))
    assert [item.at for item in house.habits.of("SCANNER", limit=2)] == [3.0, 2.0]
    assert [item.at for item in house.habits.of("SCANNER", limit=9, before=2.0)] == [1.0]
    assert house.habits.of("OTHER", limit=9) == ()


def test_a_series_that_is_judged_again_has_one_row_whose_silences_only_grow(house: House) -> None:
    job = house.ready_job()
    for gap_s, pause_s in ((30.0, 5.0), (20.0, 10.0)):
        house.one_more(job)
        (series,) = house.studies.arriving()
        silence = Silence("SCANNER", gap_s, pause_s, at=gap_s, longest_end_s=pause_s / 2)
        assert house.studies.settle(series, evidence="made", jobs=[], events=[], silence=silence)
    assert house.habits.of("SCANNER", limit=9) == (Silence("SCANNER", 30.0, 10.0, at=20.0, longest_end_s=5.0),)


def test_of_a_series_that_grew_meanwhile_nothing_is_learned(house: House) -> None:
    job = house.ready_job()
    house.one_more(job)
    (series,) = house.studies.arriving()
    house.one_more(job)
    assert not house.studies.settle(series, evidence="made", jobs=[], events=[], silence=SHORT)
    assert house.habits.of("SCANNER", limit=9) == ()
