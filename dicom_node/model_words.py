"""What is said of models that do not run, or do not answer as they should."""

from __future__ import annotations

from collections.abc import Mapping

from dicom_node.terminal import moment
from storage.models import Models
from storage.records.models import ModelRole


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
