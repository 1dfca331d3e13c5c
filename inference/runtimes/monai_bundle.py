"""Networks of MONAI bundles: a class of MONAI's own, by a closed list, with the arguments and weights of the bundle.

MONAI is an extra of the installation. Weights are read as plain tensors; a checkpoint that holds anything else is refused.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import torch

from inference.archives import check_archive
from inference.errors import InferenceError, PackageError

NETWORKS = frozenset(
    {
        "AttentionUnet", "BasicUNet", "DenseNet121", "DenseNet169", "DenseNet201", "DynUNet", "FlexibleUNet", "HighResNet",
        "SegResNet", "SegResNetDS", "SEResNet50", "SwinUNETR", "UNETR", "UNet", "ViT", "VNet",
    }
)  # fmt: skip
_INSIDE = ("state_dict", "model", "network_def", "net", "network")
"""Where checkpoints keep the network's tensors, if not at their top."""


def load(content: BytesIO, device: torch.device, network: str, arguments: Mapping[str, Any]) -> torch.nn.Module:
    """Raises PackageError where the network is none of the list, or weights and arguments do not fit it; InferenceError
    where MONAI is not installed."""
    if network not in NETWORKS:
        raise PackageError(f"network {network} is not one that may be made: {', '.join(sorted(NETWORKS))}")
    try:
        from monai.networks import nets
    except ImportError as error:
        raise InferenceError(
            "runtime.kind monai_bundle needs MONAI, which is not installed: pip install 'dicom-node[monai]'"
        ) from error
    try:
        made: torch.nn.Module = getattr(nets, network)(**arguments)
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        raise PackageError(f"network {network} does not take the bundle's arguments: {error}") from error
    try:
        made.load_state_dict(_tensors(content))
    except RuntimeError as error:
        raise PackageError(
            f"the weights do not fit network {network}: {str(error).splitlines()[-1].strip()[:200]}"
        ) from error
    return made.to(device).eval()


def _tensors(content: BytesIO) -> Mapping[str, torch.Tensor]:
    check_archive(content)
    try:
        found = torch.load(content, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError) as error:
        raise PackageError("the weights are more than tensors, and would be run as code: refused") from error
    for name in _INSIDE:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise PackageError("the weights must be tensors by name (a state_dict)")
    return found
