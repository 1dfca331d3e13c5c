"""Networks written by torch.jit.save. Their archive holds code of TorchScript's own, and torch unpickles nothing else of it."""

from __future__ import annotations

import warnings
from io import BytesIO

import torch

from inference.archives import check_archive
from inference.errors import PackageError


def load(content: BytesIO, device: torch.device) -> torch.nn.Module:
    """Raises PackageError where the content is no such file."""
    check_archive(content)
    try:
        with warnings.catch_warnings():
            # Torch prefers torch.export now; networks that hospitals have were written before.
            warnings.simplefilter("ignore", DeprecationWarning)
            network: torch.nn.Module = torch.jit.load(content, map_location=device)  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, EOFError) as error:
        first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise PackageError(f"the weights are not what runtime.kind torchscript needs: {first}") from error
    return network.eval()
