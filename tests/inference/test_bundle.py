"""Bundles in the layout of the MONAI Model Zoo, as their authors wrote them: read as data, run as MONAI runs them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai import transforms
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import SegResNet

from inference.anatomy import codes_of
from inference.bundle import METADATA
from inference.check import check_package
from inference.errors import PackageError
from inference.package import load_package
from inference.predict import predict
from inference.registry import Registry
from inference.series import read_series
from inference.volume import Volume
from tests.inference.series_factory import Shape, make_series

INFERENCE = "configs/inference.json"
NETWORK = {
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "init_filters": 8,
    "blocks_down": [1, 1],
    "blocks_up": [1],
}
METADATA_OF_ZOO: dict[str, Any] = {
    "schema": "https://example.org/meta_schema.json",
    "version": "0.5.9",
    "name": "Abdominal CT segmentation",
    "authors": "Somebody",
    "description": "A small SegResNet.",
    "intended_use": "This is an example, not to be used for diagnostic purposes",
    "data_source": "A data set of nobody",
    "eval_metrics": {"mean_dice": 0.961, "nested": {"no": 1}, "said": "well"},
    "network_data_format": {
        "inputs": {"image": {"type": "image", "format": "hounsfield", "modality": "CT", "num_channels": 1}},
        "outputs": {
            "pred": {"type": "image", "channel_def": {"0": "background", "1": "left_kidney", "2": "spleen"}},
        },
    },
}
INFERENCE_OF_ZOO: dict[str, Any] = {
    "imports": ["$import glob", "$import os"],
    "bundle_root": ".",
    "output_dir": "$@bundle_root + '/eval'",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "network_def": {"_target_": "SegResNet", **NETWORK},
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            {
                "_target_": "ScaleIntensityRanged",
                "keys": "image",
                "a_min": "@lowest",
                "a_max": 500,
                "b_min": 0,
                "b_max": 1,
                "clip": True,
            },
            {"_target_": "EnsureTyped", "keys": "image", "device": "@device"},
        ],
    },
    "lowest": -1000,
    "inferer": {
        "_target_": "SlidingWindowInferer",
        "roi_size": [8, 8, 4],
        "sw_batch_size": 2,
        "overlap": 0.5,
        "mode": "gaussian",
    },
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"},
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
        ],
    },
    "checkpointloader": {"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'"},
    "evaluator": {"_target_": "SupervisedEvaluator", "device": "@device"},
}


def network() -> SegResNet:
    torch.manual_seed(5)
    return SegResNet(**NETWORK).eval()


def bundle(folder: Path, *, weights: object = None, metadata: Any = None, **inference: Any) -> Path:
    """As the Zoo lays it out; keys of `inference` replace those of its configuration, None takes one away."""
    made = folder / "abdominal_ct"
    for name in ("configs", "models", "docs"):
        (made / name).mkdir(parents=True)
    (made / METADATA).write_text(json.dumps(metadata or METADATA_OF_ZOO))
    tree = {key: value for key, value in (INFERENCE_OF_ZOO | inference).items() if value is not None}
    (made / INFERENCE).write_text(json.dumps(tree))
    (made / "docs" / "README.md").write_text("# A bundle")
    torch.save(network().state_dict() if weights is None else weights, made / "models" / "model.pt")
    return made


def volume() -> Volume:
    return read_series(make_series(Shape(slices=6, rows=14, columns=12)).datasets).volumes[0]


def by_monai(of: Volume) -> torch.Tensor:
    """Labels on the volume's grid, as MONAI's own transforms and inferer make them. Slices are the last of its axes."""
    # Axes of an axial series run to the head, the back and the left: columns, rows, slices to the right, front, head.
    ras = torch.from_numpy(of.voxels).permute(2, 1, 0).flip(0, 1)[None]
    scale = transforms.ScaleIntensityRange(a_min=-1000, a_max=500, b_min=0, b_max=1, clip=True)
    inferer = SlidingWindowInferer(roi_size=(8, 8, 4), sw_batch_size=2, overlap=0.5, mode="gaussian")
    with torch.inference_mode():
        told = inferer(scale(ras)[None].as_tensor(), network())[0]
    labels: torch.Tensor = told.softmax(dim=0).argmax(dim=0)
    return labels.flip(0, 1).permute(2, 1, 0)


def test_a_bundle_gives_what_monai_gives(tmp_path: Path) -> None:
    of, package = volume(), load_package(bundle(tmp_path))
    findings = predict(of, package, "cpu")
    labels = by_monai(of).numpy()
    assert [item.key for item in findings.segments] == ["left_kidney", "spleen"]
    for index, segment in enumerate(findings.segments, start=1):
        assert 0 < (labels == index).sum() < labels.size
        assert np.array_equal(segment.mask, labels == index)
    kidney = findings.segments[0]
    assert (kidney.label, kidney.type.meaning, kidney.laterality and kidney.laterality.meaning) == (
        "Left_kidney",
        "Kidney",
        "Left",
    )
    assert findings.of("spleen")[0].value == pytest.approx((labels == 2).sum() * of.voxel_volume_ml)


def test_a_bundle_says_who_it_is(tmp_path: Path) -> None:
    identity = Registry([bundle(tmp_path)]).get("abdominal_ct").identity
    assert (identity.name, identity.version, identity.title, identity.manufacturer) == (
        "abdominal_ct",
        "0.5.9",
        "Abdominal CT segmentation",
        "Somebody",
    )
    assert identity.intended_use == "This is an example, not to be used for diagnostic purposes"
    assert identity.card.training_data == "A data set of nobody"
    assert identity.card.metrics == ("mean_dice 0.961, on its authors' evaluation",)


def test_another_weight_makes_another_device_of_it(tmp_path: Path) -> None:
    other = network()
    with torch.no_grad():
        next(other.parameters()).add_(1e-3)
    one = load_package(bundle(tmp_path / "one"))
    two = load_package(bundle(tmp_path / "two", weights=other.state_dict()))
    assert one.identity.device_uid != two.identity.device_uid


def test_weights_may_stand_where_training_left_them(tmp_path: Path) -> None:
    nested = {"model": network().state_dict()}
    findings = predict(volume(), load_package(bundle(tmp_path, weights=nested)), "cpu")
    assert len(findings.segments) == 2


def test_a_bundle_with_torchscript_needs_no_network_of_its_own(tmp_path: Path) -> None:
    from tests.inference.made_models import Above, torchscript

    metadata = json.loads(json.dumps(METADATA_OF_ZOO))
    metadata["network_data_format"]["outputs"]["pred"]["channel_def"] = {"0": "background", "1": "liver"}
    made = bundle(tmp_path, metadata=metadata, network_def=None)
    (made / "models" / "model.pt").unlink()
    (made / "models" / "model.ts").write_bytes(torchscript(Above(0.5)))
    (segment,) = predict(volume(), load_package(made), "cpu").segments
    assert np.array_equal(segment.mask, volume().voxels > -250)


class Canary:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._path),)


def test_a_checkpoint_with_a_pickle_is_not_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    made = bundle(tmp_path, weights={"model": network().state_dict(), "epoch": Canary(canary)})
    with pytest.raises(PackageError, match="would be run as code: refused"):
        predict(volume(), load_package(made), "cpu")
    assert not canary.exists()


def test_expressions_of_a_bundle_are_not_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    made = bundle(tmp_path, imports=["$import os"], device=f"$__import__('os').mkdir({str(canary)!r})")
    predict(volume(), load_package(made), "cpu")
    assert not canary.exists()


def step(target: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": target, "keys": "image", **arguments}


def composed(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"_target_": "Compose", "transforms": list(steps)}


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"network_def": {"_target_": "os.system", "command": "true"}}, "network system is not one that may be made"),
        (
            {"network_def": {"_target_": "SegResNet", "colour": 1}},
            "network SegResNet does not take the bundle's arguments",
        ),
        (
            {"network_def": {"_target_": "SegResNet", **NETWORK, "init_filters": 16}},
            "weights do not fit network SegResNet",
        ),
        ({"network_def": "$MyNet()"}, r"network_def must name a class \(_target_\), but is '\$MyNet\(\)'"),
        ({"network_def": None, "network": None}, "network_def or net or network must be given"),
        ({"preprocessing": composed(step("RandFlipd"))}, r"transforms\[0\]: RandFlipd is not known here"),
        ({"preprocessing": composed(step("Spacingd", pixdim="$numpy.ones(3)"))}, "Spacingd has pixdim"),
        ({"preprocessing": composed(step("Spacingd", pixdim=[1, 1, 1], mode="spline"))}, "Spacingd has mode 'spline'"),
        ({"preprocessing": composed(step("ScaleIntensityRanged", a_max=1))}, "ScaleIntensityRanged has a_min None"),
        ({"preprocessing": "@nowhere"}, "refers to @nowhere, which is not there"),
        ({"preprocessing": "@preprocessing"}, "refers to itself"),
        ({"inferer": {"_target_": "SaliencyInferer"}}, "SaliencyInferer is not known here"),
        ({"preprocessing": composed(step("ScaleIntensityd", factor=2.0))}, "ScaleIntensityd has factor"),
        ({"preprocessing": composed(step("Resized", spatial_size=[8, 8, 8], mode="area"))}, "Resized has mode 'area'"),
        (
            {"postprocessing": composed(step("KeepLargestConnectedComponentd", applied_labels=[7]))},
            "KeepLargestConnectedComponentd has applied_labels",
        ),
        ({"postprocessing": composed(step("Lambdad", func="$lambda x: x"))}, "Lambdad is not known here"),
    ],
)
def test_what_has_no_place_here_is_refused_by_name(changes: dict[str, Any], rule: str, tmp_path: Path) -> None:
    made = bundle(tmp_path, **changes)
    with pytest.raises(PackageError, match=rule):
        predict(volume(), load_package(made), "cpu")


def test_steps_of_the_zoo_become_keys_of_a_manifest(tmp_path: Path) -> None:
    steps = composed(
        step("Orientationd", axcodes="LPS"),
        step("Spacingd", pixdim=[1.5, 1.5, 2.0], mode="bilinear"),
        step("CropForegroundd", source_key="image"),
        step("DivisiblePadd", k=16),
        step("NormalizeIntensityd", nonzero=True),
        step("NormalizeIntensityd", subtrahend=100.0, divisor=50.0),
        step("ScaleIntensityRangePercentilesd", lower=1, upper=99, b_min=-1, b_max=1),
        step("RandFlipd", _disabled_=True),
    )
    post = composed(
        step("Activationsd", sigmoid=True),
        step("AsDiscreted", threshold=0.4),
        step("KeepLargestConnectedComponentd"),
        step("FillHolesd"),
    )
    made = bundle(tmp_path, preprocessing=steps, postprocessing=post, inferer={"_target_": "SimpleInferer"})
    manifest = load_package(made).manifest
    prepared, decided = manifest.preprocessing, manifest.postprocessing
    assert prepared is not None
    assert decided is not None
    assert (prepared.axes, prepared.spacing_mm, prepared.size_multiple) == ("LPS", (1.5, 1.5, 2.0), (16, 16, 16))
    assert prepared.crop is not None
    assert [item.kind for item in prepared.intensity] == ["standardise", "standardise", "percentiles"]
    assert (decided.activation, decided.decide, decided.threshold) == ("sigmoid", "threshold", 0.4)
    assert [item.kind for item in decided.cleaning] == ["largest_component", "fill_holes"]
    assert manifest.use is not None
    assert manifest.use.mode == "whole"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (
            lambda tree: tree["network_data_format"]["inputs"]["image"].update(modality="US"),
            "'US', and neither CT nor MR",
        ),
        (lambda tree: tree.pop("network_data_format"), "network_data_format.inputs.image must be given"),
        (lambda tree: tree.update(version="new"), "version"),
        (
            lambda tree: tree["network_data_format"]["inputs"]["image"].update(num_channels=4),
            "its image has 4 channels, and nothing says which series they are",
        ),
    ],
)
def test_metadata_that_does_not_do_is_refused(change: Any, rule: str, tmp_path: Path) -> None:
    metadata = json.loads(json.dumps(METADATA_OF_ZOO))
    change(metadata)
    with pytest.raises(PackageError, match=rule):
        load_package(bundle(tmp_path, metadata=metadata))


def test_a_bundle_without_weights_is_refused(tmp_path: Path) -> None:
    made = bundle(tmp_path)
    (made / "models" / "model.pt").unlink()
    with pytest.raises(PackageError, match="fetch the bundle with its weights"):
        load_package(made)


@pytest.mark.usefixtures("in_this_process")
def test_a_bundle_is_checked_but_nobody_can_tell_that_it_works(tmp_path: Path) -> None:
    found = list(check_package(bundle(tmp_path), "cpu"))
    assert [(item.step, item.holds) for item in found] == [
        ("manifest and files", True),
        ("weights", True),
        ("golden cases", False),
    ]


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("Spleen", ("Anatomical Structure", "Spleen", None)),
        ("right lung", ("Anatomical Structure", "Lung", "Right")),
        ("kidneys", ("Anatomical Structure", "Kidney", None)),
        ("pancreas", ("Anatomical Structure", "Pancreas", None)),
        ("Liver tumours", ("Anatomical Structure", "Anatomical Structure", None)),
        ("liver_tumor", ("Morphologically Abnormal Structure", "Neoplasm", None)),
        ("left ventricle wall", ("Anatomical Structure", "Anatomical Structure", "Left")),
    ],
)
def test_channels_are_coded_by_their_names(name: str, codes: tuple[str, str, str | None]) -> None:
    category, kind, laterality = codes_of(name)
    assert (category.meaning, kind.meaning, laterality.meaning if laterality else None) == codes
