"""Where a model runs."""

from __future__ import annotations

import torch

from inference.errors import InferenceError


def chosen_device(device: str) -> torch.device:
    """Of "auto", "cpu" and "cuda". Raises InferenceError where CUDA is asked for and there is none."""
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InferenceError("device cuda is asked for, but torch sees none: use auto or cpu, or repair the driver")
    return torch.device("cuda")
