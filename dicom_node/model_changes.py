"""Changes of models on a person's word: which version is active, which is tried on a share of the studies, which is off."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dicom_node.activation import Judgement, brought, check_of, entry_of, judge, measure
from dicom_node.config import Config
from dicom_node.errors import NodeError
from dicom_node.model_words import removed_words
from dicom_node.versions import Versions
from inference.errors import PackageError
from inference.registry import Registry
from storage.models import Models
from storage.records.events import Event
from storage.records.models import ModelRole, ModelVersion


@dataclass(frozen=True, slots=True)
class Changed:
    """What a command came to. former: the version that was active before. judgement: what was held against each other, where
    anything was; with its refusals nothing changed."""

    version: ModelVersion
    former: ModelVersion | None
    judgement: Judgement


class Changes:
    def __init__(self, config: Config, models: Models, versions: Versions) -> None:
        self._config = config
        self._models = models
        self._versions = versions

    def activate(self, what: str, *, without_golden_cases: bool) -> Changed:
        """Make a version the active one, where its golden cases pass and it is not worse than the one before.

        what: NAME@VERSION, or the folder of a package. Raises NodeError where it is active already, or nobody knows it.
        """
        version = brought(what, self._config, self._versions)
        role, former = self._role(version.name)
        if role.active_sha256 == version.content_sha256:
            raise NodeError(f"{version.key} is active already")
        changed = self._judged(version, former, without_golden_cases=without_golden_cases)
        if not changed.judgement.refusals:
            text = f"{version.key} was activated"
            self._make_active(version, role, Event("model_activated", text, data=_contents(version, role)))
        return changed

    def rollback(self, name: str) -> tuple[ModelVersion, ModelVersion]:
        """Make the version active again that was before this one; returns it, and the one that it takes the place of.

        Nothing is run first: it must be effective on the next job, and was active before.
        """
        role, former = self._role(name)
        version = self._versions.known(role.previous_sha256)
        if version is None or former is None:
            raise NodeError(f"{name}: no version was active before; dicom-node models list shows what is known")
        text = f"{former.key} was rolled back to {version.key}"
        self._make_active(version, role, Event("model_rolled_back", text, data=_contents(version, role)))
        return version, former

    def canary(self, what: str, share: float, *, without_golden_cases: bool) -> Changed:
        """Have a version take the place of the active one for a share of the studies, 0 to 1; where it might be activated."""
        version = brought(what, self._config, self._versions)
        active = self._role(version.name)[1]
        if active is None or active.content_sha256 == version.content_sha256:
            raise NodeError(f"{version.key}: there must be another version that is active; activate this one instead")
        changed = self._judged(version, active, without_golden_cases=without_golden_cases)
        if not changed.judgement.refusals:
            text = f"{version.key} takes {share:.0%} of the studies, {active.key} the rest"
            event = Event("canary_began", text, data={"content_sha256": version.content_sha256, "share": share})
            self._models.set_canary(version.name, version.content_sha256, share, events=[event])
        return changed

    def end_canary(self, name: str) -> ModelVersion:
        """Give all studies to the active version again, and what waits for the canary; returns that one."""
        role, active = self._role(name)
        canary = self._versions.known(role.canary_sha256)
        if canary is None or active is None:
            raise NodeError(f"{name} has no canary")
        text = f"{canary.key} takes no study any more, {active.key} takes all"
        move = self._versions.move_to(self._versions.package(active), entry_of(self._config, name), text)
        self._models.set_canary(name, None, None, move=move, events=[Event("canary_ended", text)])
        return canary

    def disable(self, name: str, reason: str) -> None:
        """Throw the kill switch: what runs is stopped, nothing starts, and what waits to be sent is held back."""
        self._require_known(name)
        text = f"{name} is disabled in all its versions, and what it found is held back: {reason}"
        if not self._models.disable(name, reason, by="command", events=[Event("model_disabled", text, "alarm")]):
            raise NodeError(f"{name} is disabled already")

    def enable(self, name: str) -> None:
        """Let it run again, and what it found go."""
        self._require_known(name)
        text = f"{name} is enabled again: its jobs run, and what it found goes to its destinations"
        if not self._models.enable(name, events=[Event("model_enabled", text)]):
            raise NodeError(f"{name} is not disabled")

    def add(self, what: str) -> ModelVersion:
        """Keep a version; it does nothing until it is given a role."""
        return brought(what, self._config, self._versions)

    def remove(self, key: str) -> tuple[ModelVersion, int]:
        """Take a version's files away that nothing needs; returns it, and how many bytes that frees.

        What it found stays, and says by which version it was found. Raises NodeError or VersionNeeded where it is needed.
        """
        version = self._versions.keyed(key)
        if version is None:
            raise NodeError(f"{key}: no version is called so; dicom-node models list shows those that are known")
        if version.built_in:
            raise NodeError(f"{key}: belongs to the installation, and goes with it")
        self._require_unnamed(version)
        text = f"{key} was removed: what it found stays, and cannot be reproduced until its package is added again"
        freed_bytes = self._versions.remove(
            version, Event("model_removed", text, data={"content_sha256": version.content_sha256})
        )
        if version.removed_at is not None and not freed_bytes:
            raise NodeError(removed_words([version], key))
        return version, freed_bytes

    def _require_unnamed(self, version: ModelVersion) -> None:
        """What config.yaml names would be taken up again with the next start."""
        for entry in self._config.models:
            if entry.name == version.key:
                raise NodeError(f"{version.key} cannot be removed: config.yaml holds {version.name} to it")
            if entry.name == version.name and version.content_sha256 in _held_in(entry.folder):
                raise NodeError(
                    f"{version.key} cannot be removed: {entry.folder}, which config.yaml names, holds it, so that the next start"
                    " would take it up again; put another version there"
                )

    def _judged(self, version: ModelVersion, active: ModelVersion | None, *, without_golden_cases: bool) -> Changed:
        entry = entry_of(self._config, version.name)
        device: Literal["auto", "cpu", "cuda"] = entry.device if entry else "auto"
        package = self._versions.package(version)
        before = None if active is None else self._versions.package_of(active.key)
        judgement = judge(package, before, device, without_golden_cases=without_golden_cases)
        if judgement.verdicts:
            self._models.add_check(check_of(package, device, judgement), events=self._refused(version, judgement))
        if not judgement.refusals:
            measure(package, device)
        return Changed(version, active, judgement)

    def _refused(self, version: ModelVersion, judgement: Judgement) -> list[Event]:
        if not judgement.refusals:
            return []
        return [
            Event("activation_refused", f"{version.key} was not activated: {'; '.join(judgement.refusals)}", "warning")
        ]

    def _make_active(self, version: ModelVersion, role: ModelRole, event: Event) -> None:
        entry = entry_of(self._config, version.name)
        canary = self._versions.known(role.canary_sha256)
        kept = [] if canary is None else [canary.key]
        move = self._versions.move_to(self._versions.package(version), entry, event.text, kept=kept)
        done = self._models.activate(
            version.name,
            version.content_sha256,
            by="command",
            instead_of=role.active_sha256,
            move=move,
            events=[event],
        )
        if not done:
            raise NodeError(f"{version.name}: another version became active meanwhile; look at dicom-node models list")

    def _role(self, name: str) -> tuple[ModelRole, ModelVersion | None]:
        entry_of(self._config, name)
        role = self._models.roles().get(name) or ModelRole(name)
        return role, self._versions.known(role.active_sha256)

    def _require_known(self, name: str) -> None:
        names = {item.name for item in self._models.versions()}
        names |= {item.name.partition("@")[0] for item in self._config.models}
        if name not in names:
            raise NodeError(f"{name}: no model is called so; known: {', '.join(sorted(names)) or 'none'}")


def _contents(version: ModelVersion, role: ModelRole) -> dict[str, str | None]:
    return {"content_sha256": version.content_sha256, "before": role.active_sha256}


def _held_in(folder: Path | None) -> frozenset[str]:
    """The contents of the packages there; none of a folder with a broken one, which nothing would be taken up from."""
    try:
        return frozenset(item.content_sha256 for item in Registry([folder] if folder else []))
    except (PackageError, OSError):
        return frozenset()
