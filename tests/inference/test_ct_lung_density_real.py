"""`ct_lung_density` on real chests, held against a second implementation, and on real studies of other regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from inference.findings import Findings
from inference.package import BUILT_IN, Package, load_package
from inference.predict import predict
from inference.series import read_series
from inference.volume import Volume
from tests.inference.lungs_by_itk import lungs_by_itk

GE, SIEMENS = "ct_chest_ge_tcga-34-2605", "ct_chest_siemens_A0002_B40f"


@pytest.fixture(scope="module")
def package() -> Package:
    return load_package(BUILT_IN / "ct_lung_density")


def volume_in(folder: Path) -> Volume:
    datasets = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    return read_series(datasets, tilt="keep").volumes[0]


def numbers_of(findings: Findings, segment: str) -> dict[str, float]:
    return {m.name.value: m.value for m in findings.measurements if m.finding_key == segment}


@pytest.mark.parametrize(
    ("study", "remarks"),
    [pytest.param(GE, ["112225", "KERNEL"], marks=pytest.mark.long), (SIEMENS, ["112225", "130576", "130576"])],
)
def test_a_real_chest_agrees_with_another_implementation(
    shared_data: Path, package: Package, study: str, remarks: list[str]
) -> None:
    volume = volume_in(shared_data / study)
    findings = predict(volume, package, "cpu")
    assert findings.not_analysed is None
    assert [remark.code.value for remark in findings.remarks] == remarks
    for side, other in lungs_by_itk(volume).items():
        ours = numbers_of(findings, f"{side}_lung")
        assert ours["118565006"] == pytest.approx(other.volume_ml, rel=0.02)
        assert ours["112181"] == pytest.approx(other.mean_hu, rel=0.02)
        assert ours["PERC15"] == pytest.approx(other.percentile_15_hu, rel=0.02)
        # A part in a thousand of the lung is what two borders differ by where there is next to no emphysema.
        assert ours["LAA950PCT"] == pytest.approx(other.laa_950_percent, rel=0.02, abs=0.1)
    check_sides(volume, findings)


def check_sides(volume: Volume, findings: Findings) -> None:
    """Left is left of the spine in patient coordinates, and the trachea between; all within the body."""
    masks = {segment.key: segment.mask for segment in findings.segments}
    x_mm = {key: (volume.affine_lps @ (*np.argwhere(mask).mean(axis=0), 1))[0] for key, mask in masks.items()}
    assert x_mm["right_lung"] + 40 < x_mm["airways"] < x_mm["left_lung"] - 40
    assert not (masks["left_lung"] & masks["right_lung"]).any()
    lungs_hu = volume.voxels[masks["both_lungs"]]
    assert (lungs_hu < -400).mean() > 0.9
    airways_hu = volume.voxels[masks["airways"]]
    assert np.median(airways_hu) < -950
    assert 10 < numbers_of(findings, "airways")["118565006"] < 90


def test_an_upper_abdomen_is_not_analysed(shared_data: Path, package: Package) -> None:
    findings = predict(volume_in(shared_data / "ct_body_siemens_j2k"), package, "cpu")
    assert findings.not_analysed is not None
    assert findings.not_analysed.text == "images cover 40 mm < 150 mm"


def test_a_brain_mr_is_not_analysed(shared_data: Path, package: Package) -> None:
    findings = predict(volume_in(shared_data / "mr_brain_siemens_prisma_sag"), package, "cpu")
    assert findings.not_analysed is not None
    assert "modality MR is not CT" in findings.not_analysed.text
