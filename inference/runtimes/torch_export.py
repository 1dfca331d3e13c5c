"""Networks written by torch.export.save (.pt2): a graph as JSON and plain tensors.

Such an archive may also hold pickles, and torch runs them: constants of foreign types outright, and sample inputs where they
cannot be read as plain tensors. So archives are looked into first, and one that holds more than tensors is refused.
"""

from __future__ import annotations

import importlib
import pickle
import warnings
import zipfile
from io import BytesIO
from pathlib import PurePosixPath

import torch

from inference.archives import check_entries
from inference.errors import PackageError

_PLAIN = ("weight_", "tensor_")
_QUANTISED = b"quantized_decomposed"
_CONFIGS = ("model_weights_config.json", "model_constants_config.json")


def load(content: BytesIO, device: torch.device) -> torch.nn.Module:
    """Raises PackageError where the content is no such file, or holds what is not a tensor."""
    try:
        with zipfile.ZipFile(content) as archive:
            check_entries(archive)
            _check(archive)
            if _is_quantised(archive):
                _know_quantised_operations()
        content.seek(0)
        program = torch.export.load(content)
        network: torch.nn.Module = program.module()
    except PackageError:
        raise
    except Exception as error:  # torch names no closed set of errors for a file that is not as it should be
        first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise PackageError(f"the weights are not what runtime.kind torch_export needs: {first}") from error
    return network.to(device)


def _check(archive: zipfile.ZipFile) -> None:
    names = [PurePosixPath(name) for name in archive.namelist()]
    if not any(name.name == "archive_format" for name in names):
        raise PackageError(
            "the weights are no .pt2 archive: write them anew with torch.export.save of torch 2.8 or later"
        )
    for name in names:
        parts = name.parts[1:]
        if parts[:2] in {("data", "weights"), ("data", "constants")}:
            if not name.name.startswith(_PLAIN) and name.name not in _CONFIGS:
                raise PackageError(f"the weights hold {name}, which is no tensor, and would be run as code: refused")
            _check_tensor(archive, name)
        elif parts[:2] == ("data", "sample_inputs"):
            _check_pickle(archive, name)


def _is_quantised(archive: zipfile.ZipFile) -> bool:
    """Whether the graph names the operations that a conversion to int8 (PT2E) writes."""
    graphs = [name for name in archive.namelist() if PurePosixPath(name).parts[1:2] == ("models",)]
    return any(_QUANTISED in archive.read(name) for name in graphs)


def _know_quantised_operations() -> None:
    """Torch knows them once this module is imported; a file that names them cannot be loaded before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        importlib.import_module("torch.ao.quantization.fx._decomposed")


def _check_tensor(archive: zipfile.ZipFile, name: PurePosixPath) -> None:
    """Raw numbers, or a torch file of its own."""
    with archive.open(str(name)) as file:
        is_archive = file.read(4) == b"PK\x03\x04"
    if is_archive:
        _check_pickle(archive, name)


def _check_pickle(archive: zipfile.ZipFile, name: PurePosixPath) -> None:
    try:
        torch.load(BytesIO(archive.read(str(name))), weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError) as error:
        raise PackageError(
            f"the weights hold {name}, which is more than tensors, and would be run as code: refused"
        ) from error
