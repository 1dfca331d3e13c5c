"""Which version of a model does what now: by the roles in the database, and by config.yaml where there are none yet.

What the configuration names is taken up once, as the version that its folder holds then. From there on only the commands of
`dicom-node models` make another version the active one, since they run golden cases first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dicom_node import logs
from dicom_node.config import Config, Model, Signature
from dicom_node.config_file import load_config
from dicom_node.errors import ConfigError, NodeError
from dicom_node.models import check_content, check_signature, problem_of, routable, routable_models, timeout_of
from dicom_node.routing import Canary, RoutableModel
from dicom_node.stores import Stores
from inference.errors import PackageError
from inference.manifest import PythonRuntime
from inference.package import Package
from inference.registry import Registry
from inference.version_store import VersionStore
from storage.database import Database
from storage.errors import OutdatedDatabase, StorageError, VersionTaken
from storage.models import Models
from storage.moved_jobs import Move
from storage.records.events import Event
from storage.records.models import ModelRole, ModelVersion

log = logs.get("models")


class Versions:
    """The versions that are known, and their packages. Not safe for threads."""

    def __init__(self, models: Models, folder: Path) -> None:
        """folder: where copies of packages are kept."""
        self._models = models
        self._store = VersionStore(folder)
        self._known: dict[str, ModelVersion] = {}
        self._signed: set[tuple[str, Signature | None]] = set()

    def routable(self, config: Config) -> dict[str, RoutableModel]:
        """As `routable_models`, with the versions that are active now, and the canary of each.

        Raises PackageError where a version cannot be used, NodeError where a model has neither a version nor a package.
        """
        roles = self._models.roles()
        found: dict[str, RoutableModel] = {}
        for model in config.models:
            role = roles.get(model.name)
            if role is None or role.active_sha256 is None:
                found |= routable_models(config, [model])
                continue
            package = self._of_role(role.active_sha256, model)
            if package is not None:
                found[model.name] = replace(routable(model, package), canary=self._canary(role, model))
        return found

    def problem_of(self, model: Model) -> str | None:
        """What keeps this model from being loaded, in words; None where nothing does."""
        try:
            self.routable(Config(models=(model,)))
        except (PackageError, NodeError) as error:
            return str(error)
        return None

    def take_up(self, config: Config) -> tuple[Event, ...]:
        """Keep what the configuration names, and make it active where no version is; returns what is to be said of it.

        What a folder holds by now beside the active version is kept too, so that it can be activated, and does nothing.
        """
        said: list[Event] = []
        for model in config.models:
            if not model.enabled:
                continue
            role = self._models.roles().get(model.name)
            active = None if role is None else self.known(role.active_sha256)
            try:
                check_signature(model)
                package = Registry([model.folder] if model.folder else []).get(model.name)
                check_content(model, package)
                self._bring(model, package, active)
            except (PackageError, VersionTaken) as error:
                if active is None:
                    raise NodeError(str(error)) from error
                said.append(Event("model_not_taken_up", f"{active.key} stays active: {error}", "alarm"))
            else:
                if active is not None and not active.built_in and active.content_sha256 != package.content_sha256:
                    text = f"{model.folder or 'the installation'} holds {package.key}, but {active.key} is active: "
                    text += f"dicom-node models activate {package.key}, if it is to take its place"
                    said.append(Event("model_waits", text))
        return tuple(said)

    def add(self, package: Package) -> ModelVersion:
        """Keep a version of a model. Raises VersionTaken where its name and version have another content."""
        built_in = isinstance(package.manifest.runtime, PythonRuntime)
        manifest = package.manifest
        new = ModelVersion(
            package.content_sha256, manifest.name, manifest.version, built_in, time.time(), str(package.folder)
        )
        self._models.add(new)  # first: it refuses what may not be there
        self._store.add(package)
        self._known[new.content_sha256] = new
        return new

    def require_signed(self, content_sha256: str, model: Model) -> None:
        """Raises PackageError where the configuration asks for a signature that a kept version does not carry.

        Verified once in this process, as its content is.
        """
        if (content_sha256, model.signature) not in self._signed:
            check_signature(model, self._store.folder_of(content_sha256))
            self._signed.add((content_sha256, model.signature))

    def remove(self, version: ModelVersion, event: Event) -> int:
        """Take the copy of a version away that has no role and no job to run, and say so; returns how many bytes that frees.

        Raises VersionNeeded where it has. What an interrupted removal left goes, too.
        """
        if version.removed_at is None:
            self._models.remove(version.content_sha256, event)  # first: from now on nobody gives it a role
        self._known.pop(version.content_sha256, None)
        return self._store.remove(version.content_sha256)

    def known(self, content_sha256: str | None) -> ModelVersion | None:
        if content_sha256 is not None and content_sha256 not in self._known:
            self._known = {item.content_sha256: item for item in self._models.versions()}
        return None if content_sha256 is None else self._known.get(content_sha256)

    def keyed(self, key: str) -> ModelVersion | None:
        """The version called name@version; of several contents that the installation brought, the last."""
        found = [item for item in self._models.versions() if item.key == key]
        return found[-1] if found else None

    def package(self, version: ModelVersion) -> Package:
        """Raises PackageError where it is not what it was taken up as."""
        if not version.built_in:
            return self._store.package(version.content_sha256)
        package = Registry().get(version.name)
        if package.content_sha256 != version.content_sha256:
            raise PackageError(f"{version.key}: the installation brings another content of it by now, and runs that")
        return package

    def package_of(self, key: str) -> Package | None:
        """Of the version called name@version, whatever it does now; None where it is not known, or cannot be used."""
        version = self.keyed(key)
        if version is None or version.removed_at is not None:
            return None
        try:
            return self.package(version)
        except PackageError as error:
            log.error("a version of a model cannot be used", model=key, error=error)
            return None

    def package_of_content(self, content_sha256: str) -> Package | None:
        """Of the version with that content; None where it is not known, or cannot be used."""
        version = self.known(content_sha256)
        return None if version is None else self.package_of(version.key)

    def move_to(self, package: Package, entry: Model | None, why: str, *, kept: Collection[str] = ()) -> Move:
        """What takes the waiting jobs of all other versions of a model to this one; not of those that are `kept`, by their keys.

        entry: how the configuration has the model run.
        """
        companions, read_alike = package.manifest.input.companions, {}
        for version in self._models.versions():
            if version.name == package.manifest.name and version.key not in {package.key, *kept}:
                former = self.package_of(version.key)
                read_alike[version.key] = former is not None and former.manifest.input.companions == companions
        return Move(read_alike, package.key, timeout_of(entry, package), tuple(item.name for item in companions), why)

    def _bring(self, model: Model, package: Package, active: ModelVersion | None) -> None:
        new = self.add(package)
        is_renewed = active is not None and active.built_in and active.content_sha256 != new.content_sha256
        if model.name != package.manifest.name or not (active is None or is_renewed):
            return
        text = (
            f"{new.key} is active: config.yaml names it" if active is None else f"{new.key} came with the installation"
        )
        event = Event("model_activated", text, data={"content_sha256": new.content_sha256})
        self._models.activate(
            new.name,
            new.content_sha256,
            by="configuration",
            instead_of=None if active is None else active.content_sha256,
            events=[event],
        )

    def _of_role(self, content_sha256: str, model: Model) -> Package | None:
        """None of one that is switched off and cannot be used."""
        version = self.known(content_sha256)
        if version is not None and version.built_in:  # the one that the installation has
            return Registry().get(version.name)
        try:
            self.require_signed(content_sha256, model)
            return self._store.package(content_sha256)
        except PackageError:
            if model.enabled:
                raise
            return None

    def _canary(self, role: ModelRole, model: Model) -> Canary | None:
        if role.canary_sha256 is None or role.canary_share is None:
            return None
        package = self._of_role(role.canary_sha256, model)
        return None if package is None else Canary(package, role.canary_share)


def versions_of(config: Config, stores: Stores) -> Versions:
    """Those of a node, which are kept beside its data."""
    return Versions(stores.models, config.versions_folder)


def versions_in(config: Config, database: Database) -> Versions:
    """The same, by a database that may be open for reading alone."""
    return Versions(Models(database), config.versions_folder)


@contextmanager
def problems_of_models(file: Path) -> Iterator[Callable[[Model], str | None]]:
    """What keeps a model of a configuration file from being loaded: with what its node has taken up, where it has a database."""
    try:
        config = load_config(file)
        database = Database(config.database_url, read_only=True)
    except (ConfigError, StorageError):
        yield problem_of
        return
    try:
        database.assert_current()
        yield versions_in(config, database).problem_of
    except OutdatedDatabase:
        yield problem_of
    finally:
        database.close()
