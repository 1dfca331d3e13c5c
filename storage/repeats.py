"""What came again, just as it is kept: said once, when the association that brought it has ended."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, bindparam, func, select

from storage.records.events import Event
from storage.records.received import Association
from storage.schema import association_series, series

# Made once, since it runs at the end of every association.
_REPEATED = (
    select(
        association_series.c.association_id,
        series.c.study_instance_uid,
        func.sum(association_series.c.repeated).label("repeated"),
        func.sum(association_series.c.stored).label("stored"),
    )
    .join(series, series.c.series_id == association_series.c.series_id)
    .where(association_series.c.association_id.in_(bindparam("ids", expanding=True)))
    .group_by(association_series.c.association_id, series.c.study_instance_uid)
    .having(func.sum(association_series.c.repeated) > 0)
)


def repeats(connection: Connection, ended: Iterable[Association], ids: Collection[str]) -> list[Event]:
    """An event for each study of which an association brought instances again. ids: of the associations that count."""
    closed_at = {one.association_id: one.closed_at for one in ended}
    return [
        Event(
            "instances_repeated",
            _words(row.repeated, row.stored),
            at=closed_at[row.association_id] or 0.0,
            study_instance_uid=row.study_instance_uid,
            association_id=row.association_id,
            data={"repeated": row.repeated, "stored": row.stored},
        )
        for row in connection.execute(_REPEATED, {"ids": list(ids)})
    ]


def _words(repeated: int, stored: int) -> str:
    again = (
        "1 instance came again, the same as the one kept"
        if repeated == 1
        else (f"{repeated} instances came again, the same as those kept")
    )
    return f"{again}; {stored} more were stored" if stored else f"{again}: nothing new to analyse"
