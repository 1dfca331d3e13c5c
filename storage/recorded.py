"""How studies came, as far as it was recorded: read to see what other rules would have made of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from sqlalchemy import select

from storage.arriving import read_parts, read_refused, series_of_row
from storage.database import Database
from storage.records.announced import PerformedStep
from storage.records.received import Instance, Series, SeriesPart, Study
from storage.schema import association_series, instance, performed_step, series, study

_INSTANCE_COLUMNS = tuple(instance.c[name] for name in Instance.__dataclass_fields__)


class Recorded:
    def __init__(self, database: Database) -> None:
        self._database = database

    def studies(self, since: float, until: float) -> tuple[Study, ...]:
        """Those whose first image came in this time, oldest first."""
        came = study.c.first_received_at
        query = select(study).where(came >= since, came <= until).order_by(came, study.c.study_instance_uid)
        with self._database.read() as connection:
            return tuple(Study(**row._mapping) for row in connection.execute(query))

    def series(self, study_instance_uid: str) -> tuple[Series, ...]:
        """Those of a study that hold an image, in the order in which they came."""
        query = (
            select(series)
            .where(series.c.study_instance_uid == study_instance_uid, series.c.instance_count > 0)
            .order_by(series.c.series_id)
        )
        with self._database.read() as connection:
            return tuple(series_of_row(row) for row in connection.execute(query))

    def instances(self, study_instance_uid: str) -> Mapping[int, tuple[Instance, ...]]:
        """The instances of each series of a study, in order of arrival; rejected ones too, since they came.

        Contents in conflict with others are left out, as they are everywhere.
        """
        query = (
            select(instance.c.series_id, *_INSTANCE_COLUMNS)
            .join(series, series.c.series_id == instance.c.series_id)
            .where(series.c.study_instance_uid == study_instance_uid, ~instance.c.conflict)
            .order_by(instance.c.received_at, instance.c.instance_id)
        )
        found: defaultdict[int, list[Instance]] = defaultdict(list)
        with self._database.read() as connection:
            for series_id, *values in connection.execute(query):
                found[series_id].append(Instance(*values))
        return {series_id: tuple(items) for series_id, items in found.items()}

    def parts(self, study_instance_uid: str) -> Mapping[int, tuple[SeriesPart, ...]]:
        """Which associations brought each series of a study, in the order in which they were opened."""
        ids = select(series.c.series_id).where(series.c.study_instance_uid == study_instance_uid)
        with self._database.read() as connection:
            return read_parts(connection, association_series.c.series_id.in_(ids))

    def refused(self, association_ids: frozenset[str]) -> Mapping[str, int]:
        """How many instances these associations were refused that did not come by any other either."""
        with self._database.read() as connection:
            return read_refused(connection, association_ids)

    def performed_steps(self) -> tuple[PerformedStep, ...]:
        """Every performed procedure step that was ever created here."""
        with self._database.read() as connection:
            return tuple(
                PerformedStep(**{**row._mapping, "study_instance_uids": tuple(row.study_instance_uids)})
                for row in connection.execute(select(performed_step))
            )
