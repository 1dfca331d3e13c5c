from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from storage import database as module
from storage.database import Database
from storage.errors import StorageUnavailable, UnsafeDatabase
from storage.schema import event, metadata

ROW = {"at": 1.0, "kind": "test", "severity": "info", "text": "x", "data": {}}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'data' / 'node.sqlite3'}")
    opened.migrate()
    yield opened
    opened.close()


def test_the_migrations_make_exactly_the_schema(database: Database) -> None:
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_migrating_twice_changes_nothing(database: Database) -> None:
    with database.write() as connection:
        connection.execute(insert(event).values(ROW))
    database.migrate()
    with database.read() as connection:
        assert len(connection.execute(select(event)).all()) == 1


def test_every_connection_syncs_each_commit(database: Database) -> None:
    database.assert_durable()
    with database.read() as first, database.read() as second:
        for connection in (first, second):
            assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
            assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2
            assert connection.execute(text("PRAGMA foreign_keys")).scalar_one() == 1


def test_a_database_that_could_lose_a_commit_is_refused() -> None:
    in_memory = Database("sqlite://")
    with pytest.raises(UnsafeDatabase, match="journal_mode must be wal"):
        in_memory.migrate()
    in_memory.close()


def test_what_a_block_wrote_is_undone_when_it_raises(database: Database) -> None:
    def fails_half_way() -> None:
        with database.write() as connection:
            connection.execute(insert(event).values(ROW))
            raise ValueError

    with pytest.raises(ValueError):
        fails_half_way()
    with database.read() as connection:
        assert connection.execute(select(event)).all() == []


def test_transactions_that_read_and_then_write_wait_for_each_other(database: Database) -> None:
    failures: list[Exception] = []

    def counts_up() -> None:
        try:
            for _ in range(20):
                with database.write() as connection:
                    at = connection.execute(text("select coalesce(max(at), 0) from event")).scalar_one()
                    connection.execute(insert(event).values(ROW | {"at": at + 1}))
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            failures.append(error)

    threads = [threading.Thread(target=counts_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with database.read() as connection:
        assert connection.execute(text("select max(at) from event")).scalar_one() == 80


def test_a_full_disk_is_told_as_storage_that_is_not_available(database: Database) -> None:
    def fills() -> None:
        with database.write() as connection:
            pages = connection.execute(text("PRAGMA page_count")).scalar_one()
            connection.execute(text(f"PRAGMA max_page_count={pages}"))
            for _ in range(100):
                connection.execute(insert(event).values(ROW | {"text": "x" * 4000}))

    with pytest.raises(StorageUnavailable, match="full"):
        fills()
    with database.read() as connection:
        assert connection.execute(select(event)).all() == []


def test_a_database_held_by_another_is_told_as_storage_that_is_not_available(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_TIMEOUT_S", 0.05)
    database = Database(f"sqlite:///{tmp_path / 'node.sqlite3'}")
    database.migrate()
    other = sqlite3.connect(tmp_path / "node.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable, match="locked"), database.write():
        pass
    other.close()
    database.close()


def test_as_many_as_ask_at_once_have_a_connection_each(database: Database) -> None:
    with ExitStack() as held:
        connections = [held.enter_context(database.read()) for _ in range(40)]
        assert [connection.execute(text("select 1")).scalar_one() for connection in connections] == [1] * 40


def test_a_connection_that_cannot_be_had_is_told_as_storage_that_is_not_available(database: Database) -> None:
    with pytest.raises(StorageUnavailable, match="no connection"), database.read():
        raise PoolTimeout("no connection")


def test_a_torn_database_is_told_as_storage_that_is_not_available(database: Database, tmp_path: Path) -> None:
    database.close()
    path = tmp_path / "data" / "node.sqlite3"
    path.write_bytes(b"no database any more" + path.read_bytes()[20:])
    with pytest.raises(StorageUnavailable, match="not a database"), database.read():
        pass


def test_a_statement_that_breaks_a_rule_is_a_fault_and_not_told_as_storage(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as connection:
        connection.execute(insert(event).values(ROW | {"kind": None}))


@pytest.mark.parametrize("written", ['{"value": NaN}', '{"value": -Infinity}', '{"value": "\\ud800"}'])
def test_json_that_only_a_lenient_reader_reads_is_read(database: Database, written: str) -> None:
    """So an older version has written numbers that are none; and so is text written that is no Unicode."""
    with database.write() as connection:
        connection.execute(insert(event).values(ROW))
        connection.execute(text("update event set data = :written"), {"written": written})
    with database.read() as connection:
        found = connection.execute(select(event.c.data)).scalar_one()
    assert repr(found) == repr(json.loads(written))


def test_text_that_is_no_unicode_comes_back_as_it_was_written(database: Database) -> None:
    with database.write() as connection:
        connection.execute(insert(event).values(ROW | {"data": {"path": "a\udcff"}}))
    with database.read() as connection:
        assert connection.execute(select(event.c.data)).scalar_one() == {"path": "a\udcff"}
