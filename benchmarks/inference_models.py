"""The models that are timed: bundles in the layout of the MONAI Model Zoo, with random weights, that node and MONAI both run.

Both read the same files: the node takes them as data, MONAI's own ConfigParser makes its transforms, inferer and network of them.
Run by a Python that has MONAI: python -m benchmarks.inference_models FOLDER SIZES, where SIZES is JSON of `Sizes`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEED = 20
PROBABILITIES = "postprocessing_of_probabilities"
"""Besides the postprocessing that both run: probabilities brought back to the images before the largest decides."""
CLASSES = {"0": "background", "1": "liver", "2": "spleen"}
SEGRESNET, SWIN_UNETR = "SegResNet", "SwinUNETR"
NETWORKS: Mapping[str, Mapping[str, Any]] = {
    SEGRESNET: {"init_filters": 8, "in_channels": 1, "out_channels": 3, "blocks_down": [1, 2, 2, 4], "blocks_up": [1, 1, 1]},
    SWIN_UNETR: {"in_channels": 1, "out_channels": 3, "feature_size": 24, "depths": [2, 2, 2, 2], "num_heads": [3, 6, 12, 24]},
}  # fmt: skip

"""With MONAI's own sizes: as their classes have them, where nothing is said."""
SPACING_MM = {SEGRESNET: 1.5, SWIN_UNETR: 3.0}
"""As the Zoo's bundle of SegResNet for CT of the whole body has them: 1.5 mm, and 3 mm for what takes longer."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """spacing_mm: of the grid that networks see; None for SPACING_MM. patch: edge of a window, in its points. batch: windows at
    once."""

    patch: int
    spacing_mm: float | None = None
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
    image, pred = {"keys": "image"}, {"keys": "pred"}
    window = {"a_min": -1000, "a_max": 500, "b_min": 0.0, "b_max": 1.0, "clip": True}
    softmax = {"_target_": "Activationsd", **pred, "softmax": True}
    argmax = {"_target_": "AsDiscreted", **pred, "argmax": True}
    inverted = {"_target_": "Invertd", **pred, "transform": "@preprocessing", "orig_keys": "image", "to_tensor": True}
    return {
        "network_def": {"_target_": name, **arguments},
        "preprocessing": composed(
            {"_target_": "LoadImaged", **image},
            {"_target_": "EnsureChannelFirstd", **image},
            {"_target_": "Orientationd", **image, "axcodes": "RAS"},
            {"_target_": "Spacingd", **image, "pixdim": [sizes.spacing_mm or SPACING_MM[name]] * 3, "mode": "bilinear"},
            {"_target_": "ScaleIntensityRanged", **image, **window},
            {"_target_": "EnsureTyped", **image},
        ),
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [sizes.patch] * 3,
            "sw_batch_size": sizes.batch,
            "overlap": sizes.overlap,
            "mode": "gaussian",
        },
        "postprocessing": composed(softmax, argmax, inverted | {"nearest_interp": True}),
        PROBABILITIES: composed(softmax, inverted | {"nearest_interp": False}, argmax),
    }


def composed(*transforms: dict[str, Any]) -> dict[str, Any]:
    return {"_target_": "Compose", "transforms": list(transforms)}


def dice(ours: NDArray[np.unsignedinteger], theirs: NDArray[np.unsignedinteger]) -> dict[str, float]:
    """Of two label maps, by class; 1 where neither has any."""
    found = {}
    for index, name in CLASSES.items():
        one, other = ours == int(index), theirs == int(index)
        size = int(one.sum()) + int(other.sum())
        found[name] = 2 * int((one & other).sum()) / size if size else 1.0
    return found


def make(python: str, folder: Path, sizes: Sizes) -> None:
    """`write` by another Python, which has MONAI."""
    command = [python, "-m", "benchmarks.inference_models", str(folder), json.dumps(asdict(sizes))]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Sizes(**json.loads(sys.argv[2])))
