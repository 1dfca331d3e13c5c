"""What is asked of golden cases: exactly the same where that can be, as close as the manifest says elsewhere, and no worse."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from inference import tunings
from inference.errors import PackageError
from inference.golden import differences, is_exact, run_golden_cases
from inference.golden_case import GoldenCase
from inference.golden_verdict import Verdict, auc, together
from inference.manifest import Manifest, frozen, validated
from inference.package import MANIFEST, Package, load_package
from inference.regression import compared
from inference.scaffold import write_package
from inference.tuning import Tuning
from inference.version_store import VersionStore
from tests.inference.made_versions import version_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("made") / "demo", "demo_seg")


@pytest.fixture(scope="module")
def package(folder: Path) -> Package:
    return load_package(folder)


CODE = {"value": "1", "scheme": "99TEST", "meaning": "A finding"}
OUTPUTS = {
    "classifications": [{"key": "nodule", "label": "Nodule", "finding": CODE, "index": 0, "threshold": 0.5}],
    "not_analysed": {"input_refused": CODE},
}
CASES = [{"name": str(number), "file": f"{number}.npz", "sha256": "0" * 64} for number in range(4)]


def classifier(package: Package, labels: Mapping[int, bool], least: float | None = 0.8, **limits: Any) -> Manifest:
    """A manifest whose cases label whether there is a nodule."""
    tree = yaml.safe_load((package.folder / MANIFEST).read_text()) | {"outputs": OUTPUTS}
    tree["postprocessing"] = {"activation": "sigmoid"}
    tree["use"] = {"mode": "whole"}
    tree["golden"] = [
        case | {"labels": {"nodule": labels[at]} if at in labels else {}} for at, case in enumerate(CASES)
    ]
    tree["golden_limits"] = {"least_auc": {} if least is None else {"nodule": least}} | limits
    return validated(frozen(tree), Path(MANIFEST))


def told(*probabilities: float) -> list[Verdict]:
    return [
        Verdict(str(at), (), 0.1, probabilities={"nodule": value} if value >= 0 else {})
        for at, value in enumerate(probabilities)
    ]


LABELS = {0: True, 1: True, 2: False, 3: False}


@pytest.mark.parametrize(
    ("present", "absent", "area"),
    [([0.9, 0.8], [0.1, 0.2], 1.0), ([0.1], [0.9], 0.0), ([0.5], [0.5], 0.5), ([0.9, 0.3], [0.5, 0.1], 0.75)],
)
def test_the_area_under_the_curve_is_the_share_of_pairs_in_the_right_order(
    present: list[float], absent: list[float], area: float
) -> None:
    assert auc(present, absent) == area


def test_cases_with_labels_must_tell_present_from_absent_together(package: Package) -> None:
    manifest = classifier(package, LABELS)
    (good,) = together(manifest, told(0.9, 0.8, 0.3, 0.1))
    assert good.passed
    (bad,) = together(manifest, told(0.9, 0.2, 0.3, 0.1))
    assert (bad.case, bad.differences) == ("AUC of nodule", ("0.7500 < 0.8",))
    (untold,) = together(manifest, told(0.9, 0.8, 0.3, -1))
    assert not untold.passed


@pytest.mark.parametrize("labels", [{}, {0: True}, {0: False, 1: False}])
def test_an_area_needs_a_case_of_each_kind(labels: Mapping[int, bool], package: Package) -> None:
    with pytest.raises(PackageError, match="nodule must be labelled true by one golden case at least"):
        classifier(package, labels)


def test_labels_are_of_what_the_model_tells(package: Package) -> None:
    tree = yaml.safe_load((package.folder / MANIFEST).read_text())
    tree["golden"][0]["labels"] = {"nodule": True}
    with pytest.raises(PackageError, match=r"nodule must be one of outputs\.classifications"):
        validated(frozen(tree), Path(MANIFEST))


def test_what_was_recorded_comes_again_exactly_on_a_cpu_whatever_the_manifest_allows(
    folder: Path, tmp_path: Path
) -> None:
    shifted = version_of(folder, tmp_path / "shifted", "1.1.0")
    tree = yaml.safe_load((shifted / MANIFEST).read_text())
    tree["preprocessing"]["intensity"][0].update(low=-200.0, high=1800.0)
    tree["golden"][0].update(least_dice=0.0, relative=10.0, absolute=1e9)
    (shifted / MANIFEST).write_text(yaml.safe_dump(tree))
    (verdict,) = run_golden_cases(load_package(shifted), "cpu")
    assert "segment/dense: Dice 0.000000 < 1" in verdict.differences


def test_in_lower_precision_the_tolerances_hold(folder: Path, tmp_path: Path, package: Package) -> None:
    assert is_exact(package, "cpu")
    use = yaml.safe_load((folder / MANIFEST).read_text())["use"] | {"precision": "bf16"}
    rounded = load_package(version_of(folder, tmp_path / "rounded", "1.1.0", use=use))
    assert not is_exact(rounded, "cpu")


def test_a_faster_form_of_the_network_need_not_give_the_last_digits(package: Package, tmp_path: Path) -> None:
    kept = VersionStore(tmp_path).add(package)
    tunings.keep(kept, "cpu", Tuning(form="plain"))
    assert is_exact(kept, "cpu")
    tunings.keep(kept, "cpu", Tuning(form="channels_last"))
    assert not is_exact(kept, "cpu")
    assert all(verdict.passed for verdict in run_golden_cases(kept, "cpu"))


def test_of_the_truth_only_what_is_named_is_asked_and_as_closely_as_said() -> None:
    case = GoldenCase(name="a", file="a.npz", sha256="0" * 64, expects="truth", least_dice=0.6)
    expected = {"segment/a": np.array([1, 1, 1, 0])}
    answer = {"segment/a": np.array([1, 1, 0, 0]), "measurement/1/a": np.float64(5)}
    assert differences(expected, answer, case) == ([], 0.8)
    assert differences(expected, {}, case)[0] == ["segment/a is missing"]


def test_a_figure_may_be_worse_by_the_margin_of_the_active_version_and_no_more(package: Package) -> None:
    manifest = package.manifest
    name = "measurement/112181/dense"
    before = [Verdict("a", (), 0.1, dices={"segment/dense": 0.9}, errors={name: (1.0, 100.0)})]

    def holds(dice: float, error: float) -> list[bool]:
        now = [Verdict("a", (), 0.1, dices={"segment/dense": dice}, errors={name: (error, 100.0)})]
        return [item.holds for item in compared(manifest, manifest, before, now)]

    assert holds(0.95, 0.0) == [True, True]
    assert holds(0.89, 5.9) == [True, True]
    assert holds(0.87, 6.1) == [False, False]


def test_what_is_not_answered_any_more_is_worse(package: Package) -> None:
    before = [Verdict("a", (), 0.1, dices={"segment/dense": 0.9})]
    now = [Verdict("a", ("not analysed: 12 images < 100",), 0.1)]
    (item,) = compared(package.manifest, package.manifest, before, now)
    assert (item.holds, item.words) == (False, "not analysed: 12 images < 100")


def test_what_the_new_version_does_not_tell_is_not_compared(package: Package) -> None:
    before = [Verdict("a", (), 0.1, dices={"segment/other": 0.9})]
    assert compared(package.manifest, package.manifest, before, [Verdict("a", (), 0.1)]) == ()


def test_a_version_that_tells_present_from_absent_less_well_is_worse(package: Package) -> None:
    manifest = classifier(package, LABELS, None, margin={"auc": 0.1})
    (item,) = compared(manifest, manifest, told(0.9, 0.8, 0.3, 0.1), told(0.9, 0.2, 0.3, 0.1))
    assert (item.figure, item.before, item.now, item.holds) == ("AUC of nodule", 1.0, 0.75, False)
