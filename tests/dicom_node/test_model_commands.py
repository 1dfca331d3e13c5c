"""`dicom-node models`: a package is made, checked and listed, and what is wrong with one is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from dicom_node import model_commands
from dicom_node.cli import app
from tests.acceptance.node import configuration


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(model_commands.out, "width", 200)  # it may have been made before


def models(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["models", *arguments])


def test_a_new_package_is_checked_and_listed(tmp_path: Path) -> None:
    written = models("new", "demo-seg")
    assert written.exit_code == 0
    assert "dicom-node models check demo-seg" in written.output
    checked = models("check", "demo-seg", "--device", "cpu")
    assert checked.exit_code == 0
    assert checked.output.count(" ok ") == 3
    routes = [{"name": "all", "models": ["demo_seg"], "destinations": ["results"]}]
    tree = configuration(routes=routes) | {"models": [{"name": "demo_seg", "folder": "demo-seg"}]}
    Path("config.yaml").write_text(yaml.safe_dump(tree))
    listed = models("list")
    assert listed.exit_code == 0
    lines = [line.split() for line in listed.output.splitlines()]
    assert ["demo_seg@1.0.0", "torch_export", "configured"] in [line[:3] for line in lines]
    assert ["ct_lung_density@1.0.0", "python", "-"] in [line[:3] for line in lines]


def test_a_package_that_fails_a_step_is_told_and_ends_with_1(tmp_path: Path) -> None:
    models("new", "demo-seg")
    Path("demo-seg/network.pt2").write_bytes(b"other")
    checked = models("check", "demo-seg")
    assert checked.exit_code == 1
    assert "failed" in checked.output
    assert "SHA-256 must be" in checked.output


def test_a_name_that_no_model_can_have_is_refused(tmp_path: Path) -> None:
    refused = models("new", "Démo")
    assert refused.exit_code != 0
    assert not Path("Démo").exists()
