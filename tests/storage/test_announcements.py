from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from storage.announcements import Announcements
from storage.database import Database
from storage.records import Announcement

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
    database = Database(f"sqlite:///{tmp_path / 'node.sqlite3'}")
    database.migrate()
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
