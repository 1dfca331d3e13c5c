"""`ct_lung_density_change` on two examinations whose difference is known, and on such as do not compare."""

from __future__ import annotations

import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom.dataset import Dataset

from dicom_node.phantom import chest_ct
from inference import package as package_module
from inference.errors import PackageError
from inference.models.ct_lung_density_change.comparison import compared, differences, inspiration
from inference.models.ct_lung_density_change.model import analyse
from inference.package import BUILT_IN, load_package
from inference.predict import predict
from inference.runtimes.python import Analysis
from inference.volume import Volume
from tests.inference.chests import slices_of, volume_from, volume_of, with_voxels

CPU = torch.device("cpu")
PACKAGE = load_package(BUILT_IN / "ct_lung_density_change")


@pytest.fixture(scope="module")
def prior() -> Volume:
    return dated(volume_of(chest_ct(slices=40, rows=128)), "20240105")


@pytest.fixture(scope="module")
def emphysema() -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """A block of aired voxels well within the right lung, that are not below -950 HU in the prior."""
    phantom = chest_ct(slices=40, rows=128)
    volume = volume_of(phantom)
    block = np.zeros(volume.voxels.shape, np.bool_)
    right = phantom.truth.masks["right_lung"]
    centre = [int(np.median(axis)) for axis in np.nonzero(right)]
    block[tuple(slice(at - 4, at + 5) for at in centre)] = True
    return block & right & (volume.voxels < -700) & (volume.voxels >= -940)


@pytest.fixture(scope="module")
def current(prior: Volume, emphysema: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Volume:
    """Two years later the block has lost its tissue."""
    return dated(with_voxels(prior, np.where(emphysema, np.float32(-980), prior.voxels)), "20260105")


@pytest.fixture(scope="module")
def analysis(current: Volume, prior: Volume) -> Analysis:
    return analyse(current, {"prior": prior}, CPU)


def dated(volume: Volume, study_date: str, **more: object) -> Volume:
    header = deepcopy(volume.header)
    for keyword, value in {"StudyDate": study_date, **more}.items():
        setattr(header, keyword, value)
    return replace(volume, header=header)


def test_lost_tissue_is_the_change_and_both_values_are_told(
    analysis: Analysis, prior: Volume, emphysema: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> None:
    values = analysis.values
    lost_ml = float(emphysema.sum()) * prior.voxel_volume_ml
    expected = 100 * lost_ml / values["right_lung", "volume"]
    assert lost_ml > 10
    assert values["right_lung", "laa_950_change"] == pytest.approx(expected, rel=0.02)
    assert values["right_lung", "mean_density_change"] < -1
    assert values["left_lung", "laa_950_change"] == 0
    assert values["left_lung", "mean_density_change"] == 0
    for segment in ("right_lung", "left_lung", "both_lungs"):
        for name in ("volume", "mean_density", "laa_950"):
            now, before = values[segment, name], values[segment, f"prior_{name}"]
            assert values[segment, f"{name}_change"] == now - before


def test_the_same_examination_twice_has_not_changed(prior: Volume) -> None:
    values = analyse(prior, {"prior": prior}, CPU).values
    assert {value for (_, name), value in values.items() if name.endswith("_change")} == {0.0}


def test_the_report_says_what_was_compared_and_remarks_of_both_examinations(analysis: Analysis) -> None:
    assert analysis.remarks[0] == ("compared", "compared with the CT of 2024-01-05, 731 days earlier")
    keys = [key for key, _ in analysis.remarks]
    assert keys.count("slice_thickness") == 2
    assert any(text.startswith("of the prior examination: slice thickness") for _, text in analysis.remarks)
    assert "unlike" not in keys
    assert "inspiration" not in keys


def test_the_findings_are_coded_as_the_manifest_says(current: Volume, prior: Volume) -> None:
    findings = predict(current, PACKAGE, "cpu", {"prior": prior})
    assert [segment.key for segment in findings.segments] == ["right_lung", "left_lung", "both_lungs"]
    names = {measurement.name.value for measurement in findings.measurements}
    assert {"118565006", "PRIORVOL", "VOLCHANGE", "PRIORLAA", "LAACHANGE", "PRIORMEAN", "MEANCHANGE"} <= names
    assert len(findings.measurements) == 27


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        ({"ConvolutionKernel": "B70f"}, "kernel B70f now, B30f then"),
        ({"SliceThickness": 10.0}, "slice thickness or spacing 10.0 mm now, 8.0 mm then"),
        ({"ContrastBolusAgent": "Iohexol"}, "contrast medium was given now, and not then"),
    ],
)
def test_examinations_that_were_not_made_alike_are_remarked_on(
    prior: Volume, change: dict[str, object], remark: str
) -> None:
    (found,) = differences(dated(prior, "20260105", **change), prior)
    assert found[0] == "unlike"
    assert found[1].startswith(remark)


def test_another_depth_of_inspiration_is_remarked_on() -> None:
    assert list(inspiration(5000.0, 4600.0)) == []
    ((key, text),) = inspiration(4000.0, 5000.0)
    assert key == "inspiration"
    assert text.startswith("lung volume is 20 % smaller than in the prior examination")


def test_a_date_that_is_not_stated_is_not_made_up() -> None:
    with_date, without = Dataset(), Dataset()
    with_date.StudyDate = "20240105"
    assert compared(without, with_date)[1] == "compared with the CT of 2024-01-05"
    assert compared(with_date, without)[1] == "compared with an earlier CT whose images have no study date"


def test_a_prior_that_cannot_be_analysed_refuses_the_comparison(current: Volume, prior: Volume) -> None:
    half = slices_of(prior, 13, 40)
    refusal = analyse(current, {"prior": half}, CPU).refusal
    assert refusal is not None
    assert refusal[0] == "incomplete"
    assert refusal[1].startswith("of the prior examination: ")


def test_a_prior_outside_its_contract_is_told_by_its_name(current: Volume) -> None:
    thick = volume_from(np.zeros((20, 64, 64), np.float32), (12.0, 1.0, 1.0))
    findings = predict(current, PACKAGE, "cpu", {"prior": thick})
    assert findings.not_analysed is not None
    assert findings.not_analysed.text == "prior: slice spacing 12.0 mm > 10.0 mm"


def test_a_change_of_the_model_that_it_builds_on_makes_it_another_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("ct_lung_density", "ct_lung_density_change"):
        shutil.copytree(BUILT_IN / name, tmp_path / name, ignore=ignored)
    monkeypatch.setattr(package_module, "BUILT_IN", tmp_path)
    copied = load_package(tmp_path / "ct_lung_density_change")
    assert copied.content_sha256 == PACKAGE.content_sha256
    with (tmp_path / "ct_lung_density" / "density.py").open("a") as file:
        file.write("# changed\n")
    assert load_package(tmp_path / "ct_lung_density_change").content_sha256 != PACKAGE.content_sha256
    shutil.rmtree(tmp_path / "ct_lung_density")
    with pytest.raises(PackageError, match=r"runtime\.builds_on names ct_lung_density, and there is no built-in model"):
        load_package(tmp_path / "ct_lung_density_change")
