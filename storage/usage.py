"""What the stored objects take, in bytes: counted with the rows that name them, in the same transaction."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import Connection, func, select, text

from storage.database import Database
from storage.schema import job, result, usage

# Run for each batch of rows: as text it costs an eighth of what the built statement does.
_GROW = text("update usage set total_bytes = total_bytes + :size_bytes where kind = :kind")


class Usage:
    def __init__(self, database: Database) -> None:
        self._database = database

    def total_bytes(self) -> int:
        """Of instances, results and what is kept of how those were made: their data sets and files, without what the store needs
        around them."""
        with self._database.read() as connection:
            return int(connection.execute(select(func.coalesce(func.sum(usage.c.total_bytes), 0))).scalar_one())


def grow(connection: Connection, kind: Literal["instances", "results"], size_bytes: int) -> None:
    """Count objects whose rows this transaction adds; a negative size where it removes them."""
    connection.execute(_GROW, {"kind": kind, "size_bytes": size_bytes})


def names_provenance(connection: Connection, job_id: int, key: str) -> bool:
    """Whether the object was counted: a job that comes to the same again keeps it under the same key."""
    by_job = select(job.c.job_id).where(job.c.job_id == job_id, job.c.provenance_key == key)
    by_result = select(result.c.job_id).where(result.c.job_id == job_id, result.c.provenance_key == key)
    return connection.execute(by_job.union(by_result)).first() is not None
