"""Networks of MONAI bundles: a class of MONAI's own, by a closed list, with the arguments and weights of the bundle.

MONAI is an extra of the installation. Weights are safetensors, which can hold nothing else, or a checkpoint that is read as plain
tensors and refused where it holds anything else.
"""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

import torch

from inference.archives import check_archive
from inference.errors import InferenceError, PackageError

NETWORKS = frozenset(
    {
        "AHNet", "AttentionUnet", "BasicUNet", "BasicUNetPlusPlus", "BasicUnet", "DenseNet121", "DenseNet169", "DenseNet201",
        "DenseNet264", "DynUNet", "DynUnet", "EfficientNetBN", "FlexibleUNet", "HighResNet", "MedNeXt", "SEResNeXt50",
        "SEResNet101", "SEResNet152", "SEResNet50", "SegResNet", "SegResNetDS", "SegResNetDS2", "SwinUNETR", "UNETR", "UNet",
        "Unet", "VNet", "ViT",
    }
)  # fmt: skip
_GONE = {"SwinUNETR": {"img_size"}}
"""Arguments of older versions of MONAI that change nothing of a network, and that today's does not take."""
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
        kind = getattr(nets, network)
        made: torch.nn.Module = kind(**_taken(kind, network, arguments))
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        raise PackageError(f"network {network} does not take the bundle's arguments: {error}") from error
    try:
        made.load_state_dict(_tensors(content))
    except RuntimeError as error:
        raise PackageError(
            f"the weights do not fit network {network}: {str(error).splitlines()[-1].strip()[:200]}"
        ) from error
    return made.to(device).eval()


def _taken(kind: Callable[..., object], network: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The bundle's arguments, and never weights from the internet: they come with the bundle."""
    taken = {name: value for name, value in arguments.items() if name not in _GONE.get(network, set())}
    return taken | {"pretrained": False} if "pretrained" in inspect.signature(kind).parameters else taken


def _tensors(content: BytesIO) -> Mapping[str, torch.Tensor]:
    if _is_safetensors(content):
        return _safe(content)
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


def _is_safetensors(content: BytesIO) -> bool:
    """Whether it begins as such a file does: with the length of a header, which is JSON. No pickle and no archive does."""
    head = content.getbuffer()[:9]
    return len(head) == 9 and head[8] == ord("{") and int.from_bytes(head[:8], "little") <= len(content.getbuffer()) - 8


def _safe(content: BytesIO) -> Mapping[str, torch.Tensor]:
    import safetensors
    from safetensors.torch import load as load_tensors

    try:
        return load_tensors(content.getvalue())
    except safetensors.SafetensorError as error:
        raise PackageError(f"the weights are no sound safetensors: {str(error)[:200]}") from error
