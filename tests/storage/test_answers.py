from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config as AlembicConfig

import storage
from storage.answers import Answers
from storage.database import Database
from storage.records.events import Answer, Event
from storage.usage import Usage
from tests.made_rows import made_database, open_house

REFUSED = Answer("C-STORE", 0xA700, "CT1", 3, "2026-11-21", 3, 100.0)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = made_database(tmp_path)
    yield opened
    opened.close()


def test_what_several_processes_count_is_added_up(database: Database) -> None:
    def counts() -> None:
        for _ in range(20):
            Answers(database).add([REFUSED, replace(REFUSED, status=0xC000)])

    threads = [threading.Thread(target=counts) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(item.status, item.count, item.day_count) for item in Answers(database).all()] == [
        (0xA700, 180, 180),
        (0xC000, 180, 180),
    ]


def test_a_new_day_is_counted_anew_and_late_counts_of_the_day_before_do_not_end_it(database: Database) -> None:
    answers = Answers(database)
    answers.add([REFUSED])
    answers.add([replace(REFUSED, count=2, day="2026-11-22", day_count=2, last_at=200.0)])
    answers.add([replace(REFUSED, count=5, day_count=5, last_at=150.0)])
    assert answers.all() == (replace(REFUSED, count=10, day="2026-11-22", day_count=2, last_at=200.0),)


def test_each_kind_status_and_ae_title_has_a_count_of_its_own_the_latest_first(database: Database) -> None:
    others = [
        replace(REFUSED, calling_ae_title="CT2", last_at=101.0),
        replace(REFUSED, status=0xC000, last_at=102.0),
        replace(REFUSED, kind="C-ECHO", last_at=103.0),
    ]
    Answers(database).add([REFUSED, *others])
    assert Answers(database).all() == (*reversed(others), REFUSED)


def test_stored_bytes_are_counted_with_the_rows_of_instances_and_results(tmp_path: Path) -> None:
    house = open_house(tmp_path)
    assert house.usage.total_bytes() == 0
    house.analysed_study()
    assert house.usage.total_bytes() == _sum_of_sizes(tmp_path / "node.sqlite3") > 0
    house.database.close()


def test_what_results_were_made_of_is_counted_once_however_often_the_same_is_kept(tmp_path: Path) -> None:
    house = open_house(tmp_path)
    made = house.ready_job()
    sizes = [house.usage.total_bytes()]
    for key, size_bytes in (("provenance/1", 500), ("provenance/1", 500), ("provenance/2", 70), (None, 0)):
        house.jobs.start(made.job_id)
        running = house.jobs.get(made.job_id)
        assert running
        given = {"provenance_key": key, "provenance_bytes": size_bytes}
        assert house.jobs.finish(running, state="done", outcome="done", reason=None, **given)
        assert not house.jobs.finish(running, state="done", outcome="done", reason=None, **given)  # it ended already
        sizes.append(house.usage.total_bytes())
        assert house.jobs.requeue(made.job_id, event=Event("job_requeued", "again"))
    assert [size - sizes[0] for size in sizes[1:]] == [500, 500, 570, 570]
    house.database.close()


def test_what_an_older_version_stored_is_counted_when_its_database_is_brought_up_to_date(tmp_path: Path) -> None:
    house = open_house(tmp_path)
    house.analysed_study()
    stored = house.usage.total_bytes()
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(str(storage.__file__)).parent / "migrations"))
    with house.database.changing_tables() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    house.database.migrate()
    assert Usage(house.database).total_bytes() == stored
    house.database.close()


def _sum_of_sizes(path: Path) -> int:
    opened = sqlite3.connect(path)
    try:
        query = "select sum(size_bytes) from (select size_bytes from instance union all select size_bytes from result)"
        return int(opened.execute(query).fetchone()[0])
    finally:
        opened.close()
