"""The configured models with their verified packages."""

from __future__ import annotations

from dicom_node.config import Config
from dicom_node.routing import RoutableModel
from inference.registry import Registry


def routable_models(config: Config) -> dict[str, RoutableModel]:
    """Every configured model, by the name that routes use. Raises PackageError for one that is not as it says."""
    registry = Registry([model.folder for model in config.models if model.folder])
    models = {}
    for model in config.models:
        package = registry.get(model.name)
        timeout_s = model.timeout_s or package.manifest.resources.timeout_s
        models[model.name] = RoutableModel(package, model.enabled, timeout_s, model.device)
    return models
