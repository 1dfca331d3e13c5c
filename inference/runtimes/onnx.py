"""Networks in the Open Neural Network Exchange format, run by onnxruntime, which is an extra of the installation."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import torch
from torch import Tensor

from inference.errors import InferenceError, PackageError

_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def load(content: BytesIO, device: torch.device) -> Callable[[Tensor], object]:
    """A call of the network: a tensor to a tensor, or to a tuple of them where it has several outputs.

    Raises PackageError where the content is no such file, keeps part of itself in other files, or takes several inputs;
    InferenceError where onnxruntime is not installed, or not for CUDA where that is asked for.
    """
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
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(item.name for item in inputs)
        raise PackageError(f"a network must take one input, the image, but this one takes {len(inputs)}: {names}")
    (name,) = [item.name for item in inputs]

    def call(image: Tensor) -> object:
        told = session.run(None, {name: np.ascontiguousarray(image.float().cpu().numpy())})
        tensors = [torch.from_numpy(np.asarray(item)).to(device) for item in told]
        return tensors[0] if len(tensors) == 1 else tuple(tensors)

    return call
