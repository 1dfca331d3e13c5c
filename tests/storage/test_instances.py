from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from storage.records.received import Added, Association, NewInstance
from tests.made_rows import House, open_house

FIRST = NewInstance(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    sop_instance_uid="1.2.3.1",
    series_instance_uid="1.2.3",
    study_instance_uid="1.2",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    content_sum="a" * 32,
    object_key="instances/1",
    size_bytes=10,
    association_id="association-1",
    received_at=100.0,
    patient_id="P",
    patient_name="Made^Up",
    accession_number="A",
    study_date="20260101",
    study_description="CHEST",
    facts={"Modality": "CT", "ImagePositionPatient": [0.0, 0.0, 1.5]},
)
OTHER_CONTENT = replace(FIRST, content_sum="b" * 32, object_key="instances/2", received_at=101.0)
NEXT = replace(FIRST, sop_instance_uid="1.2.3.2", content_sum="c" * 32, object_key="instances/3", received_at=102.0)


def _association(number: int) -> Association:
    return Association(f"association-{number}", "acceptor", "SCANNER", "NODE", "192.0.2.1", opened_at=99.0 + number)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = open_house(tmp_path)
    for number in (1, 2):
        house.studies.open_association(_association(number))
    yield house
    house.database.close()


def test_a_first_instance_makes_its_study_and_series_known(house: House) -> None:
    assert house.instances.add(FIRST) == Added("stored", "instances/1")
    study = house.studies.study("1.2")
    assert (study.patient_name, study.accession_number, study.study_description) == ("Made^Up", "A", "CHEST")
    (series,) = house.studies.arriving()
    assert (series.series_instance_uid, series.instance_count, series.revision) == ("1.2.3", 1, 1)
    (kept,) = house.instances.of_series(series.series_id, up_to_revision=1)
    assert (kept.object_key, kept.facts) == ("instances/1", FIRST.facts)
    assert [event.kind for event in house.events.of_study("1.2")] == ["series_begins"]


def test_the_same_instance_again_is_one_copy_and_the_first_object(house: House) -> None:
    house.instances.add(FIRST)
    again = replace(FIRST, object_key="instances/9", association_id="association-2", received_at=105.0)
    assert house.instances.add(again) == Added("same", "instances/1")
    (series,) = house.studies.arriving()
    assert series.instance_count == 1
    assert [(part.association.association_id, part.stored, part.repeated) for part in house.studies.parts(1)] == [
        ("association-1", 1, 0),
        ("association-2", 0, 1),
    ]


@pytest.mark.parametrize(
    "other",
    [OTHER_CONTENT, replace(FIRST, transfer_syntax_uid="1.2.840.10008.1.2", object_key="instances/2")],
    ids=["other content", "other transfer syntax"],
)
def test_another_content_under_a_known_uid_is_kept_with_an_alarm_and_never_analysed(
    house: House, other: NewInstance
) -> None:
    house.instances.add(FIRST)
    assert house.instances.add(other) == Added("conflict", "instances/2")
    assert house.instances.known_objects(["instances/1", "instances/2"]) == {"instances/1", "instances/2"}
    assert [kept.object_key for kept in house.instances.of_series(1, up_to_revision=9)] == ["instances/1"]
    (alarm,) = house.events.recent(severities=("alarm",), limit=9)
    assert (alarm.kind, alarm.data["sop_instance_uid"]) == ("instance_conflict", "1.2.3.1")
    (series,) = house.studies.arriving()
    assert series.instance_count == 1
    assert house.instances.add(other) == Added("same", "instances/2")


def test_a_series_of_nothing_but_conflicts_is_not_waited_for(house: House) -> None:
    house.instances.add(FIRST)
    house.instances.add(replace(OTHER_CONTENT, series_instance_uid="1.2.4"))
    assert [series.series_instance_uid for series in house.studies.arriving()] == ["1.2.3"]
    house.instances.add(replace(NEXT, series_instance_uid="1.2.4"))
    assert [series.series_instance_uid for series in house.studies.arriving()] == ["1.2.3", "1.2.4"]


def test_a_late_instance_opens_the_next_revision_and_leaves_the_last_one_as_it_was(house: House) -> None:
    house.instances.add(FIRST)
    (series,) = house.studies.arriving()
    assert house.studies.settle(series, evidence="quiet", jobs=[], events=[])
    assert house.studies.arriving() == ()
    house.instances.add(NEXT)
    (reopened,) = house.studies.arriving()
    assert (reopened.revision, reopened.instance_count, reopened.evidence) == (2, 2, None)
    assert [kept.object_key for kept in house.instances.of_series(1, up_to_revision=1)] == ["instances/1"]
    assert len(house.instances.of_series(1, up_to_revision=2)) == 2
    assert "late_instance" in [event.kind for event in house.events.of_study("1.2")]


@pytest.mark.parametrize("late", [FIRST, OTHER_CONTENT], ids=["same", "conflict"])
def test_what_adds_nothing_to_a_whole_series_does_not_reopen_it(house: House, late: NewInstance) -> None:
    house.instances.add(FIRST)
    (series,) = house.studies.arriving()
    house.studies.settle(series, evidence="quiet", jobs=[], events=[])
    house.instances.add(replace(late, association_id="association-2"))
    (after,) = house.studies.series_of("1.2")
    assert (after.state, after.revision) == ("whole", 1)


def test_a_series_that_grew_since_it_was_read_is_not_settled(house: House) -> None:
    house.instances.add(FIRST)
    (series,) = house.studies.arriving()
    house.instances.add(NEXT)
    assert not house.studies.settle(series, evidence="quiet", jobs=[], events=[])
    assert len(house.studies.arriving()) == 1


def test_one_series_uid_in_two_studies_is_two_series(house: House) -> None:
    house.instances.add(FIRST)
    house.instances.add(replace(NEXT, study_instance_uid="1.9"))
    assert [(series.study_instance_uid, series.instance_count) for series in house.studies.arriving()] == [
        ("1.2", 1),
        ("1.9", 1),
    ]


def test_the_same_instance_on_many_associations_at_once_is_stored_once(house: House) -> None:
    outcomes: list[str] = []

    def add() -> None:
        outcomes.append(house.instances.add(FIRST).outcome)

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["same"] * 7 + ["stored"]
    assert house.studies.arriving()[0].instance_count == 1


def test_associations_left_open_by_an_ended_acceptor_are_lost_and_no_others(house: House) -> None:
    house.studies.open_association(Association("elsewhere", "acceptor-2", "SCANNER", "NODE", "192.0.2.1", 100.0))
    house.end_association(_association(1), "released", 110.0)
    assert house.studies.lose_associations("acceptor") == 1
    assert house.studies.lose_associations("acceptor") == 0
    house.instances.add(FIRST)
    house.instances.add(replace(FIRST, association_id="association-2"))
    house.instances.add(replace(FIRST, association_id="elsewhere"))
    endings = {part.association.association_id: part.association.ending for part in house.studies.parts(1)}
    assert endings == {"association-1": "released", "association-2": "lost", "elsewhere": None}


def test_an_ending_that_is_known_is_not_changed(house: House) -> None:
    house.end_association(_association(1), "aborted", 110.0)
    house.end_association(_association(1), "released", 120.0)
    house.instances.add(FIRST)
    (part,) = house.studies.parts(1)
    assert (part.association.ending, part.association.closed_at) == ("aborted", 110.0)
