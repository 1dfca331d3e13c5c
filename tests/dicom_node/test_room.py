"""How much room there is, what that means, and who is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from dicom_node.config import Config
from dicom_node.history import account_of
from dicom_node.refusals import OutOfResources
from dicom_node.room import Level, Marks, Place, Room, judge, size_in_words
from dicom_node.room_gauge import Gauge
from dicom_node.room_watch import RoomWatch, last_level
from dicom_node.status import status_of
from storage.errors import StorageUnavailable
from storage.records.events import Answer, Event
from tests.made_rows import NO_MARKS, House, open_house

MARKS = Marks(warn_bytes=4000, pause_bytes=2000, min_bytes=1000)


def level_at(free_bytes: int, before: Level = "ok", marks: Marks = MARKS) -> Level:
    return judge([Place("here", free_bytes)], marks, before).level


@pytest.mark.parametrize(
    ("free_bytes", "level"),
    [(4000, "ok"), (3999, "low"), (2000, "low"), (1999, "paused"), (1000, "paused"), (999, "full"), (0, "full")],
)
def test_a_level_begins_right_below_its_mark(free_bytes: int, level: Level) -> None:
    assert level_at(free_bytes) == level


@pytest.mark.parametrize(
    ("before", "mark", "better"), [("low", 4000, "ok"), ("paused", 2000, "low"), ("full", 1000, "paused")]
)
def test_a_level_is_left_only_with_an_eighth_of_its_mark_to_spare(before: Level, mark: int, better: Level) -> None:
    assert level_at(mark + mark // 8 - 1, before) == before
    assert level_at(mark + mark // 8, before) == better


def test_what_stood_worse_leaves_every_mark_above_it_with_a_margin_too() -> None:
    assert level_at(2100, "full") == "paused"
    assert level_at(4100, "full") == "low"
    assert level_at(2100, "low") == "low"


def test_room_that_goes_up_and_down_at_a_mark_does_not_change_the_level_each_time() -> None:
    levels, before = [], "ok"
    for free_bytes in [2001, 1999] * 20:
        before = level_at(free_bytes, before)  # type: ignore[arg-type]
        levels.append(before)
    assert levels[1:] == ["paused"] * 39


def test_without_marks_there_is_always_room() -> None:
    assert level_at(0, marks=NO_MARKS) == "ok"
    assert judge([], MARKS).has_for(10**15)


def test_the_tightest_place_decides_and_is_named_with_its_mark_and_the_consequence() -> None:
    room = judge([Place("at the object store", 9000), Place("at the database", 900)], MARKS)
    assert (room.level, room.has_for(0), room.routine_waits) == ("full", False, True)
    words = room.in_words()
    assert words.startswith("900 bytes are free at the database, less than storage.min_free_bytes (1000 bytes): ")
    assert "instances are refused" in words


def test_in_the_margin_the_words_do_not_say_less() -> None:
    assert "not enough above storage.pause_free_bytes" in judge([Place("here", 2100)], MARKS, "paused").in_words()


def test_an_instance_fits_only_above_the_lowest_mark() -> None:
    room = judge([Place("here", 1500)], MARKS)
    assert room.has_for(500)
    assert not room.has_for(501)


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (1 << 30, "1 GiB"), (10**6 << 40, "1000000 TiB")],
)
def test_sizes_are_written_for_people(size_bytes: int, words: str) -> None:
    assert size_in_words(size_bytes) == words


# --- measured -----------------------------------------------------------------------------------------------------


@dataclass
class Disks:
    """Free bytes of an object store and a database, and a clock."""

    house: House
    objects: int | None = 10**6
    database: int | None = 10**6
    now: float = 100.0
    fails: bool = False

    def free_bytes(self) -> int | None:
        if self.fails:
            raise StorageUnavailable("object store: Input/output error")
        return self.objects

    def gauge(self, quota_bytes: int | None = None, begin_at: Level = "ok", marks: Marks = MARKS) -> Gauge:
        database = SimpleNamespace(free_bytes=lambda: self.database)
        return Gauge(
            marks,
            self,  # type: ignore[arg-type]
            database,  # type: ignore[arg-type]
            self.house.usage,
            quota_bytes=quota_bytes,
            begin_at=begin_at,
            clock=lambda: self.now,
        )


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Disks]:
    house = open_house(tmp_path)
    yield Disks(house)
    house.database.close()


def _is_refused(gauge: Gauge, more_bytes: int = 0) -> bool:
    try:
        gauge.check(more_bytes)
    except OutOfResources:
        return True
    return False


@pytest.mark.parametrize("marks", [MARKS, Marks(1000, 1000, 1000)])
def test_a_full_object_store_refuses_at_once_and_takes_in_again_once_there_is_room(disks: Disks, marks: Marks) -> None:
    gauge = disks.gauge(marks=marks)
    assert not _is_refused(gauge)
    disks.objects = 999
    assert _is_refused(gauge)
    disks.objects = 1124
    assert _is_refused(gauge)
    disks.objects = 1125
    assert not _is_refused(gauge)


def test_a_full_database_refuses_within_a_second_though_the_object_store_has_room(disks: Disks) -> None:
    gauge = disks.gauge()
    assert not _is_refused(gauge)
    disks.database, disks.now = 999, disks.now + 1
    with pytest.raises(OutOfResources, match="999 bytes are free at the database"):
        gauge.check(0)
    disks.database, disks.now = 5000, disks.now + 1
    assert not _is_refused(gauge)


def test_an_instance_that_would_go_below_the_mark_is_refused_and_a_smaller_one_is_not(disks: Disks) -> None:
    gauge = disks.gauge()
    disks.objects = 5000
    assert _is_refused(gauge, 4001)
    assert not _is_refused(gauge, 4000)
    disks.objects, disks.database, disks.now = 10**6, 5000, disks.now + 1
    assert _is_refused(gauge, 4001)


def test_a_place_that_cannot_be_asked_is_out_of_resources(disks: Disks) -> None:
    disks.fails = True
    assert _is_refused(disks.gauge())


def test_a_store_that_does_not_say_what_is_free_is_not_refused_for_it(disks: Disks) -> None:
    disks.objects = disks.database = None
    assert not _is_refused(disks.gauge(), 10**12)


def test_the_quota_counts_what_came_in_since_it_was_read_and_then_what_rows_say(disks: Disks) -> None:
    gauge = disks.gauge(quota_bytes=10_000)
    assert not _is_refused(gauge)
    gauge.took(8999)
    assert not _is_refused(gauge)
    gauge.took(2)
    with pytest.raises(OutOfResources, match=r"free of storage.quota_bytes, less than storage.min_free_bytes"):
        gauge.check(0)
    disks.now += 1  # the rows know nothing of it: it was not stored after all
    assert not _is_refused(gauge)
    disks.house.analysed_study(side=64)
    used = disks.house.usage.total_bytes()
    assert used > 10_000
    disks.now += 1
    assert _is_refused(gauge)


def test_the_real_database_says_how_much_is_free_on_its_own_disk(disks: Disks, tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    free = disks.house.database.free_bytes()
    assert free is not None
    assert abs(free - found.f_bavail * found.f_frsize) < 1 << 30


# --- watched ------------------------------------------------------------------------------------------------------


def _watch(disks: Disks) -> RoomWatch:
    told = last_level(disks.house.events)
    return RoomWatch(disks.gauge(begin_at=told), disks.house.events, told, lambda: disks.now)


def _told(disks: Disks) -> list[Event]:
    return disks.house.events_of_kind("disk_low", "disk_paused", "disk_full", "disk_ok")


def test_each_mark_that_is_passed_is_told_once_and_the_way_back_too(disks: Disks) -> None:
    watch, waits = _watch(disks), []
    for free_bytes in (10**6, 3999, 3000, 1999, 999, 500, 1125, 2250, 4500, 10**6):
        disks.objects, disks.now = free_bytes, disks.now + 1
        watch.step()
        waits.append(watch.routine_waits)
    kinds = [event.kind for event in _told(disks)]
    assert kinds == ["disk_low", "disk_paused", "disk_full", "disk_paused", "disk_low", "disk_ok"]
    assert waits == [False, False, False, True, True, True, True, False, False, False]
    assert [event.severity for event in _told(disks)][:3] == ["warning", "warning", "alarm"]
    assert "storage.warn_free_bytes" in _told(disks)[0].text


def test_it_looks_once_a_second_only(disks: Disks) -> None:
    watch = _watch(disks)
    watch.step()
    disks.objects = 0
    disks.now += 0.9
    watch.step()
    assert _told(disks) == []
    disks.now += 0.1
    watch.step()
    assert [event.kind for event in _told(disks)] == ["disk_full"]


def test_a_restart_goes_on_where_people_were_told(disks: Disks) -> None:
    disks.objects = 1999
    _watch(disks).step()
    disks.objects = 2100
    again = _watch(disks)
    again.step()
    assert again.routine_waits
    assert [event.kind for event in _told(disks)] == ["disk_paused"]


def test_what_could_not_be_recorded_is_told_later_and_holds_meanwhile(
    disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_events: Event) -> None:
        raise StorageUnavailable("database: database or disk is full")

    watch = _watch(disks)
    disks.objects = 1999
    with monkeypatch.context() as patch:
        patch.setattr(disks.house.events, "record", fails)
        watch.step()
    assert watch.routine_waits
    disks.now += 1
    watch.step()
    assert [event.kind for event in _told(disks)] == ["disk_paused"]


def test_a_place_that_is_used_up_takes_nothing_though_no_mark_says_so(disks: Disks) -> None:
    assert not judge([Place("here", 0)], NO_MARKS).has_for(0)
    assert judge([Place("here", 1)], NO_MARKS).has_for(0)
    gauge = Gauge(NO_MARKS, disks, disks.house.database, disks.house.usage, quota_bytes=100)  # type: ignore[arg-type]
    assert not _is_refused(gauge)
    gauge.took(100)
    assert _is_refused(gauge)


# --- shown --------------------------------------------------------------------------------------------------------


def test_a_routine_job_that_waits_for_room_says_so_and_no_other_does(tmp_path: Path) -> None:
    house = open_house(tmp_path)
    routine, stat = house.ready_job(priority="routine"), house.ready_job(priority="stat")
    done = house.analysed_study()[0].result.study_instance_uid
    little, enough = judge([Place("here", 1999)], MARKS), judge([Place("here", 3999)], MARKS)

    def account(study_instance_uid: str, room: Room | None) -> tuple[str, str | None]:
        (found,) = account_of(house, study_instance_uid, room)  # type: ignore[arg-type]
        return found.standing, found.jobs[0].waits

    standing, waits = account(routine.study_instance_uid, little)
    assert standing == "waiting for room on the disk"
    assert waits
    assert "storage.pause_free_bytes" in waits
    assert account(stat.study_instance_uid, little) == ("waiting for a model", None)
    assert account(done, little)[1] is None
    for room in (enough, None):
        assert account(routine.study_instance_uid, room) == ("waiting for a model", None)
    house.database.close()


def test_status_counts_refused_instances_and_shows_room_as_it_was_told_last(disks: Disks) -> None:
    refused = Answer("C-STORE", 0xA700, "CT1", 3, "2026-11-21", 3, 1.0)
    others = (
        replace(refused, status=0xC000, count=4),
        replace(refused, status=0xB000, count=10),
        replace(refused, kind="C-ECHO", status=0x0110, count=100),
    )
    disks.house.answers.add((refused, *others))
    disks.house.events.record(Event("disk_full", "there is no room", "alarm"))
    free = disks.house.database.free_bytes()
    assert free is not None
    # Room above the mark, but not an eighth of it: full as it was told, and as the dispatcher holds it.
    config = Config.model_validate({"storage": {"min_free_bytes": int(free / 1.06)}})
    node = status_of(config, disks.house)  # type: ignore[arg-type]
    assert node.work["instances refused"] == 7
    assert node.room.level == "full"
    assert "at the database" in node.room.in_words()
    assert set(node.answers) == {refused, *others}
