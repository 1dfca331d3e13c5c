"""A package is used only when it is what its manifest says; every refusal can be repaired from its message."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom.sr._concepts_dict import concepts

from inference import package as package_module
from inference.errors import PackageError
from inference.findings import ModelCard
from inference.package import BUILT_IN, MANIFEST, load_package
from inference.registry import Registry

LUNGS = BUILT_IN / "ct_lung_density"


@pytest.fixture
def manifest() -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((LUNGS / MANIFEST).read_text())
    return tree


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that counts as built in, so that packages under test may name code."""
    monkeypatch.setattr(package_module, "BUILT_IN", tmp_path)
    folder = tmp_path / "ct_lung_density"
    folder.mkdir()
    return folder


def write(folder: Path, manifest: dict[str, Any]) -> Path:
    (folder / MANIFEST).write_text(yaml.safe_dump(manifest))
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(PackageError) as caught:
        load_package(folder)
    return str(caught.value)


def test_the_built_in_model_loads_and_says_who_it_is() -> None:
    package = load_package(LUNGS)
    identity = package.identity
    assert package.key == "ct_lung_density@1.0.0"
    assert identity.device_uid.startswith("2.25.")
    assert len(identity.device_uid) <= 64
    assert identity.limits
    assert len(identity.content_sha256) == 64


def test_the_model_card_is_carried_into_what_reports_say(home: Path, manifest: dict[str, Any]) -> None:
    metric = {"name": "Dice", "value": 0.96, "interval": [0.95, 0.97], "data": "120 chest CT"}
    card = {"population": "Adults", "training_data": "900 CT", "metrics": [metric], "qualification": "product"}
    identity = load_package(write(home, manifest | {"model_card": card})).identity
    assert identity.card == ModelCard("Adults", "900 CT", ("Dice 0.96 (0.95 to 0.97), on 120 chest CT",), "product")
    without = {key: value for key, value in manifest.items() if key != "model_card"}
    assert load_package(write(home, without)).identity.card == ModelCard()


def test_a_metric_outside_its_interval_is_refused(home: Path, manifest: dict[str, Any]) -> None:
    metric = {"name": "Dice", "value": 0.9, "interval": [0.95, 0.97], "data": "120 chest CT"}
    message = refusal(write(home, manifest | {"model_card": {"metrics": [metric]}}))
    assert "model_card.metrics[0]" in message
    assert "interval must hold the value 0.9" in message


