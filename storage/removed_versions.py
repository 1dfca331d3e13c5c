"""Versions of models whose files are not kept any more. Their rows stay: results were made by them, and name them."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from storage.errors import VersionNeeded, VersionRemoved
from storage.events import record
from storage.model_schema import model_role, model_version
from storage.records.events import Event
from storage.schema import job

_ROLES = {
    "active_sha256": "is the active version: activate another one first",
    "previous_sha256": "is what a rollback returns to: that ends once another version is activated",
    "canary_sha256": "takes a share of the studies: dicom-node models canary {key} --share 0 ends that",
    "shadow_sha256": "runs beside the active version: dicom-node models shadow {name} --off ends that",
}


def mark_removed(connection: Connection, content_sha256: str, event: Event) -> None:
    """Raises VersionNeeded, and changes nothing, where a role or a job that did not end needs the version."""
    row = _version(connection, content_sha256)
    key = f"{row.name}@{row.version}"
    if reasons := _needed(connection, row, key):
        raise VersionNeeded(f"{key} cannot be removed: it {'; and it '.join(reasons)}")
    found = model_version.c.content_sha256 == content_sha256
    connection.execute(update(model_version).where(found).values(removed_at=time.time()))
    record(connection, [event])


def mark_restored(connection: Connection, content_sha256: str, source: str) -> None:
    """Its files are kept again. No change where they were never removed."""
    row = _version(connection, content_sha256)
    if row.removed_at is None:
        return
    found = model_version.c.content_sha256 == content_sha256
    connection.execute(update(model_version).where(found).values(removed_at=None, source=source))
    text = f"{row.name}@{row.version} is kept again, as it was before it was removed"
    record(connection, [Event("model_restored", text, data={"content_sha256": content_sha256})])


def require_kept(connection: Connection, content_sha256: str | None) -> None:
    """Raises VersionRemoved for a version that was removed, be it a moment ago; not for None."""
    query = select(model_version).where(
        model_version.c.content_sha256 == content_sha256, model_version.c.removed_at.is_not(None)
    )
    row = connection.execute(query).first()
    if row is not None:
        raise VersionRemoved(f"{row.name}@{row.version} was removed meanwhile: bring its package again")


def _version(connection: Connection, content_sha256: str) -> Row[Any]:
    return connection.execute(select(model_version).where(model_version.c.content_sha256 == content_sha256)).one()


def _needed(connection: Connection, version: Row[Any], key: str) -> list[str]:
    """What needs it, in words."""
    role = connection.execute(select(model_role).where(model_role.c.name == version.name)).first()
    reasons = [
        words.format(key=key, name=version.name)
        for column, words in _ROLES.items()
        if role is not None and role._mapping[column] == version.content_sha256
    ]
    counts = select(job.c.state, func.count()).where(
        job.c.model == key, job.c.state.in_(("waiting", "ready", "running"))
    )
    found: dict[str, int] = {row[0]: row[1] for row in connection.execute(counts.group_by(job.c.state))}
    running = found.pop("running", 0)
    if running:
        reasons.append(f"runs in {running} job{'' if running == 1 else 's'}: wait until they end")
    if waiting := sum(found.values()):
        reasons.append(f"is needed by {waiting} job{'' if waiting == 1 else 's'} that wait: those must end first")
    return reasons
