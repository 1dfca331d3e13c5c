"""On a person's word: a version runs beside the active one, or does not any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dicom_node.activation import brought, check_of, entry_of, judge
from dicom_node.config import Config
from dicom_node.errors import NodeError
from dicom_node.stores import Stores
from dicom_node.versions import Versions
from storage.records.events import Event
from storage.records.models import ModelRole, ModelVersion


@dataclass(frozen=True, slots=True)
class Begun:
    """refusals: why the version does not run beside the other one; none where it does."""

    version: ModelVersion
    beside: ModelVersion
    refusals: tuple[str, ...]


def begin(config: Config, stores: Stores, versions: Versions, what: str, *, without_golden_cases: bool) -> Begun:
    """what: NAME@VERSION, or the folder of a package, of which golden cases must pass; it need not be better than another.

    Raises NodeError where nobody knows it, or where it has another role.
    """
    version = brought(what, config, versions)
    entry = entry_of(config, version.name)
    role = stores.models.roles().get(version.name) or ModelRole(version.name)
    active = versions.known(role.active_sha256)
    if active is None or version.content_sha256 in (role.active_sha256, role.canary_sha256):
        raise NodeError(
            f"{version.key}: there must be another version that is active, and this one neither that nor canary"
        )
    package = versions.package(version)
    device: Literal["auto", "cpu", "cuda"] = entry.device if entry else "auto"
    judgement = judge(package, None, device, without_golden_cases=without_golden_cases)
    if judgement.verdicts:
        stores.models.add_check(check_of(package, device, judgement))
    if not judgement.refusals:
        stores.shadows.drop(version.name, f"{version.key} runs beside {active.key} now")
        text = f"{version.key} runs beside {active.key}; nothing of it is sent"
        event = Event("shadow_began", text, data={"content_sha256": version.content_sha256})
        stores.models.set_shadow(version.name, version.content_sha256, events=[event])
    return Begun(version, active, judgement.refusals)


def end(stores: Stores, versions: Versions, name: str) -> tuple[ModelVersion, int]:
    """Which version ran beside another, and how many of its jobs did not start. What was compared stays."""
    role = stores.models.roles().get(name) or ModelRole(name)
    version = versions.known(role.shadow_sha256)
    if version is None:
        raise NodeError(f"{name}: no version of it runs beside the active one")
    event = Event("shadow_ended", f"{version.key} does not run beside another version any more")
    stores.models.set_shadow(name, None, events=[event])
    return version, stores.shadows.drop(name, "it does not run beside another version any more")
