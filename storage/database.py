"""One database, opened safely: what is committed is on the disk, and one writer at a time knows that it is alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, make_url, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from storage.disk import free_bytes
from storage.errors import OutdatedDatabase, StorageUnavailable, UnsafeDatabase

BUSY_TIMEOUT_S = 30.0
# Of a statement that is wrong: a fault of ours, which to try again does not mend.
_FAULTS = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
_FULL = 2  # PRAGMA synchronous: 2 is FULL, 3 is EXTRA (https://sqlite.org/pragma.html#pragma_synchronous)


class Database:
    """Short transactions over one engine. `write()` holds the write lock from its first statement on.

    url: an SQLAlchemy URL; sqlite (embedded) or postgresql. read_only: of one that is there, whoever writes to it
    meanwhile; `write()` raises then.
    """

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self.url = make_url(url)
        self._is_sqlite = self.url.get_backend_name() == "sqlite"
        opened = self.url
        if self._is_sqlite and self.url.database:
            if read_only:
                opened = _read_only(self.url.database, self.url)
            else:
                Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        connect_args: dict[str, Any] = {"timeout": BUSY_TIMEOUT_S} if self._is_sqlite else {}
        # As many connections as threads ask for at once: how many associations are served is bounded elsewhere.
        self.engine: Engine = create_engine(
            opened,
            connect_args=connect_args,
            poolclass=QueuePool,
            max_overflow=-1,
            json_serializer=_json,
            json_deserializer=_from_json,
        )
        if self._is_sqlite:
            event.listen(self.engine, "connect", _prepare_reading if read_only else _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    def migrate(self) -> None:
        """Bring the schema to the newest revision, then refuse a database that could lose a commit."""
        config = _migrations()
        with self.changing_tables() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        self.assert_durable()

    def assert_current(self) -> None:
        """Raises OutdatedDatabase unless the schema is at the newest revision."""
        newest = ScriptDirectory.from_config(_migrations()).get_current_head()
        with self.read() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
        if found != newest:
            raise OutdatedDatabase(
                f"database {self.url.database}: must be at revision {newest} of its schema, but is at "
                f"{found or 'none'}; a start of the node brings an older one up to date"
            )

    def assert_durable(self) -> None:
        """Raises UnsafeDatabase unless a commit survives a power cut (WAL with synchronous=FULL)."""
        if not self._is_sqlite:
            return
        with self.read() as connection:
            journal = connection.execute(text("PRAGMA journal_mode")).scalar_one()
            synchronous = connection.execute(text("PRAGMA synchronous")).scalar_one()
        if journal != "wal" or synchronous < _FULL:
            raise UnsafeDatabase(
                f"database {self.url.database}: journal_mode must be wal and synchronous FULL, "
                f"found {journal} and {synchronous}; keep the data folder on a local disk"
            )

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one moment of the database."""
        with _named_errors(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction: committed and on the disk when the block ends, undone when it raises."""
        with _named_errors(), self.engine.connect() as connection:
            writing = connection.execution_options(write=True)
            with writing.begin():
                yield writing

    @contextmanager
    def changing_tables(self) -> Iterator[Connection]:
        """As `write`. SQLite changes a table by making it anew, which its foreign keys do not bear until that is done."""
        with _named_errors(), self.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            if self._is_sqlite:
                driver.execute("PRAGMA foreign_keys=OFF")  # without effect once a transaction has begun
            try:
                writing = connection.execution_options(write=True)
                with writing.begin():
                    yield writing
                    if self._is_sqlite and (broken := writing.execute(text("PRAGMA foreign_key_check")).first()):
                        raise UnsafeDatabase(f"database {self.url.database}: a row of {broken[0]} refers to none")
            finally:
                if self._is_sqlite:
                    driver.execute("PRAGMA foreign_keys=ON")

    def free_bytes(self) -> int | None:
        """Room on the disk of the database, or None where that is not a disk of this machine."""
        if not self._is_sqlite or not self.url.database:
            return None
        folder = Path(self.url.database).parent
        try:
            return free_bytes(folder)
        except OSError as error:
            raise StorageUnavailable(f"database {folder}: {error.strerror or error}") from error

    def close(self) -> None:
        self.engine.dispose()


def _json(value: Any) -> str:
    """The facts of an instance are most of its row, and took a third of the time of writing it."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # of text that is no Unicode, and of numbers of more than 64 bits
        return json.dumps(value)


def _from_json(written: str | bytes) -> Any:
    try:
        return orjson.loads(written)
    except orjson.JSONDecodeError:  # what `json` writes and JSON does not know: NaN, and text that is no Unicode
        return json.loads(written)


def _migrations() -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _read_only(path: str, url: URL) -> URL:
    """As SQLite names a file that it must not change (https://sqlite.org/uri.html)."""
    if not Path(path).is_file():
        raise StorageUnavailable(f"database {path}: there is none; it is made when the node starts first")
    return url.set(database=f"file:{quote(str(Path(path).absolute()))}", query={"mode": "ro", "uri": "true"})


@contextmanager
def _named_errors() -> Iterator[None]:
    """What a database cannot do (disk full, locked, torn, gone) as one error that callers can answer with a status."""
    try:
        yield
    except PoolTimeout as error:
        raise StorageUnavailable(f"database: {error}") from error
    except DBAPIError as error:
        if isinstance(error, _FAULTS) and not error.connection_invalidated:
            raise
        raise StorageUnavailable(f"database: {error.orig}") from error


def _prepare_reading(connection: Any, _record: Any) -> None:
    connection.isolation_level = None


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions of its own: BEGIN is ours
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE takes the write lock at once. A transaction that first reads and then writes would otherwise
    # fail with SQLITE_BUSY when another wrote in between, whatever the timeout.
    writing = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
