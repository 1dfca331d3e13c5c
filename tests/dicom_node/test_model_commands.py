"""`dicom-node models`: a package is made, checked and listed, and what is wrong with one is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from model_signing import signing
from typer.testing import CliRunner, Result

from dicom_node import model_commands
from dicom_node.cli import app
from tests.acceptance.node import configuration
from tests.inference.test_signed import certificate, flipped, keys, sign


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


def rows(checked: Result) -> list[tuple[str, str]]:
    """The first two columns of what `check` prints: the step, and whether it holds."""
    words = [line.split() for line in checked.output.splitlines()]
    steps = {"signature": 1, "manifest": 3, "weights": 1, "golden": 8}
    return [
        (found[0], next(word for word in found[steps[found[0]] :] if word in ("ok", "failed")))
        for found in words
        if found and found[0] in steps
    ]


def test_a_package_is_checked_for_whose_signature_it_carries_before_anything_of_it_is_read(tmp_path: Path) -> None:
    private, public = keys(tmp_path, "vendor")
    other = keys(tmp_path, "other")[1]
    models("new", "demo-seg")
    unsigned = models("check", "demo-seg", "--public-key", str(public))
    assert (unsigned.exit_code, rows(unsigned)) == (1, [("signature", "failed")])
    assert "holds no model.sig" in unsigned.output
    sign(signing.Config().use_elliptic_key_signer(private_key=private), Path("demo-seg"))
    signed = models("check", "demo-seg", "--device", "cpu", "--public-key", str(public))
    assert signed.exit_code == 0, signed.output
    assert rows(signed) == [(step, "ok") for step in ("signature", "manifest", "weights", "golden")]
    by_another = models("check", "demo-seg", "--public-key", str(other))
    assert (by_another.exit_code, rows(by_another)) == (1, [("signature", "failed")])
    flipped(Path("demo-seg"), "model.yaml")
    changed = models("check", "demo-seg", "--public-key", str(public))
    assert (changed.exit_code, rows(changed)) == (1, [("signature", "failed")])
    assert "must be as it was signed" in " ".join(changed.output.split())


def test_a_package_is_checked_against_the_certificates_of_its_signer(tmp_path: Path) -> None:
    models("new", "demo-seg")
    for name in ("ca", "elsewhere"):
        certificate(tmp_path, f"leaf_{name}", by=certificate(tmp_path, name, by=None))
    by = signing.Config().use_certificate_signer(
        private_key=tmp_path / "leaf_ca.key",
        signing_certificate=tmp_path / "leaf_ca.pem",
        certificate_chain=[tmp_path / "ca.pem"],
    )
    sign(by, Path("demo-seg"))
    assert rows(models("check", "demo-seg", "--certificate", "ca.pem"))[0] == ("signature", "ok")
    assert rows(models("check", "demo-seg", "--certificate", "elsewhere.pem")) == [("signature", "failed")]


def test_whose_signature_it_must_be_is_said_in_one_way(tmp_path: Path) -> None:
    keys(tmp_path, "vendor")
    both = models("check", ".", "--public-key", "vendor.pub", "--certificate", "vendor.pub")
    assert both.exit_code == 1
    assert "give one of them" in str(both.exception)
    assert models("check", ".", "--public-key", "nowhere.pub").exit_code == 2


def test_a_name_that_no_model_can_have_is_refused(tmp_path: Path) -> None:
    refused = models("new", "Démo")
    assert refused.exit_code != 0
    assert not Path("Démo").exists()
