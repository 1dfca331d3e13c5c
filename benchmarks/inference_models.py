"""The models that are timed: bundles in the layout of the MONAI Model Zoo, with random weights, that node and MONAI both run.

Both read the same files: the node takes them as data, MONAI's own ConfigParser makes its transforms, inferer and network of them.
Run by a Python that has MONAI: python -m benchmarks.inference_models FOLDER SIZES, where SIZES is JSON of `Sizes`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SEED = 20
CLASSES = {"0": "background", "1": "liver", "2": "spleen"}
SEGRESNET, SWIN_UNETR = "SegResNet", "SwinUNETR"
NETWORKS: Mapping[str, Mapping[str, Any]] = {
    SEGRESNET: {"init_filters": 8, "in_channels": 1, "out_channels": 3, "blocks_down": [1, 2, 2, 4], "blocks_up": [1, 1, 1]},
    SWIN_UNETR: {"in_channels": 1, "out_channels": 3, "feature_size": 12, "depths": [2, 2, 2, 2], "num_heads": [3, 6, 12, 24]},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sizes:
    """spacing_mm: of the grid that networks see. patch: edge of a window, in its points. batch: windows at once."""

    spacing_mm: float
    patch: int
    overlap: float = 0.25
    batch: int = 1


def folder_of(folder: Path, network: str) -> Path:
    return folder / network.lower()


def write(folder: Path, sizes: Sizes) -> None:
    """One bundle for each network."""
    import torch
    from monai.networks import nets

    for name, arguments in NETWORKS.items():
        made = folder_of(folder, name)
        for part in ("configs", "models"):
            (made / part).mkdir(parents=True)
        (made / "configs" / "metadata.json").write_text(json.dumps(metadata(name)))
        (made / "configs" / "inference.json").write_text(json.dumps(inference(name, arguments, sizes)))
        torch.manual_seed(SEED)
        torch.save(getattr(nets, name)(**arguments).state_dict(), made / "models" / "model.pt")


def metadata(name: str) -> dict[str, Any]:
    return {
        "version": "1.0.0",
        "name": f"{name} of random weights",
        "authors": "Nobody",
        "description": "Its answer means nothing: it is timed.",
        "intended_use": "Timing.",
        "network_data_format": {
            "inputs": {"image": {"type": "image", "format": "hounsfield", "modality": "CT", "num_channels": 1}},
            "outputs": {"pred": {"type": "image", "channel_def": CLASSES}},
        },
    }


def inference(name: str, arguments: Mapping[str, Any], sizes: Sizes) -> dict[str, Any]:
    """As the Zoo's bundles of CT have it: what is around the network is theirs in kind and order."""
    image = {"keys": "image"}
    return {
        "network_def": {"_target_": name, **arguments},
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", **image},
                {"_target_": "EnsureChannelFirstd", **image},
                {"_target_": "Orientationd", **image, "axcodes": "RAS"},
                {"_target_": "Spacingd", **image, "pixdim": [sizes.spacing_mm] * 3, "mode": "bilinear"},
                {
                    "_target_": "ScaleIntensityRanged",
                    **image,
                    "a_min": -1000,
                    "a_max": 500,
                    "b_min": 0.0,
                    "b_max": 1.0,
                    "clip": True,
                },
                {"_target_": "EnsureTyped", **image},
            ],
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [sizes.patch] * 3,
            "sw_batch_size": sizes.batch,
            "overlap": sizes.overlap,
            "mode": "gaussian",
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {
                    "_target_": "Invertd",
                    "keys": "pred",
                    "transform": "@preprocessing",
                    "orig_keys": "image",
                    "nearest_interp": False,
                    "to_tensor": True,
                },
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            ],
        },
    }


def sizes_of(text: str) -> Sizes:
    return Sizes(**json.loads(text))


def text_of(sizes: Sizes) -> str:
    return json.dumps(asdict(sizes))


if __name__ == "__main__":
    write(Path(sys.argv[1]), sizes_of(sys.argv[2]))
