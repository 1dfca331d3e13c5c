"""What is said of models that do not run, or do not answer as they should."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dicom_node.terminal import moment
from storage.models import Models
from storage.records.models import ModelRole, ModelVersion


def disabled_words(role: ModelRole) -> str:
    """Of a model that the kill switch is thrown for."""
    return f"disabled: {role.disabled_reason}"


def wrong_models(rows: Models) -> tuple[str, ...]:
    """Models that are disabled, and versions in use whose golden cases failed when they were run last; a sentence each."""
    roles, checks = rows.roles(), rows.latest_checks()
    known = {item.content_sha256: item.key for item in rows.versions()}
    found = [
        f"model {name} is {disabled_words(role)}; since {moment(role.disabled_at)}"
        for name, role in sorted(roles.items())
        if role.disabled
    ]
    for role in roles.values():
        for content_sha256 in (role.active_sha256, role.canary_sha256):
            check = checks.get(content_sha256 or "")
            if check is not None and not check.passed:
                found.append(
                    f"golden cases of {known[check.content_sha256]} failed at {moment(check.at)}: {check.words}"
                )
    return tuple(found)


def held_words(roles: Mapping[str, ModelRole], model: str) -> str | None:
    """Why a version (name@version) does not run, in words; None where nothing keeps it."""
    role = roles.get(model.partition("@")[0])
    return None if role is None or not role.disabled else f"its model is {disabled_words(role)}"


def removed_words(versions: Iterable[ModelVersion], model: str, content_sha256: str | None = None) -> str | None:
    """Why a version (name@version) is not here, and how to get it back; None where it was not removed.

    content_sha256: of the one that is meant, if not of any.
    """
    for item in versions:
        if item.removed_at is not None and item.key == model and content_sha256 in (None, item.content_sha256):
            return (
                f"model {model}: was removed {moment(item.removed_at)}; dicom-node models add FOLDER keeps it again, of the"
                f" folder of its package, which was {item.source} and must have the content {item.content_sha256}"
            )
    return None
