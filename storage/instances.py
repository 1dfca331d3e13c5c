"""Instances: an instance is added once, whatever is sent how often; another content under its UID is kept apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Select, bindparam, insert, or_, select, update

from storage.database import Database
from storage.event_about import event_about
from storage.events import record
from storage.records.events import Event
from storage.records.received import Added, Association, Instance, NewInstance, StoredContent
from storage.rejections import KEY_OBJECT_SELECTION, queue_key_objects, rejected_codes, reopen
from storage.repeats import repeats
from storage.schema import association, association_series, instance, series, study
from storage.studies import write_associations
from storage.usage import grow

AreSame = Callable[[str, str, int], bool]
# Of a content that is kept under a UID: its sum, its length, its transfer syntax.
_Content = tuple[str, int, str]
_AT_ONCE = 500

# Statements of each batch, made once: to put one together takes longer than the database takes to run it.
_KNOWN_CONTENTS = select(
    instance.c.sop_instance_uid,
    instance.c.content_sum,
    instance.c.size_bytes,
    instance.c.transfer_syntax_uid,
    instance.c.object_key,
).where(instance.c.sop_instance_uid.in_(bindparam("uids", expanding=True)))
_FIND_SERIES = select(series.c.series_id, series.c.revision, series.c.state).where(
    series.c.study_instance_uid == bindparam("study"), series.c.series_instance_uid == bindparam("series")
)
_ADD = insert(instance)
# The columns of a record in its order: there may be thousands of them.
_INSTANCE = [instance.c[name] for name in Instance.__dataclass_fields__]
_CONTENT = [instance.c[name] for name in StoredContent.__dataclass_fields__]
_GROW_SERIES = (
    update(series)
    .where(series.c.series_id == bindparam("of_series"))
    .values(instance_count=series.c.instance_count + bindparam("more"), last_received_at=bindparam("at"))
)
_KNOWN_PARTS = select(association_series.c.association_id, association_series.c.series_id).where(
    association_series.c.association_id.in_(bindparam("ids", expanding=True))
)
_ADD_PARTS = insert(association_series)
_GROW_PARTS = (
    update(association_series)
    .where(
        association_series.c.association_id == bindparam("of_association"),
        association_series.c.series_id == bindparam("of_series"),
    )
    .values(
        stored=association_series.c.stored + bindparam("more"),
        repeated=association_series.c.repeated + bindparam("again"),
    )
)


class Instances:
    """are_same: whether the data sets under two keys, both of that length, are the same; asked where sums do not tell."""

    def __init__(self, database: Database, are_same: AreSame) -> None:
        self._database = database
        self._are_same = are_same

    def add(self, new: NewInstance) -> Added:
        """Make one received instance known; committed when this returns.

        The object under `new.object_key` must be durable already. Returns the key of the object that is kept: where the
        same instance was known, that is the earlier one and the new object may be removed.
        """
        return self.add_all([new])[0]

    def add_all(self, arrived: Sequence[NewInstance], associations: Collection[Association] = ()) -> tuple[Added, ...]:
        """As `add`, for several in order of arrival and in one transaction: all of them, or none where this raises.

        associations: made known first, or closed, where they are not yet.
        """
        with self._database.write() as connection:
            ended = write_associations(connection, associations)
            batch = _Batch(connection, {new.sop_instance_uid for new in arrived}, self._are_same)
            added = tuple(batch.add(new) for new in arrived)
            batch.write()
            if ended:
                record(connection, repeats(connection, associations, ended))
        return added

    def of_series(self, series_id: int, *, up_to_revision: int) -> tuple[Instance, ...]:
        """The instances of a series that a job on this revision analyses, in order of arrival."""
        query = _analysed(select(*_INSTANCE), series_id, up_to_revision)
        with self._database.read() as connection:
            return tuple(Instance(*row) for row in connection.execute(query))

    def contents(self, series_id: int, *, up_to_revision: int) -> tuple[StoredContent, ...]:
        """The objects of the same instances and their sums, for who needs no more of them."""
        query = _analysed(select(*_CONTENT), series_id, up_to_revision)
        with self._database.read() as connection:
            return tuple(StoredContent(*row) for row in connection.execute(query))

    def contents_of(self, sop_instance_uids: Iterable[str]) -> tuple[StoredContent, ...]:
        """All that is kept under these UIDs, contents that are in conflict with others and rejected ones among them."""
        found: list[StoredContent] = []
        uids = list(sop_instance_uids)
        with self._database.read() as connection:
            for first in range(0, len(uids), _AT_ONCE):
                query = select(*_CONTENT).where(instance.c.sop_instance_uid.in_(uids[first : first + _AT_ONCE]))
                found += [StoredContent(*row) for row in connection.execute(query)]
        return tuple(found)

    def rejected(self, series_id: int, *, up_to_revision: int) -> frozenset[str]:
        """SOP Instance UIDs of a series that came and that a job on this revision does not analyse: they were rejected."""
        query = select(instance.c.sop_instance_uid).where(
            instance.c.series_id == series_id, instance.c.rejected_revision <= up_to_revision
        )
        with self._database.read() as connection:
            return frozenset(connection.execute(query).scalars())

    def came_in(self, series_id: int, revision: int) -> bool:
        """Whether this revision of a series began with images that came, and not because some were rejected."""
        query = select(instance.c.instance_id).where(
            instance.c.series_id == series_id, instance.c.revision == revision, instance.c.rejected_revision.is_(None)
        )
        with self._database.read() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def rejected_of(self, sop_instance_uids: Collection[str]) -> frozenset[str]:
        """Those of these instances that are rejected, whether they came or not."""
        uids, found = list(sop_instance_uids), frozenset[str]()
        with self._database.read() as connection:
            for start in range(0, len(uids), _AT_ONCE):
                found |= rejected_codes(connection, uids[start : start + _AT_ONCE]).keys()
        return found

    def known_objects(self, object_keys: Collection[str]) -> frozenset[str]:
        """Which of these objects belong to an instance. At most some hundreds at once."""
        query = select(instance.c.object_key).where(instance.c.object_key.in_(object_keys))
        with self._database.read() as connection:
            return frozenset(connection.execute(query).scalars())


def _analysed(query: Select[Any], series_id: int, up_to_revision: int) -> Select[Any]:
    return query.where(
        instance.c.series_id == series_id,
        instance.c.revision <= up_to_revision,
        ~instance.c.conflict,
        or_(instance.c.rejected_revision.is_(None), instance.c.rejected_revision > up_to_revision),
    ).order_by(instance.c.instance_id)


def _open_series(connection: Connection, new: NewInstance) -> tuple[int, int, str]:
    """The series' (id, revision, state), inserted with its study where it is not known yet."""
    found = connection.execute(
        _FIND_SERIES, {"study": new.study_instance_uid, "series": new.series_instance_uid}
    ).first()
    if found:
        return found.series_id, found.revision, found.state
    if not connection.execute(
        select(study.c.study_instance_uid).where(study.c.study_instance_uid == new.study_instance_uid)
    ).first():
        connection.execute(insert(study).values(_study_values(new)))
    inserted = connection.execute(
        insert(series).values(
            series_instance_uid=new.series_instance_uid,
            study_instance_uid=new.study_instance_uid,
            state="arriving",
            revision=1,
            instance_count=0,
            first_received_at=new.received_at,
            last_received_at=new.received_at,
        )
    )
    source = connection.execute(select(association).where(association.c.association_id == new.association_id)).one()
    record(
        connection,
        [
            event_about(
                new,
                "series_begins",
                f"first image of a series from {source.calling_ae_title} at {source.address}",
            )
        ],
    )
    (series_id,) = inserted.inserted_primary_key or (0,)
    return series_id, 1, "arriving"


