"""A package that answers otherwise than its golden cases say is found out; one that is made anew passes."""

from __future__ import annotations

import hashlib
import zipfile
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import yaml

from inference.check import check_package
from inference.errors import PackageError
from inference.findings import Findings, NotAnalysed
from inference.golden import dice, differences, run_golden_cases, write_case
from inference.golden_case import GoldenCase
from inference.package import MANIFEST, load_package
from inference.predict import predict
from inference.scaffold import CASE, WEIGHTS, write_package
from tests.inference.made_models import Above, package, torchscript
from tests.inference.test_analysis import volume_of

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_package(tmp_path / "demo", "demo_seg")


def changed(folder: Path, change: Any) -> Path:
    tree = yaml.safe_load((folder / MANIFEST).read_text())
    change(tree)
    (folder / MANIFEST).write_text(yaml.safe_dump(tree))
    return folder


def replaced(folder: Path, file: str, content: bytes) -> Path:
    """Another file, which the manifest says is right."""
    (folder / file).write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()

    def name(tree: dict[str, Any]) -> None:
        for item in (*tree["weights"], *tree["golden"]):
            item["sha256"] = sha256 if item["file"] == file else item["sha256"]

    return changed(folder, name)


def test_a_new_package_passes_its_checks(folder: Path) -> None:
    found = list(check_package(folder, "cpu"))
    assert [item.step for item in found] == ["manifest and files", "weights", "golden case: A block of water in air"]
    assert all(item.holds for item in found)
    assert "Dice 1.0000" in found[-1].words


def test_a_new_package_does_not_replace_what_is_there(folder: Path) -> None:
    with pytest.raises(PackageError, match="is there already"):
        write_package(folder, "demo_seg")


def test_other_weights_fail_the_golden_case(folder: Path) -> None:
    """Denser than 800 HU: of the block of water nothing is left."""
    changed(folder, lambda tree: tree["preprocessing"]["intensity"][0].update(low=-200.0, high=1800.0))
    found = list(check_package(folder, "cpu"))
    assert [item.holds for item in found] == [True, True, False]
    assert "segment/dense: Dice 0.000000 < 1" in found[-1].words
    assert "measurement/112181/dense is missing" in found[-1].words


def test_a_step_on_which_others_rest_ends_the_check(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"other")
    (only,) = check_package(folder, "cpu")
    assert (only.step, only.holds) == ("manifest and files", False)
    assert "SHA-256 must be" in only.words


def test_weights_that_do_not_load_are_told_with_the_reason(folder: Path) -> None:
    found = list(check_package(replaced(folder, WEIGHTS, b"no network"), "cpu"))
    assert [item.holds for item in found] == [True, False, False]
    assert "not what runtime.kind torch_export needs" in found[1].words


def test_a_package_without_golden_cases_is_not_passed(folder: Path) -> None:
    found = list(check_package(changed(folder, lambda tree: tree.update(golden=[])), "cpu"))
    assert not found[-1].holds
    assert "nobody can tell whether it works" in found[-1].words


def test_a_golden_case_that_changed_is_refused_with_the_package(folder: Path) -> None:
    (folder / CASE).write_bytes(b"other")
    with pytest.raises(PackageError, match=r"golden/block\.npz: SHA-256 must be"):
        load_package(folder)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04rubbish"])
def test_a_file_that_is_no_case_is_refused_in_words(content: bytes, folder: Path) -> None:
    with pytest.raises(PackageError, match="is no golden case"):
        run_golden_cases(load_package(replaced(folder, CASE, content)), "cpu")


def test_a_case_that_unpacks_to_more_than_memory_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.golden.MAX_BYTES", 1000)
    with pytest.raises(PackageError, match="bytes unpacked, more than the 1000"):
        run_golden_cases(load_package(folder), "cpu")


def test_a_case_with_a_pickle_is_refused(folder: Path) -> None:
    content = BytesIO()
    np.savez(content, voxels=np.array([{"a": 1}], dtype=object), affine_lps=np.eye(4))
    with pytest.raises(PackageError, match="is no golden case"):
        run_golden_cases(load_package(replaced(folder, CASE, content.getvalue())), "cpu")


