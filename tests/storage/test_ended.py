"""Series that nobody is bringing right now, by who brought them last."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from storage.records.received import Association, NewInstance
from tests.made_rows import House, open_house

NOW = time.time()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = open_house(tmp_path)
    yield house
    house.database.close()


def brought(house: House, series: str, source: str, ended_at: float | None, *, ending: str = "released") -> None:
    """One instance of a series, by an association that has ended, or has not (ended_at None)."""
    association = Association(generate_uid()[-36:], "a1", source, "NODE", "127.0.0.1", NOW - 100)
    uid = generate_uid()
    texts = dict.fromkeys(("patient_id", "patient_name", "accession_number", "study_date", "study_description"), "")
    new = NewInstance(
        "1.2", uid, series, "1.9", "1.2.1", uid, uid, 1, association.association_id, NOW, facts={}, **texts
    )
    ended = association if ended_at is None else replace(association, closed_at=ended_at, ending=ending)  # type: ignore[arg-type]
    house.studies.open_association(association)
    house.instances.add_all([new], [ended])


def found(house: House, *sources: str) -> list[tuple[str, str, float, int]]:
    return [
        (one.series.series_instance_uid, one.calling_ae_title, one.ended_at, one.series.instance_count)
        for one in house.studies.ended(sources)
    ]


def test_the_series_that_ended_last_comes_first_and_others_of_no_source_not_at_all(house: House) -> None:
    brought(house, "1.1", "CT1", NOW)
    brought(house, "1.2", "CT2", NOW + 1, ending="aborted")
    brought(house, "1.3", "CT3", NOW + 2)
    assert found(house, "CT1", "CT2") == [("1.2", "CT2", NOW + 1, 1), ("1.1", "CT1", NOW, 1)]


def test_a_series_that_is_being_brought_has_not_ended_whoever_brings_it(house: House) -> None:
    brought(house, "1.1", "CT1", NOW)
    brought(house, "1.1", "CT2", None)
    assert found(house, "CT1", "CT2") == []


def test_of_associations_that_ended_at_the_same_moment_a_series_is_found_once(house: House) -> None:
    for _ in range(3):
        brought(house, "1.1", "CT1", NOW)
    brought(house, "1.1", "CT2", NOW - 1)
    assert found(house, "CT1", "CT2") == [("1.1", "CT1", NOW, 4)]
    assert found(house, "CT2") == []


def test_a_series_that_was_judged_is_not_found_until_more_of_it_comes(house: House) -> None:
    brought(house, "1.1", "CT1", NOW)
    (series,) = house.studies.series_of("1.9")
    assert house.studies.settle(series, evidence="made", jobs=[], events=[])
    assert found(house, "CT1") == []
    brought(house, "1.1", "CT1", NOW + 5)
    assert found(house, "CT1") == [("1.1", "CT1", NOW + 5, 2)]