def _study_values(new: NewInstance) -> dict[str, Any]:
    return {
        "study_instance_uid": new.study_instance_uid,
        "patient_id": new.patient_id,
        "patient_name": new.patient_name,
        "accession_number": new.accession_number,
        "study_date": new.study_date,
        "study_description": new.study_description,
        "first_received_at": new.received_at,
    }


class _Batch:
    """Decides about one instance after the other as if each were committed alone, and writes them at once."""

    def __init__(self, connection: Connection, sop_instance_uids: Collection[str], are_same: AreSame) -> None:
        self._connection = connection
        self._are_same = are_same
        self._known = _known_contents(connection, sop_instance_uids) if sop_instance_uids else {}
        self._rejected = rejected_codes(connection, sop_instance_uids) if sop_instance_uids else {}
        self._series: dict[tuple[str, str], tuple[int, int, str]] = {}
        self._rows: list[dict[str, Any]] = []
        self._stored: Counter[int] = Counter()
        self._last_received_at: dict[int, float] = {}
        self._parts: dict[tuple[str, int], tuple[int, int]] = {}
        self._left_out: dict[tuple[int, str], list[NewInstance]] = {}
        self._key_objects: list[str] = []

    def add(self, new: NewInstance) -> Added:
        identity = (new.study_instance_uid, new.series_instance_uid)
        if identity not in self._series:
            self._series[identity] = _open_series(self._connection, new)
        series_id, revision, state = self._series[identity]
        known = self._known.setdefault(new.sop_instance_uid, {})
        kept = self._kept(known, new) if known else None
        stored, repeated = self._parts.get((new.association_id, series_id), (0, 0))
        part = (stored, repeated + 1) if kept is not None else (stored + 1, repeated)
        self._parts[new.association_id, series_id] = part
        if kept is not None:
            return Added("same", kept)
        conflict = bool(known)
        if (new.content_sum, new.transfer_syntax_uid) in {(said, syntax) for said, _, syntax in known}:
            # Other bytes of the same sum: somebody made them so, and the sum must tell them apart from now on.
            new = replace(new, content_sum=sha256(new.object_key.encode()).hexdigest())
        known[new.content_sum, new.size_bytes, new.transfer_syntax_uid] = new.object_key
        code = self._rejected.get(new.sop_instance_uid)
        if not conflict and code is None and state != "arriving":
            revision = _reopen(self._connection, new, series_id, revision)
            self._series[identity] = series_id, revision, "arriving"
        self._rows.append(_instance_values(new, series_id, revision, conflict=conflict, rejected_code=code))
        if conflict:
            record(self._connection, [_conflict_event(new)])
            return Added("conflict", new.object_key)
        if code is not None:
            self._left_out.setdefault((series_id, code), []).append(new)
            return Added("stored", new.object_key)
        if new.sop_class_uid == KEY_OBJECT_SELECTION:
            self._key_objects.append(new.sop_instance_uid)
        self._stored[series_id] += 1
        self._last_received_at[series_id] = new.received_at
        return Added("stored", new.object_key)

    def _kept(self, known: Mapping[_Content, str], new: NewInstance) -> str | None:
        """The object that has the same content, where there is one. Sums of another length are another function's."""
        for (content_sum, size_bytes, transfer_syntax_uid), object_key in known.items():
            may_be = content_sum == new.content_sum or len(content_sum) != len(new.content_sum)
            if not may_be or (size_bytes, transfer_syntax_uid) != (new.size_bytes, new.transfer_syntax_uid):
                continue
            if self._are_same(object_key, new.object_key, size_bytes):
                return object_key
        return None

    def write(self) -> None:
        if self._rows:
            self._connection.execute(_ADD, self._rows)
            grow(self._connection, "instances", sum(row["size_bytes"] for row in self._rows))
        if self._stored:
            grown = [
                {"of_series": series_id, "more": count, "at": self._last_received_at[series_id]}
                for series_id, count in self._stored.items()
            ]
            self._connection.execute(_GROW_SERIES, grown)
        if self._parts:
            _count(self._connection, self._parts)
        queue_key_objects(self._connection, self._key_objects)
        record(self._connection, [_left_out_event(code, new) for (_, code), new in self._left_out.items()])


