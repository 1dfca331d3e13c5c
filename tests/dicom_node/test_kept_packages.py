"""The package that made a result is found wherever it is kept now, and no other is taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dicom_node.config import Config
from dicom_node.config_file import load_config
from dicom_node.errors import NodeError
from dicom_node.kept_packages import package_with
from inference.package import MANIFEST, Package
from inference.registry import Registry
from inference.version_store import VersionStore
from storage.records.models import ModelVersion
from tests.acceptance.node import configuration
from tests.inference.made_models import package

KEY = "demo_seg@1.0.0"


@pytest.fixture
def made(tmp_path: Path) -> tuple[Config, Package]:
    """A package in a folder that the configuration names."""
    brought = package(tmp_path / "demo_seg", b"weights")
    path = tmp_path / "config.yaml"
    routes = [{"name": "all", "models": ["demo_seg"], "destinations": ["results"]}]
    tree = configuration(models=[{"name": "demo_seg", "folder": "demo_seg"}], routes=routes)
    path.write_text(yaml.safe_dump(tree))
    return load_config(path), brought


def change(of: Package) -> None:
    """Another content under the same version."""
    manifest = of.folder / MANIFEST
    manifest.write_text(manifest.read_text().replace("title: Demo", "title: Other"))


def test_a_package_is_found_in_the_folder_that_is_configured_and_among_those_built_in(
    made: tuple[Config, Package],
) -> None:
    config, brought = made
    assert package_with(config)(KEY, brought.content_sha256).folder == brought.folder
    built_in = Registry().get("ct_lung_density")
    assert package_with(config)(built_in.key, built_in.content_sha256).folder == built_in.folder


def test_a_version_that_the_node_keeps_is_found_whatever_became_of_its_folder(made: tuple[Config, Package]) -> None:
    config, brought = made
    kept = VersionStore(config.versions_folder).add(brought)
    change(brought)
    assert package_with(config)(KEY, brought.content_sha256).folder == kept.folder


def test_another_content_under_the_same_version_is_told_and_not_taken(made: tuple[Config, Package]) -> None:
    config, brought = made
    change(brought)
    with pytest.raises(NodeError, match=f"model {KEY}: must have the content {brought.content_sha256}, but what is"):
        package_with(config)(KEY, brought.content_sha256)


def test_a_version_that_was_removed_is_told_with_where_it_came_from(made: tuple[Config, Package]) -> None:
    config, brought = made
    change(brought)
    row = ModelVersion(brought.content_sha256, "demo_seg", "1.0.0", False, 1.0, "/media/vendor", removed_at=1.77e9)
    with pytest.raises(NodeError) as refused:
        package_with(config, [row])(KEY, brought.content_sha256)
    text = str(refused.value)
    assert text.startswith(f"model {KEY}: was removed 2026-02-")
    assert "dicom-node models add FOLDER" in text
    assert f"which was /media/vendor and must have the content {brought.content_sha256}" in text


def test_a_version_that_is_gone_is_said_to_be(made: tuple[Config, Package]) -> None:
    config, brought = made
    with pytest.raises(NodeError, match=r"model demo_seg@2\.0\.0: is not here any more"):
        package_with(config)("demo_seg@2.0.0", brought.content_sha256)