def test_loading_models_does_not_load_torch() -> None:
    program = (
        "import sys; from inference.registry import Registry; list(Registry());"
        "sys.exit('torch' in sys.modules or 'inference.models.ct_lung_density.model' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_an_unknown_key_is_refused_with_the_nearest_one(home: Path, manifest: dict[str, Any]) -> None:
    manifest["input"]["max_slice_spacing"] = 5.0
    message = refusal(write(home, manifest))
    assert str(home / MANIFEST) in message
    assert "input.max_slice_spacing: unknown key, did you mean max_slice_spacing_mm?" in message


def test_an_unknown_key_deep_in_a_list_is_found(home: Path, manifest: dict[str, Any]) -> None:
    manifest["outputs"]["segments"][1]["type"]["meanin"] = "Lung"
    message = refusal(write(home, manifest))
    assert "outputs.segments[1].type.meanin: unknown key, did you mean meaning?" in message


def test_all_problems_are_named_at_once_with_rule_and_value(home: Path, manifest: dict[str, Any]) -> None:
    manifest["version"] = "1.0"
    manifest["resources"]["timeout_s"] = -5
    del manifest["intended_use"]
    lines = refusal(write(home, manifest)).splitlines()
    assert any("version:" in line and "'1.0'" in line for line in lines)
    assert any("resources.timeout_s:" in line and "greater than 0" in line and "-5" in line for line in lines)
    assert any("intended_use: must be given" in line for line in lines)


def test_two_outputs_of_one_key_are_refused(home: Path, manifest: dict[str, Any]) -> None:
    manifest["outputs"]["segments"].append(manifest["outputs"]["segments"][0])
    assert "key right_lung is given twice" in refusal(write(home, manifest))


def test_yaml_that_makes_objects_is_refused_and_makes_none(home: Path, tmp_path: Path) -> None:
    trace = tmp_path / "made"
    (home / MANIFEST).write_text(f"name: !!python/object/apply:os.mkdir ['{trace}']\n")
    assert "is not YAML of plain values" in refusal(home)
    assert not trace.exists()


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    assert f"{tmp_path / MANIFEST}: cannot be read" in refusal(tmp_path)


def test_code_outside_the_project_is_not_run(tmp_path: Path, manifest: dict[str, Any]) -> None:
    assert "python is for built-in models only" in refusal(write(tmp_path, manifest))
    manifest["runtime"]["entry_point"] = "os:system"
    assert "runtime.entry_point:" in refusal(write(tmp_path, manifest))


def test_weights_must_have_the_digest_that_the_manifest_gives(home: Path, manifest: dict[str, Any]) -> None:
    (home / "net.pt").write_bytes(b"weights")
    manifest["weights"] = [{"file": "net.pt", "sha256": hashlib.sha256(b"weights").hexdigest()}]
    load_package(write(home, manifest))
    (home / "net.pt").write_bytes(b"weightz")
    message = refusal(home)
    assert str(home / "net.pt") in message
    assert hashlib.sha256(b"weightz").hexdigest() in message
    (home / "net.pt").unlink()
    assert "is missing" in refusal(home)


@pytest.mark.parametrize("path", ["../net.pt", "/etc/passwd", "a/../../net.pt", "..\\net.pt"])
def test_weights_cannot_be_outside_the_folder(home: Path, manifest: dict[str, Any], path: str) -> None:
    manifest["weights"] = [{"file": path, "sha256": "0" * 64}]
    assert "must be a path inside the package folder" in refusal(write(home, manifest))


def test_a_link_in_a_package_is_refused(home: Path, manifest: dict[str, Any], tmp_path: Path) -> None:
    write(home, manifest)
    (home / "net.pt").symlink_to(tmp_path / "elsewhere")
    assert "is a symbolic link" in refusal(home)


def test_the_device_uid_changes_with_any_byte_and_with_nothing_else(home: Path, manifest: dict[str, Any]) -> None:
    write(home, manifest)
    (home / "table.txt").write_text("1")
    first = load_package(home).identity.device_uid
    (home / "__pycache__").mkdir()
    (home / "__pycache__" / "x.pyc").write_bytes(b"compiled")
    assert load_package(home).identity.device_uid == first
    (home / "table.txt").write_text("2")
    assert load_package(home).identity.device_uid != first


def test_the_registry_finds_by_name_or_version_and_lists_what_there_is() -> None:
    registry = Registry()
    assert registry.get("ct_lung_density") is registry.get("ct_lung_density@1.0.0")
    with pytest.raises(PackageError, match=r"model ct_lungs is not installed; installed: ct_lung_density@1\.0\.0"):
        registry.get("ct_lungs")
    with pytest.raises(PackageError, match="is not installed"):
        registry.get("ct_lung_density@9.9.9")


def test_a_folder_without_a_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"holds no model\.yaml"):
        Registry([tmp_path])


def test_the_same_package_twice_is_one(tmp_path: Path) -> None:
    assert len(list(Registry([LUNGS, BUILT_IN]))) == len(list(Registry()))


def codes_of(tree: object) -> list[dict[str, str]]:
    if isinstance(tree, dict):
        if set(tree) == {"value", "scheme", "meaning"}:
            return [tree]
        return [code for value in tree.values() for code in codes_of(value)]
    return [code for value in tree for code in codes_of(value)] if isinstance(tree, list) else []


# Standard codes that pydicom's dictionary does not hold: plain units of volume, and lungs by their side (SNOMED CT).
BEYOND_THE_DICTIONARY = {
    ("mL", "milliliter"),
    ("3341006", "Right lung"),
    ("44029006", "Left lung"),
    ("74101002", "Both lungs"),
}


@pytest.mark.parametrize("name", ["ct_lung_density", "ct_lung_density_change"])
def test_every_code_is_standard_or_documented(name: str) -> None:
    manifest = yaml.safe_load((BUILT_IN / name / MANIFEST).read_text())
    documented = (Path(__file__).parents[2] / "docs" / "codes.md").read_text()
    codes = codes_of(manifest["outputs"])
    assert len(codes) > 20
    for code in codes:
        if code["scheme"] == "99DICOMNODE":
            assert f"| `{code['value']}` | {code['meaning']} |" in documented
        elif (code["value"], code["meaning"]) not in BEYOND_THE_DICTIONARY:
            meanings = {
                meaning
                for known in concepts[code["scheme"]].values()
                for value, (meaning, _) in known.items()
                if value == code["value"]
            }
            assert code["meaning"] in meanings


def test_a_title_that_is_long_in_unicode_is_refused(home: Path, manifest: dict[str, Any]) -> None:
    """Validators and databases count bytes where the standard counts characters."""
    manifest["title"] = "肺" * 22
    assert "title: Value error, must be at most 64 bytes long in UTF-8" in refusal(write(home, manifest))
    manifest["title"] = "肺" * 21
    assert load_package(write(home, manifest)).identity.title == "肺" * 21