def _known_contents(connection: Connection, sop_instance_uids: Collection[str]) -> dict[str, dict[_Content, str]]:
    """What is kept under each of these UIDs: object keys by content."""
    found: dict[str, dict[_Content, str]] = {}
    for row in connection.execute(_KNOWN_CONTENTS, {"uids": list(sop_instance_uids)}):
        content = row.content_sum, row.size_bytes, row.transfer_syntax_uid
        found.setdefault(row.sop_instance_uid, {})[content] = row.object_key
    return found


def _instance_values(
    new: NewInstance, series_id: int, revision: int, *, conflict: bool, rejected_code: str | None
) -> dict[str, Any]:
    return {
        "series_id": series_id,
        "sop_class_uid": new.sop_class_uid,
        "sop_instance_uid": new.sop_instance_uid,
        "transfer_syntax_uid": new.transfer_syntax_uid,
        "content_sum": new.content_sum,
        "object_key": new.object_key,
        "size_bytes": new.size_bytes,
        "association_id": new.association_id,
        "received_at": new.received_at,
        "revision": revision,
        "conflict": conflict,
        "rejected_revision": None if rejected_code is None else revision,
        "rejected_code": rejected_code,
        "facts": dict(new.facts),
    }


def _reopen(connection: Connection, new: NewInstance, series_id: int, revision: int) -> int:
    """A late instance opens the next revision of its series: it is judged, routed and analysed again."""
    reopen(connection, series_id)
    late = event_about(
        new,
        "late_instance",
        f"an instance came after the series was judged whole: revision {revision + 1} begins",
        "warning",
    )
    record(connection, [late])
    return revision + 1


def _conflict_event(new: NewInstance) -> Event:
    return event_about(
        new,
        "instance_conflict",
        "another content under a SOP Instance UID that is already stored: both are kept, the first one is analysed",
        "alarm",
        {"sop_instance_uid": new.sop_instance_uid},
    )


def _left_out_event(code: str, arrived: Sequence[NewInstance]) -> Event:
    first = arrived[0]
    came = "1 instance came that was" if len(arrived) == 1 else f"{len(arrived)} instances came that were"
    return event_about(
        first,
        "instances_rejected",
        f"{came} rejected before (DCM {code}): kept, and not analysed",
        "warning",
        {"code": code, "instances": len(arrived)},
    )


def _count(connection: Connection, parts: Mapping[tuple[str, int], tuple[int, int]]) -> None:
    """Add to what associations brought to series: how many were stored, and how many were there already."""
    ids = list({association_id for association_id, _ in parts})
    known = {(row.association_id, row.series_id) for row in connection.execute(_KNOWN_PARTS, {"ids": ids})}
    new = [
        {"association_id": part[0], "series_id": part[1], "stored": stored, "repeated": repeated}
        for part, (stored, repeated) in parts.items()
        if part not in known
    ]
    grown = [
        {"of_association": part[0], "of_series": part[1], "more": stored, "again": repeated}
        for part, (stored, repeated) in parts.items()
        if part in known
    ]
    if new:
        connection.execute(_ADD_PARTS, new)
    if grown:
        connection.execute(_GROW_PARTS, grown)
