"""A model that is pinned to its content is that content or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dicom_node.config import Config
from dicom_node.config_file import load_config
from dicom_node.models import problem_of, routable_models
from inference.errors import PackageError
from inference.package import load_package
from inference.scaffold import write_package
from tests.acceptance.node import configuration


def pinned(folder: Path, sha256: str | None, *, enabled: bool = True) -> Config:
    model = {"name": "demo_seg", "folder": str(folder / "demo"), "enabled": enabled}
    routes = [{"name": "all", "models": ["demo_seg"], "destinations": ["results"]}]
    tree = configuration(models=[model | ({"sha256": sha256} if sha256 else {})], routes=routes)
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    return load_config(folder / "config.yaml")


def test_a_model_is_taken_by_the_digest_of_its_content(tmp_path: Path) -> None:
    digest = load_package(write_package(tmp_path / "demo", "demo_seg")).content_sha256
    for sha256 in (digest, None):
        config = pinned(tmp_path, sha256)
        assert routable_models(config)["demo_seg"].package.content_sha256 == digest
        assert problem_of(config.models[0]) is None


def test_any_other_content_is_refused_when_the_node_starts_and_by_the_check(tmp_path: Path) -> None:
    folder = write_package(tmp_path / "demo", "demo_seg")
    digest = load_package(folder).content_sha256
    (folder / "README.md").write_text("added since")
    config = pinned(tmp_path, digest)
    with pytest.raises(PackageError, match=f"sha256 of config.yaml is {digest}, but the content"):
        routable_models(config)
    assert "pin the new one" in (problem_of(config.models[0]) or "")


def test_a_model_that_is_switched_off_is_not_held_to_its_pin(tmp_path: Path) -> None:
    write_package(tmp_path / "demo", "demo_seg")
    assert "demo_seg" not in routable_models(pinned(tmp_path, "0" * 64, enabled=False))
