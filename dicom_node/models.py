"""The configured models with their verified packages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dicom_node.config import Config, Model
from dicom_node.routing import RoutableModel
from inference.errors import PackageError
from inference.package import Package
from inference.registry import Registry
from inference.signed import Signers, require_signed

PackageOf = Callable[[str], Package | None]


def routable_models(config: Config, chosen: Sequence[Model] | None = None) -> dict[str, RoutableModel]:
    """The configured models, by the name that routes use. Raises PackageError for one that is not as it says.

    One that is switched off need not be installed, and is left out then. chosen: of these alone.
    """
    wanted = config.models if chosen is None else chosen
    for model in wanted:
        check_signature(model)
    registry = Registry([model.folder for model in wanted if model.folder and model.enabled])
    models = {}
    for model in wanted:
        try:
            package = registry.get(model.name)
        except PackageError:
            if model.enabled:
                raise
            continue
        if model.enabled:
            check_content(model, package)
        models[model.name] = routable(model, package)
    return models


def routable(model: Model, package: Package) -> RoutableModel:
    """A package as the configuration has it run."""
    return RoutableModel(package, model.enabled, timeout_of(model, package), model.device)


def timeout_of(model: Model | None, package: Package) -> float:
    """Longest run of one job, in seconds."""
    return (model.timeout_s if model else None) or package.manifest.resources.timeout_s


def no_other(_key: str) -> Package | None:
    """Where no version is known but those that are active."""
    return None


def model_of(models: Mapping[str, RoutableModel], key: str, package_of: PackageOf = no_other) -> RoutableModel | None:
    """How the version called name@version is run, whatever it does now; None where its model is not configured any more.

    package_of: of versions that are neither active nor canary.
    """
    for name in (key, key.partition("@")[0]):
        entry = models.get(name)
        if entry is None:
            continue
        if entry.package.key == key:
            return entry
        other = entry.canary.package if entry.canary and entry.canary.package.key == key else package_of(key)
        if other is not None:
            return replace(entry, package=other)
    return next((item for item in models.values() if item.package.key == key), None)


def problem_of(model: Model) -> str | None:
    """What keeps this model from being loaded, in words; None where nothing does."""
    try:
        check_signature(model)
        check_content(model, Registry([model.folder] if model.folder else []).get(model.name))
    except PackageError as error:
        return str(error)
    return None


def check_signature(model: Model, folder: Path | None = None) -> None:
    """Raises PackageError where the configuration asks for a signature that the package does not carry.

    folder: of the package, if another than the one that is configured.
    """
    found = folder or model.folder
    if model.enabled and model.signature is not None and found is not None:
        require_signed(found, Signers(model.signature.public_key, model.signature.certificates))


def check_content(model: Model, package: Package) -> None:
    """Raises PackageError where the configuration pins the model to another content than its package has."""
    if model.sha256 is not None and model.sha256 != package.content_sha256:
        raise PackageError(
            f"model {model.name}: sha256 of config.yaml is {model.sha256}, but the content of {package.folder} is"
            f" {package.content_sha256}: fetch the package again, or pin the new one"
        )
