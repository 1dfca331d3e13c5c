"""The configured models with their verified packages."""

from __future__ import annotations

from pathlib import Path

from dicom_node.config import Config, Model
from dicom_node.routing import RoutableModel
from inference.errors import PackageError
from inference.package import Package
from inference.registry import Registry
from inference.signed import Signers, require_signed


def routable_models(config: Config) -> dict[str, RoutableModel]:
    """The configured models, by the name that routes use. Raises PackageError for one that is not as it says.

    One that is switched off need not be installed, and is left out then.
    """
    for model in config.models:
        check_signature(model)
    registry = Registry([model.folder for model in config.models if model.folder and model.enabled])
    models = {}
    for model in config.models:
        try:
            package = registry.get(model.name)
        except PackageError:
            if model.enabled:
                raise
            continue
        if model.enabled:
            check_content(model, package)
        timeout_s = model.timeout_s or package.manifest.resources.timeout_s
        models[model.name] = RoutableModel(package, model.enabled, timeout_s, model.device)
    return models


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
