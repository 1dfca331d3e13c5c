"""What is known of the series that still arrive: asked ten times a second, so in few statements and without their images."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select

from storage.records.announced import Said
from storage.records.arriving import Arriving, Elsewhere
from storage.records.received import Association, Series, SeriesPart
from storage.schema import announcement, association, association_series, event, instance, series

_IS_ARRIVING = (series.c.state == "arriving") & (series.c.instance_count > 0)
_ARRIVING = select(series).where(_IS_ARRIVING).order_by(series.c.first_received_at)
_STUDIES = select(series.c.study_instance_uid).where(_IS_ARRIVING)
_COUNTS = (
    select(series.c.study_instance_uid, func.sum(series.c.instance_count))
    .where(series.c.study_instance_uid.in_(_STUDIES))
    .group_by(series.c.study_instance_uid)
)
_SAID = (
    select(announcement.c.study_instance_uid, *(announcement.c[name] for name in Said.__dataclass_fields__))
    .where(announcement.c.study_instance_uid.in_(_STUDIES))
    .order_by(announcement.c.announcement_id)
)
# Open associations are few, whatever was there before.
_OPEN = (
    select(
        association.c.association_id,
        association.c.calling_ae_title,
        association.c.opened_at,
        series.c.study_instance_uid,
        series.c.series_id,
        series.c.last_received_at,
    )
    .outerjoin(association_series, association_series.c.association_id == association.c.association_id)
    .outerjoin(series, series.c.series_id == association_series.c.series_id)
    .where(association.c.closed_at.is_(None))
)


def read_arriving(connection: Connection) -> tuple[Arriving, ...]:
    """Series that were not judged yet, oldest first, with what is known of each."""
    found = [series_of_row(row) for row in connection.execute(_ARRIVING)]
    if not found:
        return ()
    ids = select(series.c.series_id).where(_IS_ARRIVING)
    parts = read_parts(connection, association_series.c.series_id.in_(ids))
    counts = {row[0]: int(row[1]) for row in connection.execute(_COUNTS)}
    said: defaultdict[str, list[Said]] = defaultdict(list)
    for row in connection.execute(_SAID):
        said[row.study_instance_uid].append(Said(**{name: row._mapping[name] for name in Said.__dataclass_fields__}))
    still_open = connection.execute(_OPEN).all()
    return tuple(
        Arriving(
            one,
            parts.get(one.series_id, ()),
            _elsewhere(one, parts.get(one.series_id, ()), still_open),
            tuple(
                item
                for item in said[one.study_instance_uid]
                if item.series_instance_uid in (None, one.series_instance_uid)
            ),
            counts[one.study_instance_uid],
            _went_on(one, still_open),
        )
        for one in found
    )


def read_parts(connection: Connection, which: ColumnElement[bool]) -> dict[int, tuple[SeriesPart, ...]]:
    """Which associations brought each of these series, in the order in which they were opened."""
    query = (
        select(association, association_series.c.series_id, association_series.c.stored, association_series.c.repeated)
        .join(association_series, association_series.c.association_id == association.c.association_id)
        .where(which)
        .order_by(association.c.opened_at)
    )
    parts: defaultdict[int, list[SeriesPart]] = defaultdict(list)
    for row in connection.execute(query):
        brought = Association(**{name: row._mapping[name] for name in Association.__dataclass_fields__})
        parts[row.series_id].append(SeriesPart(brought, row.stored, row.repeated))
    return {series_id: tuple(found) for series_id, found in parts.items()}


def read_refused(connection: Connection, association_ids: Collection[str]) -> dict[str, int]:
    """How many instances these associations were refused that did not come by any other either."""
    query = select(event.c.association_id, event.c.data).where(
        event.c.kind == "instance_refused", event.c.association_id.in_(association_ids)
    )
    refused = [(row.association_id, row.data.get("sop_instance_uid")) for row in connection.execute(query)]
    named = {uid for _, uid in refused if uid}
    if not refused:
        return {}
    came = set(
        connection.execute(select(instance.c.sop_instance_uid).where(instance.c.sop_instance_uid.in_(named))).scalars()
    )
    return dict(Counter(association_id for association_id, uid in refused if uid not in came))


def series_of_row(row: Row[Any]) -> Series:
    return Series(**{name: row._mapping[name] for name in Series.__dataclass_fields__})


def _went_on(arriving: Series, still_open: Sequence[Any]) -> frozenset[str]:
    """The open associations that brought another series since this one's last image."""
    return frozenset(
        row.association_id
        for row in still_open
        if row.series_id not in (None, arriving.series_id) and row.last_received_at > arriving.last_received_at
    )


def _elsewhere(arriving: Series, parts: Sequence[SeriesPart], still_open: Sequence[Any]) -> tuple[Elsewhere, ...]:
    """Of the open associations those that may bring more of a series: its sources', for its study or for nothing yet."""
    sources = {part.association.calling_ae_title for part in parts}
    own = {part.association.association_id for part in parts}
    found: dict[str, Elsewhere] = {}
    for row in still_open:
        if row.calling_ae_title not in sources or row.association_id in own:
            continue
        if row.study_instance_uid in (None, arriving.study_instance_uid):
            brings_study = row.study_instance_uid is not None
            found[row.association_id] = Elsewhere(row.association_id, row.calling_ae_title, row.opened_at, brings_study)
    return tuple(found.values())
