"""What became of each revision of a series and of each result: read for people who ask, and written by nobody here."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, func, select

from storage.database import Database
from storage.records.received import Arrivals
from storage.records.rejected import Rejections
from storage.records.results import KeptResult
from storage.results import result_from
from storage.schema import instance, result, series


class History:
    def __init__(self, database: Database) -> None:
        self._database = database

    def arrivals(self, study_instance_uid: str) -> tuple[Arrivals, ...]:
        """What came in each revision of each series, in their order; contents in conflict with others are not counted."""
        query = (
            select(
                instance.c.series_id,
                instance.c.revision,
                func.count().label("instance_count"),
                func.min(instance.c.received_at).label("first_received_at"),
            )
            .join(series, series.c.series_id == instance.c.series_id)
            .where(series.c.study_instance_uid == study_instance_uid, ~instance.c.conflict)
            .group_by(instance.c.series_id, instance.c.revision)
            .order_by(instance.c.series_id, instance.c.revision)
        )
        with self._database.read() as connection:
            return tuple(Arrivals(**row._mapping) for row in connection.execute(query))

    def rejections(self, study_instance_uid: str) -> tuple[Rejections, ...]:
        """What is no longer analysed, by the revision from which on that holds."""
        columns = (instance.c.series_id, instance.c.rejected_revision, instance.c.rejected_code)
        query = (
            select(*columns, func.count().label("instance_count"))
            .join(series, series.c.series_id == instance.c.series_id)
            .where(
                series.c.study_instance_uid == study_instance_uid,
                ~instance.c.conflict,
                instance.c.rejected_revision.is_not(None),
            )
            .group_by(*columns)
            .order_by(*columns)
        )
        with self._database.read() as connection:
            return tuple(
                Rejections(row.series_id, row.rejected_revision, row.rejected_code or "", row.instance_count)
                for row in connection.execute(query)
            )

    def count_quarantined(self) -> int:
        """Results that failed their checks, of series that were not analysed anew since."""
        query = select(func.count()).where(result.c.faults.is_not(None), result.c.superseded_at.is_(None))
        with self._database.read() as connection:
            return connection.execute(query).scalar_one()

    def results(self, study_instance_uid: str) -> tuple[KeptResult, ...]:
        """Every result of a study, oldest first, those that later ones supersede among them."""
        query = (
            select(result)
            .where(result.c.study_instance_uid == study_instance_uid)
            .order_by(result.c.created_at, result.c.job_id, result.c.sop_instance_uid)
        )
        with self._database.read() as connection:
            return tuple(map(_kept, connection.execute(query)))

    def result(self, sop_instance_uid: str) -> KeptResult | None:
        query = select(result).where(result.c.sop_instance_uid == sop_instance_uid)
        with self._database.read() as connection:
            row = connection.execute(query).first()
            return None if row is None else _kept(row)


def _kept(row: Row[Any]) -> KeptResult:
    return KeptResult(
        result_from(row), row.job_id, row.created_at, row.superseded_at, row.superseded_by, row.provenance_key
    )
