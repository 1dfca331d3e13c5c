"""Series that arrive and that nobody is bringing right now: asked many times a second, so in one statement."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, bindparam, func, select

from storage.records.arriving import Ended
from storage.records.received import Series
from storage.schema import association, association_series, series

_ENDS = (
    select(association_series.c.series_id, func.max(association.c.closed_at).label("ended_at"))
    .join(series, series.c.series_id == association_series.c.series_id)
    .join(association, association.c.association_id == association_series.c.association_id)
    .where(series.c.state == "arriving", series.c.instance_count > 0)
    .group_by(association_series.c.series_id)
    .having(func.count() == func.count(association.c.closed_at))
    .subquery()
)
_ENDED = (
    select(series, association.c.calling_ae_title, _ENDS.c.ended_at)
    .join(_ENDS, _ENDS.c.series_id == series.c.series_id)
    .join(association_series, association_series.c.series_id == series.c.series_id)
    .join(
        association,
        (association.c.association_id == association_series.c.association_id)
        & (association.c.closed_at == _ENDS.c.ended_at),
    )
    .where(association.c.calling_ae_title.in_(bindparam("titles", expanding=True)))
    .order_by(_ENDS.c.ended_at.desc(), series.c.series_id)
)


def read_ended(connection: Connection, calling_ae_titles: Collection[str]) -> tuple[Ended, ...]:
    found = connection.execute(_ENDED, {"titles": list(calling_ae_titles)}).all()
    # Two associations that ended at the same moment are two rows.
    ended = {
        row.series_id: Ended(
            Series(**{name: row._mapping[name] for name in Series.__dataclass_fields__}),
            row.calling_ae_title,
            row.ended_at,
        )
        for row in reversed(found)
    }
    return tuple(reversed(ended.values()))
