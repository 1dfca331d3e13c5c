from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from storage.announcements import Announcements
from storage.records.announced import Announcement, PerformedStep
from storage.records.jobs import Job
from tests.made_rows import House, made_database, open_house

COMPLETED = Announcement(
    kind="mpps",
    key="1.2.840.1 1.2.3.4",
    source="CT1",
    study_instance_uid="1.2.3",
    series_instance_uid="1.2.3.4",
    state="completed",
    at=200.0,
    instance_count=2,
    sop_instance_uids=("1.2.3.4.1", "1.2.3.4.2"),
)
IN_PROGRESS = Announcement("mpps", "1.2.840.1 -", "CT1", "1.2.3", None, "in progress", 100.0)


@pytest.fixture
def announcements(tmp_path: Path) -> Iterator[Announcements]:
    database = made_database(tmp_path)
    yield Announcements(database)
    database.close()


def test_what_is_said_of_a_study_comes_back_as_it_was_said_oldest_first(announcements: Announcements) -> None:
    announcements.announce(COMPLETED, IN_PROGRESS, replace(COMPLETED, key="other", study_instance_uid="1.9"))
    assert announcements.of_study("1.2.3") == (IN_PROGRESS, COMPLETED)


def test_who_says_something_again_replaces_what_was_said_before(announcements: Announcements) -> None:
    announcements.announce(IN_PROGRESS)
    completed = replace(IN_PROGRESS, state="completed", at=300.0)
    announcements.announce(completed)
    assert announcements.of_study("1.2.3") == (completed,)


def test_the_same_key_of_another_kind_is_another_announcement(announcements: Announcements) -> None:
    found = replace(COMPLETED, kind="c-find", instance_count=2, sop_instance_uids=None)
    announcements.announce(COMPLETED, found)
    assert set(announcements.of_study("1.2.3")) == {COMPLETED, found}


def test_of_several_announcements_all_are_made_known_or_none(announcements: Announcements) -> None:
    with pytest.raises(IntegrityError):
        announcements.announce(COMPLETED, replace(IN_PROGRESS, state="finished"))  # type: ignore[arg-type]
    assert announcements.of_study("1.2.3") == ()


def test_a_list_that_is_empty_is_not_the_same_as_none(announcements: Announcements) -> None:
    announcements.announce(replace(COMPLETED, sop_instance_uids=()), replace(IN_PROGRESS, sop_instance_uids=None))
    assert [item.sop_instance_uids for item in announcements.of_study("1.2.3")] == [None, ()]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = open_house(tmp_path)
    yield made
    made.database.close()


def _step_completed(house: House, job: Job, *more: str) -> None:
    """By a change of its status alone: its series was told before, with its one image and these."""
    (one,) = house.instances.of_series(job.series_id, up_to_revision=job.revision)
    listed = (one.sop_instance_uid, *more)
    step = PerformedStep("1.9", "CT1", "IN PROGRESS", 100.0, 100.0, (job.study_instance_uid,))
    of_study = replace(IN_PROGRESS, key="1.9 -", study_instance_uid=job.study_instance_uid)
    of_series = replace(of_study, key="1.9 x", series_instance_uid=job.series_instance_uid, sop_instance_uids=listed)
    assert house.performed_steps.create(step, [of_study, of_series])
    ended = replace(step, status="COMPLETED")
    assert house.performed_steps.change(ended, [replace(of_study, state="completed")], keep_series=True)


def test_a_step_that_lists_more_images_than_a_series_had_when_it_was_judged_whole_is_an_alarm(house: House) -> None:
    _step_completed(house, house.ready_job(), "1.2.3.4.8", "1.2.3.4.9")
    (told,) = house.events_of_kind("series_lacking")
    assert told.severity == "alarm"
    assert told.text == "CT1 lists 3 images of a series that was judged whole before: 2 did not come"


def test_a_step_that_lists_what_came_of_a_series_that_was_judged_whole_is_no_alarm(house: House) -> None:
    _step_completed(house, house.ready_job())
    assert house.events_of_kind("series_lacking") == []
