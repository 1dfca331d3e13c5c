"""Networks in the Open Neural Network Exchange format, run by onnxruntime, which is an extra of the installation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inference.errors import InferenceError, PackageError

_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@dataclass(frozen=True, slots=True, eq=False)
class OnnxNetwork:
    """Called with a tensor for each of its inputs; answers with one, or with a tuple where it has several outputs."""

    session: Any
    inputs: tuple[str, ...]
    device: torch.device

    def __call__(self, *given: Tensor) -> object:
        arrays = [np.ascontiguousarray((item.float() if item.is_floating_point() else item).cpu()) for item in given]
        told = self.session.run(None, dict(zip(self.inputs, arrays, strict=True)))
        tensors = [torch.from_numpy(np.asarray(item)).to(self.device) for item in told]
        return tensors[0] if len(tensors) == 1 else tuple(tensors)


def load(content: BytesIO, device: torch.device) -> OnnxNetwork:
    """Raises PackageError where the content is no such file, or keeps part of itself in other files; InferenceError where
    onnxruntime is not installed, or not for CUDA where that is asked for."""
    try:
        import onnxruntime
    except ImportError as error:
        raise InferenceError(
            "runtime.kind onnx needs onnxruntime, which is not installed: pip install 'dicom-node[onnx]'"
        ) from error
    if device.type == "cuda" and _CUDA not in onnxruntime.get_available_providers():
        raise InferenceError(
            "device cuda is asked for, but this onnxruntime has none: install onnxruntime-gpu, or use cpu"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    providers = [_CUDA, _CPU] if device.type == "cuda" else [_CPU]
    try:
        # From bytes: a file that names others, anywhere on the disk, cannot be loaded so.
        session = onnxruntime.InferenceSession(content.getvalue(), options, providers=providers)
    except Exception as error:  # its errors have no common class
        first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise PackageError(f"the weights are not what runtime.kind onnx needs: {first}") from error
    return OnnxNetwork(session, tuple(item.name for item in session.get_inputs()), device)


def require_inputs(network: OnnxNetwork, wanted: Sequence[str]) -> None:
    """Raises PackageError where it does not take as many as these."""
    if len(network.inputs) != len(wanted):
        raise PackageError(
            f"the network must take {len(wanted)} input{'s' if len(wanted) > 1 else ''}, {' and '.join(wanted)}, but this one"
            f" takes {len(network.inputs)}: {', '.join(network.inputs)}"
        )