@pytest.mark.parametrize(
    ("arrays", "rule"),
    [
        ({"voxels": np.zeros((2, 3, 4))}, "must hold affine_lps"),
        ({"voxels": np.zeros((3, 4)), "affine_lps": np.eye(4)}, "voxels must be"),
        ({"voxels": np.zeros((2, 3, 4)), "affine_lps": np.eye(3)}, "affine_lps"),
    ],
)
def test_a_case_without_what_it_needs_is_refused(arrays: dict[str, Any], rule: str, folder: Path) -> None:
    content = BytesIO()
    np.savez(content, **arrays)
    with pytest.raises(PackageError, match=rule):
        run_golden_cases(load_package(replaced(folder, CASE, content.getvalue())), "cpu")


def test_a_case_must_expect_findings() -> None:
    nothing = Findings(not_analysed=NotAnalysed(volume_code(), "too short"))
    with pytest.raises(PackageError, match="this was not analysed: too short"):
        write_case(volume_of(), MappingProxyType({}), nothing)


def volume_code() -> Any:
    from inference.findings import Code

    return Code("NOTINPUT", "99TEST", "Not what the model takes")


def test_a_case_that_the_model_refuses_is_told(folder: Path) -> None:
    changed(folder, lambda tree: tree["input"].update(min_instances=100))
    (verdict,) = run_golden_cases(load_package(folder), "cpu")
    assert verdict.differences == ("not analysed: 12 images < 100",)


CLOSE = GoldenCase(name="a", file="a.npz", sha256="0" * 64, least_dice=0.9, absolute=0.5, relative=0.01)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"segment/a": np.array([1, 1, 1, 0])}, []),
        ({"segment/a": np.array([1, 1, 0, 0])}, ["segment/a: Dice 0.800000 < 0.9"]),
        ({"measurement/1/a": np.float64(101.5)}, []),
        ({"measurement/1/a": np.float64(98.5)}, []),
        ({"measurement/1/a": np.float64(101.6)}, ["measurement/1/a: 101.6 is not 100"]),
        ({"measurement/1/a": np.float64("nan")}, ["measurement/1/a: nan is not 100"]),
        ({"segment/b": np.array([1])}, ["segment/b is not expected"]),
    ],
)
def test_answers_may_differ_by_so_much(told: dict[str, Any], words: list[str]) -> None:
    expected = {"segment/a": np.array([1, 1, 1, 0]), "measurement/1/a": np.float64(100)}
    assert differences(expected, expected | told, CLOSE)[0] == words


def test_what_is_not_told_any_more_is_missing() -> None:
    expected = {"segment/a": np.array([1, 1]), "classification/b": np.float64(0.5)}
    assert differences(expected, {"segment/a": np.array([1, 1])}, CLOSE) == (["classification/b is missing"], 1.0)


def test_dice_of_masks() -> None:
    one, other = np.array([1, 1, 0, 0], bool), np.array([0, 1, 1, 0], bool)
    assert dice(one, other) == 0.5
    assert dice(one, one) == 1.0
    assert dice(~one & one, ~one & one) == 1.0
    assert dice(one, other[:3]) == 0.0


def test_a_case_of_any_model_can_be_recorded_and_passes(tmp_path: Path) -> None:
    made = package(tmp_path, torchscript(Above(-200.0)))
    volume = volume_of()
    content = write_case(volume, MappingProxyType({}), predict(volume, made, "cpu"))
    with zipfile.ZipFile(BytesIO(content)) as archive:
        assert {"voxels.npy", "affine_lps.npy", "segment/dense.npy"} == set(archive.namelist())
    case = {"name": "recorded", "file": "case.npz", "sha256": hashlib.sha256(content).hexdigest()}
    (tmp_path / "case.npz").write_bytes(content)
    changed(tmp_path, lambda tree: tree.update(golden=[case]))
    (verdict,) = run_golden_cases(load_package(tmp_path), "cpu")
    assert verdict.passed
    assert verdict.least_dice == 1.0


def test_a_map_is_expected_value_by_value() -> None:
    case = GoldenCase(name="m", file="m.npz", sha256="0" * 64, absolute=0.01)
    one = np.array([[[0.5, np.nan]]], np.float32)
    for other, found in (
        (one + np.float32(0.005), []),
        (one + np.float32(0.02), ["map/m: 1 of 2 values are not as expected"]),
        (np.zeros_like(one) + np.float32(0.5), ["map/m: 1 of 2 values are not as expected"]),
        (one[0], ["map/m: has the shape (1, 2), and not (1, 1, 2)"]),
    ):
        assert differences({"map/m": one}, {"map/m": other}, case)[0] == found
