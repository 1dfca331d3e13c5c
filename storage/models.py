"""Versions of models, and which of them does what: every change of that is one transaction, with the jobs that it moves."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Literal

from sqlalchemy import Connection, func, insert, select, update

from storage.database import Database
from storage.errors import VersionTaken
from storage.events import record
from storage.model_schema import golden_check, model_change, model_role, model_version
from storage.moved_jobs import Move, move_jobs
from storage.records.events import Event
from storage.records.models import GoldenCheck, ModelRole, ModelVersion
from storage.removed_versions import mark_removed, mark_restored, require_kept

_NUMBER = select(model_change.c.number)


class Models:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, new: ModelVersion) -> None:
        """Make a version known; where it is, nothing changes but that one which was removed is kept again.

        Raises VersionTaken where its name and version have another content, whatever became of that.
        """
        with self._database.write() as connection:
            known = connection.execute(
                select(model_version).where(model_version.c.content_sha256 == new.content_sha256)
            ).first()
            if known is not None and (known.name, known.version) == (new.name, new.version):
                mark_restored(connection, new.content_sha256, new.source)
                return
            same = select(model_version.c.content_sha256).where(
                model_version.c.name == new.name, model_version.c.version == new.version, ~model_version.c.built_in
            )
            other = None if new.built_in else connection.execute(same).scalar()
            if known is not None:
                raise VersionTaken(
                    f"{new.key} of {new.source}: its content {new.content_sha256} is known as {known.name}@{known.version}; "
                    "give it the name and version that it was taken up with"
                )
            if other is not None:
                raise VersionTaken(
                    f"{new.key} of {new.source}: must have the content {other}, with which it was taken up, but has "
                    f"{new.content_sha256}; what a version holds never changes: give it another version"
                )
            connection.execute(insert(model_version).values(**_values(new)))

    def remove(self, content_sha256: str, event: Event) -> None:
        """Nobody may use the version any more; its files can go. Raises VersionNeeded where it has a role, or jobs to run."""
        with self._database.write() as connection:
            mark_removed(connection, content_sha256, event)

    def versions(self) -> tuple[ModelVersion, ...]:
        """All that were ever taken up, oldest first."""
        query = select(model_version).order_by(model_version.c.added_at, model_version.c.content_sha256)
        with self._database.read() as connection:
            return tuple(ModelVersion(**row._mapping) for row in connection.execute(query))

    def changes(self) -> int:
        """Another number after every change of roles: costs little to ask for."""
        with self._database.read() as connection:
            return int(connection.execute(_NUMBER).scalar_one())

    def roles(self) -> dict[str, ModelRole]:
        """By the name of the model."""
        with self._database.read() as connection:
            return {row.name: ModelRole(**row._mapping) for row in connection.execute(select(model_role))}

    def disabled(self) -> frozenset[str]:
        """Names of models that are switched off by the kill switch."""
        with self._database.read() as connection:
            return read_disabled(connection)

    def activate(
        self,
        name: str,
        content_sha256: str,
        *,
        by: Literal["configuration", "command"],
        instead_of: str | None,
        move: Move | None = None,
        events: Iterable[Event] = (),
    ) -> bool:
        """Make a version the active one; the one before is what a rollback returns to. What waits goes over to it by `move`.

        instead_of: the version that is active, as far as the caller knows; False, and no change, where another one is. A
        version that becomes active is not canary or shadow any more.
        """
        with self._database.write() as connection:
            now = _role(connection, name)
            if now.active_sha256 != instead_of:
                return False
            require_kept(connection, content_sha256)
            values: dict[str, Any] = {
                "active_sha256": content_sha256,
                "active_by": by,
                "active_since": time.time(),
                "previous_sha256": now.active_sha256,
            }
            if now.canary_sha256 == content_sha256:
                values |= {"canary_sha256": None, "canary_share": None, "canary_since": None}
            if now.shadow_sha256 == content_sha256:
                values |= {"shadow_sha256": None, "shadow_since": None}
            _change(connection, name, values, move, events)
            return True

    def set_canary(
        self,
        name: str,
        content_sha256: str | None,
        share: float | None,
        *,
        move: Move | None = None,
        events: Iterable[Event] = (),
    ) -> None:
        """Give a share of the studies, 0 to 1, to a version beside the active one; None for none any more."""
        since = None if content_sha256 is None else time.time()
        values = {"canary_sha256": content_sha256, "canary_share": share, "canary_since": since}
        self._set(name, values, events, move, of=content_sha256)

    def set_shadow(self, name: str, content_sha256: str | None, *, events: Iterable[Event] = ()) -> None:
        """Have a version run beside the active one and send nothing; None for none any more."""
        since = None if content_sha256 is None else time.time()
        self._set(name, {"shadow_sha256": content_sha256, "shadow_since": since}, events, of=content_sha256)

    def disable(
        self, name: str, reason: str, *, by: Literal["command", "golden"], events: Iterable[Event] = ()
    ) -> bool:
        """Switch a model off, in all its versions; False where it is."""
        with self._database.write() as connection:
            if _role(connection, name).disabled:
                return False
            values = {"disabled_at": time.time(), "disabled_by": by, "disabled_reason": reason}
            _change(connection, name, values, None, events)
            return True

    def enable(self, name: str, *, events: Iterable[Event] = ()) -> bool:
        """Switch a model on again; False where it was not off."""
        with self._database.write() as connection:
            if not _role(connection, name).disabled:
                return False
            values = {"disabled_at": None, "disabled_by": None, "disabled_reason": None}
            _change(connection, name, values, None, events)
            return True

    def move(self, move: Move) -> int:
        """Have another version take over what waits for one that it took the place of; returns how many jobs that is."""
        with self._database.write() as connection:
            return move_jobs(connection, move)

    def add_check(self, check: GoldenCheck, *, events: Iterable[Event] = ()) -> None:
        """Keep how the golden cases of a version went."""
        values = _values(check) | {"cases": [dict(case) for case in check.cases]}
        with self._database.write() as connection:
            connection.execute(insert(golden_check).values(**values))
            record(connection, events)

    def latest_checks(self) -> dict[str, GoldenCheck]:
        """How the golden cases of each version went last, by the digest of its content."""
        latest = select(func.max(golden_check.c.check_id)).group_by(golden_check.c.content_sha256)
        columns = [golden_check.c[name] for name in GoldenCheck.__dataclass_fields__]
        query = select(*columns).where(golden_check.c.check_id.in_(latest))
        with self._database.read() as connection:
            found = [GoldenCheck(**{**row._mapping, "cases": tuple(row.cases)}) for row in connection.execute(query)]
        return {check.content_sha256: check for check in found}

    def _set(
        self, name: str, values: dict[str, Any], events: Iterable[Event], move: Move | None = None, *, of: str | None
    ) -> None:
        """of: the version that gets a role by it."""
        with self._database.write() as connection:
            require_kept(connection, of)
            _role(connection, name)
            _change(connection, name, values, move, events)


def read_disabled(connection: Connection) -> frozenset[str]:
    query = select(model_role.c.name).where(model_role.c.disabled_at.is_not(None))
    return frozenset(connection.execute(query).scalars())


def _role(connection: Connection, name: str) -> ModelRole:
    """As it stands; made where there is none."""
    found = connection.execute(select(model_role).where(model_role.c.name == name)).first()
    if found is not None:
        return ModelRole(**found._mapping)
    connection.execute(insert(model_role).values(name=name))
    return ModelRole(name)


def _change(
    connection: Connection, name: str, values: dict[str, Any], move: Move | None, events: Iterable[Event]
) -> None:
    connection.execute(update(model_role).where(model_role.c.name == name).values(**values))
    connection.execute(update(model_change).values(number=model_change.c.number + 1))
    if move is not None:
        move_jobs(connection, move)
    record(connection, events)


def _values(item: ModelVersion | GoldenCheck) -> dict[str, Any]:
    return {name: getattr(item, name) for name in item.__dataclass_fields__}
