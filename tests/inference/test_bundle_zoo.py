"""Bundles written as the Zoo's most used ones are: what their configurations compute, name and leave out is understood."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from monai.networks import nets
from torch import nn

from inference.bundle import METADATA
from inference.package import Package, load_package
from inference.predict import predict
from inference.runtimes.monai_bundle import NETWORKS
from inference.series import read_series
from inference.volume import Volume
from tests.inference.series_factory import Shape, make_series

DYNUNET: dict[str, Any] = {
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 2,
    "kernel_size": [3, 3, 3],
    "strides": [1, 2, 2],
    "upsample_kernel_size": [2, 2],
    "filters": [4, 8, 8],
    "norm_name": "instance",
    "deep_supervision": False,
    "res_block": True,
}
SEGRESNET: dict[str, Any] = {
    "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1],
    "dropout_prob": 0.2,
}  # fmt: skip
UNET: dict[str, Any] = {
    "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2], "num_res_units": 2,
    "norm": "batch",
}  # fmt: skip
SWIN: dict[str, Any] = {
    "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "feature_size": 12, "use_checkpoint": False,
    "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2],
}  # fmt: skip


def inference(
    network: str | Mapping[str, Any], arguments: Mapping[str, Any], *steps: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "image_key": "image",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": network, **arguments},
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "LoadImaged", "keys": "@image_key"}, *steps],
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [8, 8, 8],
            "sw_batch_size": 4,
            "overlap": 0.5,
            "padding_mode": "replicate",
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {"_target_": "KeepLargestConnectedComponentd", "keys": "pred", "applied_labels": [1]},
            ],
        },
        "initialize": ["$monai.utils.set_determinism(seed=123)"],
        "run": ["$@evaluator.run()"],
    }


def bundle(folder: Path, tree: Mapping[str, Any], network: nn.Module, weights: str = "model.pt") -> Package:
    """As the Zoo lays it out; a configuration in YAML where the weights are named in it."""
    made = folder / "organ_ct"
    for name in ("configs", "models"):
        (made / name).mkdir(parents=True)
    formats = {
        "inputs": {"image": {"type": "image", "modality": "CT", "num_channels": 1}},
        "outputs": {"pred": {"type": "image", "channel_def": {"0": "background", "1": "liver"}}},
    }
    metadata = {"version": "0.2.1", "name": "Organ", "authors": "Somebody", "network_data_format": formats}
    (made / METADATA).write_text(json.dumps(metadata))
    if weights == "model.pt":
        (made / "configs" / "inference.json").write_text(json.dumps(tree))
    else:
        (made / "configs" / "inference.yaml").write_text(yaml.safe_dump(dict(tree)))
    torch.save(network.state_dict(), made / "models" / weights)
    return load_package(made)


def volume(*size: int) -> Volume:
    slices, rows, columns = size
    return read_series(make_series(Shape(slices=slices, rows=rows, columns=columns)).datasets).volumes[0]


def step(target: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": target, "keys": "@image_key", **arguments}


def test_the_spleen_bundles_way_of_writing_is_understood(tmp_path: Path) -> None:
    torch.manual_seed(1)
    scaled = step("ScaleIntensityRanged", a_min=-57, a_max=164, b_min=0, b_max=1, clip=True)
    spaced = step("Spacingd", pixdim=[1.5, 1.5, 2.0], mode="bilinear")
    tree = inference("UNet", UNET, step("Orientationd", axcodes="RAS"), spaced, scaled)
    made = bundle(tmp_path, tree, nets.UNet(**UNET))
    (segment,) = predict(volume(8, 20, 20), made, "cpu").segments
    assert segment.key == "liver"
    assert segment.mask.shape == (8, 20, 20)


def test_the_whole_body_bundles_way_of_writing_is_understood(tmp_path: Path) -> None:
    """The spacing is a choice between two, the file of weights a sum of texts, and the range that of the image."""
    torch.manual_seed(2)
    tree = inference(
        "SegResNet",
        SEGRESNET,
        step("Orientationd", axcodes="RAS"),
        step("Spacingd", pixdim="@pixdim", mode="bilinear"),
        step("NormalizeIntensityd", nonzero=True),
        step("ScaleIntensityd", minv=-1.0, maxv=1.0),
    ) | {
        "displayable_configs": {"highres": False, "sw_overlap": 0.25},
        "pixdim": "$[1.5, 1.5, 1.5] if @displayable_configs#highres else [3.0, 3.0, 3.0]",
        "modelname": "$'model.pt' if @displayable_configs#highres else 'model_lowres.pt'",
        "checkpointloader": {
            "_target_": "CheckpointLoader",
            "load_path": "$@bundle_root + '/models/' + @modelname",
            "load_dict": {"model": "@network"},
        },
    }
    made = bundle(tmp_path, tree, nets.SegResNet(**SEGRESNET), "model_lowres.pt")
    prepared = made.manifest.preprocessing
    assert prepared is not None
    assert prepared.spacing_mm == (3.0, 3.0, 3.0)
    assert prepared.intensity[-1].model_dump() == {
        "kind": "percentiles", "low": 0.0, "high": 100.0, "to": (-1.0, 1.0), "clip": False,
    }  # fmt: skip
    assert [item.file for item in made.manifest.weights] == ["models/model_lowres.pt"]
    assert made.manifest.postprocessing is not None
    assert made.manifest.postprocessing.cleaning[0].segments == ("liver",)
    assert predict(volume(12, 24, 24), made, "cpu").segments[0].mask.shape == (12, 24, 24)


def test_the_paediatric_bundles_way_of_writing_is_understood(tmp_path: Path) -> None:
    """YAML, a network by its full name with arguments that are counted, and weights under a name of their own."""
    torch.manual_seed(3)
    arguments = DYNUNET | {"spatial_dims": "$len(@spatial_size)", "out_channels": "@output_channels"}
    tree = inference("monai.networks.nets.DynUNet", arguments, step("CropForegroundd", source_key="image")) | {
        "spatial_size": [96, 96, 96],
        "output_channels": 2,
        "handlers": [
            {"_target_": "StatsHandler"},
            {"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/dynunet_FT.pt'"},
        ],
    }
    made = bundle(tmp_path, tree, nets.DynUNet(**DYNUNET), "dynunet_FT.pt")
    of = volume(10, 16, 16)
    mask = predict(of, made, "cpu").segments[0].mask
    assert mask.shape == of.voxels.shape


@pytest.mark.long
def test_the_swin_unetr_bundles_way_of_writing_is_understood(tmp_path: Path) -> None:
    """It gives the size of the image, which today's MONAI does not ask for any more."""
    torch.manual_seed(4)
    tree = inference("SwinUNETR", SWIN | {"img_size": 96}, step("ScaleIntensityd"))
    tree["inferer"]["roi_size"] = [32, 64, 64]
    network = nets.SwinUNETR(**SWIN).eval()
    of = volume(32, 64, 64)
    made = bundle(tmp_path, tree, network)
    mask = predict(of, made, "cpu").segments[0].mask
    voxels = torch.from_numpy(of.voxels)[None, None]
    with torch.inference_mode():
        told = network((voxels - voxels.min()) / (voxels.max() - voxels.min()))[0]
    assert np.count_nonzero(mask & ~(told[1] > told[0]).numpy()) <= 10


@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_each_network_that_may_be_made_is_one_of_monai(network: str) -> None:
    assert issubclass(getattr(nets, network), nn.Module)


def test_a_network_never_fetches_weights_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    class Recorded(nn.Conv3d):
        def __init__(self, channels: Sequence[int], pretrained: bool = True) -> None:
            asked.append(pretrained)
            super().__init__(*channels, 1)

    monkeypatch.setattr(nets, "EfficientNetBN", Recorded)
    tree = inference("EfficientNetBN", {"channels": [1, 2], "pretrained": True})
    predict(volume(8, 8, 8), bundle(tmp_path, tree, nn.Conv3d(1, 2, 1)), "cpu")
    assert asked == [False]
