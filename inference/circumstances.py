"""Where and how a model ran: all of the machine and of torch that may change a bit of its answer."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import torch

from inference import tunings
from inference.devices import chosen_device
from inference.manifest import PythonRuntime
from inference.package import Package

_GPUS = Path("/proc/driver/nvidia/gpus")
_CPU = Path("/proc/cpuinfo")
CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def circumstances_of(package: Package, device: str) -> dict[str, str]:
    """Of a run of the package on "auto", "cpu" or "cuda" in this process, as names and values for people and for comparison."""
    manifest = package.manifest
    wanted = package.device_for(device)
    where = chosen_device(wanted)
    precision = "fp32" if isinstance(manifest.runtime, PythonRuntime) or not manifest.use else manifest.use.precision
    told = {
        "device": where.type,
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "precision": precision,
        "float32 matrix products": torch.get_float32_matmul_precision(),
        "mkldnn": str(torch.backends.mkldnn.enabled),
        "deterministic": "yes, where there is a deterministic form",
    }
    if tuning := tunings.known(package, where.type):
        told |= {"form of the network": tuning.form, "windows at once": str(tuning.batch or "as memory allows")}
    if where.type == "cuda":
        told |= {
            "gpu": _gpu(),
            "cuda": str(torch.version.cuda),
            "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
            "tf32 in convolutions": str(torch.backends.cudnn.allow_tf32),
            "cublas workspace": os.environ.get(CUBLAS_WORKSPACE, "as delivered"),
        }
    return told


@cache
def _processor() -> str:
    return _told(_CPU, "model name") or "unknown"


def _gpu() -> str:
    """By its driver's word where this process does not use it: to ask torch would take memory of it."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return str(torch.cuda.get_device_name())
    names = {_told(path, "Model") for path in _GPUS.glob("*/information")}
    return ", ".join(sorted(filter(None, names))) or "unknown"


def _told(path: Path, name: str) -> str:
    """What a file of lines "name : value" says of a name first."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name), "")
