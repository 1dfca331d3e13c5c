"""What is known of series that still arrive, beside their images: who brought them, who may bring more, what is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from storage.records.announced import Announcement
from storage.records.arriving import Arriving
from storage.records.events import Event
from storage.records.received import Association
from tests.made_rows import House, new_instance, open_house

STUDY, SERIES = "1.2.3", "1.2.3.4"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    opened = open_house(tmp_path)
    yield opened
    opened.database.close()


def opened(name: str, title: str = "CT1", at: float = 10.0) -> Association:
    return Association(name, "acceptor-1", title, "NODE", "127.0.0.1", at)


def brings(
    house: House, association: Association, number: int, *, series: str = SERIES, study: str = STUDY, at: float = 20.0
) -> None:
    new = new_instance(
        sop_instance_uid=f"{series}.{number}",
        series_instance_uid=series,
        study_instance_uid=study,
        content_sum=f"{number}",
        object_key=f"{series}/{number}",
        association_id=association.association_id,
        received_at=at,
        patient_id="P",
        patient_name="",
        accession_number="",
        study_date="",
    )
    house.instances.add_all([new], [association])


def known(house: House, series: str = SERIES) -> Arriving:
    (found,) = [one for one in house.studies.known_of_arriving() if one.series.series_instance_uid == series]
    return found


def test_of_each_series_is_known_who_brought_it_and_how_large_its_study_is(house: House) -> None:
    first, second = opened("a"), opened("b", at=11.0)
    brings(house, second, 2)
    brings(house, first, 1)
    brings(house, first, 1, series="1.2.3.5")
    found = known(house)
    assert [part.association.association_id for part in found.parts] == ["a", "b"]
    assert found.study_instance_count == 3
    assert [part.association.association_id for part in known(house, "1.2.3.5").parts] == ["a"]


def test_open_associations_of_its_sources_are_known_that_may_bring_more_of_it(house: House) -> None:
    brings(house, opened("own"), 1)
    brings(house, opened("same study", at=12.0), 1, series="1.2.3.5")
    brings(house, opened("other study"), 1, series="1.9.1", study="1.9")
    brings(house, opened("other source", "MR1"), 1, series="1.2.3.6")
    house.studies.open_association(opened("nothing yet", at=13.0))
    assert {(one.association_id, one.opened_at, one.brings_study) for one in known(house).elsewhere} == {
        ("nothing yet", 13.0, False),
        ("same study", 12.0, True),
    }


def test_an_association_that_ended_brings_no_more(house: House) -> None:
    brings(house, opened("own"), 1)
    beside = opened("beside")
    brings(house, beside, 1, series="1.2.3.5")
    house.end_association(beside, "released", 30.0)
    assert known(house).elsewhere == ()


def test_what_is_said_of_a_series_or_its_study_is_known_and_of_no_other(house: House) -> None:
    brings(house, opened("own"), 1)
    of_series = Announcement("mpps", "1 1", "CT1", STUDY, SERIES, "completed", 5.0, 1, ("1.2.3.4.1",))
    of_study = Announcement("mpps", "1 -", "CT1", STUDY, None, "completed", 5.0)
    house.announcements.announce(
        of_series,
        of_study,
        replace(of_series, key="2", series_instance_uid="1.2.3.5"),
        replace(of_series, key="3", study_instance_uid="1.9"),
    )
    said = known(house).said
    assert [(one.kind, one.series_instance_uid, one.instance_count) for one in said] == [
        ("mpps", SERIES, 1),
        ("mpps", None, None),
    ]


def test_whatever_changes_of_it_makes_it_another(house: House) -> None:
    own = opened("own")
    brings(house, own, 1)
    before = known(house)
    assert known(house) == before
    house.end_association(own, "released", 30.0)
    released = known(house)
    assert released != before
    house.announcements.announce(Announcement("mpps", "1 -", "CT1", STUDY, None, "in progress", 5.0))
    announced = known(house)
    assert announced != released
    house.announcements.announce(Announcement("mpps", "1 -", "CT1", STUDY, None, "completed", 6.0))
    assert known(house) != announced


def test_an_instance_counts_as_refused_until_it_came_after_all(house: House) -> None:
    own = opened("own")
    brings(house, own, 1)
    for uid in ("1.2.3.4.2", "1.2.3.4.3", None):
        event = Event("instance_refused", "refused", association_id="own", data={"sop_instance_uid": uid})
        house.events.record(event)
    assert house.studies.refused(["own", "other"]) == {"own": 3}
    brings(house, opened("again"), 2)
    assert house.studies.refused(["own"]) == {"own": 2}
    assert house.studies.refused(["other"]) == {}


def test_an_association_that_goes_on_to_another_series_is_known_until_it_comes_back_or_ends(house: House) -> None:
    own = opened("own")
    brings(house, own, 1)
    assert known(house).went_on == frozenset()
    brings(house, own, 1, series="1.2.3.5", at=21.0)
    assert (known(house).went_on, known(house, "1.2.3.5").went_on) == ({"own"}, frozenset())
    brings(house, own, 2, at=22.0)
    assert (known(house).went_on, known(house, "1.2.3.5").went_on) == (frozenset(), {"own"})
    house.end_association(own, "released", 30.0)
    assert known(house, "1.2.3.5").went_on == frozenset()
