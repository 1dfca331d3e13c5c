"""The fastest form of a network is found by measuring, and taken only where it answers the same."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from inference import forms, tuning, tunings
from inference.confined.pool import Pool, bounds_of
from inference.network import network_of
from inference.package import Package, load_package
from inference.passes import PASSES, Timed
from inference.series import read_series
from inference.tuning import Tuning, formed, tuned
from tests.inference import made_models as made
from tests.inference.series_factory import Shape, make_series

CPU = torch.device("cpu")
WINDOW = torch.rand((1, 1, 8, 8, 8), generator=torch.Generator().manual_seed(1))


class Slow(nn.Module):
    """Twice the image, after a while."""

    def forward(self, image: Tensor) -> Tensor:
        time.sleep(0.05)
        return image * 2


def forms_of(monkeypatch: pytest.MonkeyPatch, **makers: object) -> None:
    monkeypatch.setattr(tuning, "_MAKERS", makers)


def refusing(_network: nn.Module, _window: Tensor) -> tuning.Network:
    raise RuntimeError("there is no\ncompiler")


def test_a_form_that_answers_the_same_in_less_time_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    forms_of(monkeypatch, channels_last=lambda _network, _window: lambda image: image + image, compiled=refusing)
    found = tuned(Slow(), WINDOW)
    assert (found.form, found.refused) == ("channels_last", {"compiled": "RuntimeError: there is no compiler"})
    assert found.seconds["channels_last"] < found.seconds["plain"]


def test_a_form_that_answers_otherwise_is_not_taken_however_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    forms_of(monkeypatch, channels_last=lambda _network, _window: lambda image: image * 2.001)
    found = tuned(Slow(), WINDOW)
    assert found.form == "plain"
    assert found.refused["channels_last"].startswith("its answers differ by up to 0.001")


def test_a_form_that_is_no_faster_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    forms_of(monkeypatch, channels_last=lambda _network, _window: Slow())
    found = tuned(Slow(), WINDOW)
    assert (found.form, set(found.seconds) >= {"plain", "channels_last"}) == ("plain", True)


def test_windows_that_take_no_longer_together_than_one_are_given_together(monkeypatch: pytest.MonkeyPatch) -> None:
    forms_of(monkeypatch)
    assert tuned(Slow(), WINDOW).batch == 4


@pytest.mark.parametrize("form", ["channels_last", "frozen"])
def test_every_form_answers_as_the_network_does(form: tuning.Form) -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.Conv3d(4, 2, 1)).eval()
    with torch.inference_mode():
        told = formed(network, form, WINDOW)(WINDOW)
        assert isinstance(told, Tensor)
        assert torch.allclose(told, network(WINDOW), atol=1e-5)


def stored(folder: Path) -> Package:
    """A package at STORE/CONTENT_SHA256/NAME, as versions are kept."""
    content = made.torchscript(made.Above(0.0))
    use = {"mode": "windows", "patch": [4, 4, 4]}
    written = made.written(folder / "brought", content, use=use)
    package = load_package(written)
    home = folder / "store" / package.content_sha256 / package.manifest.name
    shutil.copytree(written, home)
    return load_package(home)


def test_what_was_measured_is_kept_beside_the_version_and_not_in_it(tmp_path: Path) -> None:
    package = stored(tmp_path)
    found = Tuning("frozen", 2, {"plain": 2.0, "frozen": 1.0}, {"compiled": "there is no compiler"})
    assert tunings.known(package, "cpu") is None
    assert tunings.keep(package, "cpu", found)
    assert tunings.known(package, "cpu") == found
    assert tunings.known(package, "cuda") is None
    assert load_package(package.folder).content_sha256 == package.content_sha256
    path = tunings.path_of(package)
    assert path
    path.write_text(path.read_text().replace("torch ", "torch 0."))
    assert tunings.known(package, "cpu") is None
    path.write_text("{")
    assert tunings.known(package, "cpu") is None


def test_a_package_that_is_nowhere_kept_by_its_content_has_nothing_kept(tmp_path: Path) -> None:
    package = load_package(made.written(tmp_path, made.torchscript(made.Above(0.0))))
    assert not tunings.keep(package, "cpu", Tuning())
    assert list(tmp_path.parent.glob(f"{tunings.FOLDER}*")) == []


@pytest.mark.parametrize(
    "tree", [{}, {"form": "pickled"}, {"form": "frozen", "batch": 10**9}, {"form": "frozen", "seconds": {"a": 1e999}}]
)
def test_what_is_not_as_it_must_be_is_the_network_as_it_came(tree: dict[str, object]) -> None:
    assert tunings.told(json.loads(json.dumps(tree))) == Tuning()


def test_a_network_is_loaded_in_the_form_that_was_measured(tmp_path: Path) -> None:
    package = stored(tmp_path)
    forms.take(package, CPU, Tuning("frozen", 2))
    network = network_of(package, CPU)
    assert isinstance(network, Timed)
    assert (network.room.best, type(network.network).__name__) == (2, "RecursiveScriptModule")
    PASSES.taken()
    network(torch.rand(1, 1, 4, 4, 4))
    assert PASSES.taken().count == 1
    assert forms.window_of(replace(package, manifest=package.manifest.model_copy(update={"use": None})), CPU) is None


def test_a_model_process_measures_its_model_and_finds_the_same_afterwards(tmp_path: Path) -> None:
    package = stored(tmp_path)
    volume = read_series(make_series(Shape(slices=6, rows=9, columns=8)).datasets).volumes[0]
    pool = Pool()
    try:
        before = pool.predict(volume, package, "cpu", {}, seed=0, bounds=bounds_of(package))
        found = pool.tune(package, "cpu", bounds_of(package))
        assert found == tunings.known(package, "cpu")
        assert found.seconds["plain"] > 0
        # Behind its walls no program may be started, and a compiler is one.
        assert "compiled" in found.refused
        PASSES.taken()
        after = pool.predict(volume, package, "cpu", {}, seed=0, bounds=bounds_of(package))
        assert PASSES.taken().count > 0
        assert np.array_equal(before.segments[0].mask, after.segments[0].mask)
    finally:
        pool.end()
