"""What was found to be the fastest form of each version, kept beside the versions: by content, device, torch and machine.

Of a version at STORE/CONTENT_SHA256/NAME it is STORE/.tuning/CONTENT_SHA256.json, so that the version itself stays as it is. A
package that is nowhere kept by its content has none. What cannot be read or written costs speed, and nothing else.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from inference.package import Package
from inference.tuning import FORMS, Tuning

FOLDER = ".tuning"
_MAX_BYTES = 1 << 20
_MOST_BATCH = 1024


def known(package: Package, device: str) -> Tuning | None:
    """What was measured here on "cpu" or "cuda"; None where nothing was."""
    path = path_of(package)
    found = _read(path).get(here(device)) if path else None
    return told(found) if isinstance(found, dict) else None


def keep(package: Package, device: str, tuning: Tuning) -> bool:
    """Whether it could be kept. What was measured elsewhere on the same store stays."""
    path = path_of(package)
    if path is None:
        return False
    try:
        path.parent.mkdir(exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(_read(path) | {here(device): asdict(tuning)}, indent=1))
        part.replace(path)
    except OSError:
        return False
    return True


def path_of(package: Package) -> Path | None:
    home = package.folder.absolute().parent
    return home.parent / FOLDER / f"{home.name}.json" if home.name == package.content_sha256 else None


def here(device: str) -> str:
    """What a measurement holds for: another of these is another machine."""
    name = _graphics() if device == "cuda" else f"{_processor()}, {torch.get_num_threads()} threads"
    return f"{device}, {name}, torch {torch.__version__}"


def told(tree: Mapping[str, Any]) -> Tuning:
    """From JSON, which may come from a process that ran foreign weights: what is not as it must be is the network as it came."""
    form, batch = tree.get("form"), tree.get("batch")
    if form not in FORMS or not (batch is None or (isinstance(batch, int) and 1 <= batch <= _MOST_BATCH)):
        return Tuning()
    seconds = {name[:40]: float(one) for name, one in _pairs(tree.get("seconds")) if isinstance(one, float | int)}
    if not all(math.isfinite(one) for one in seconds.values()):
        return Tuning()
    refused = {name[:40]: str(words)[:200] for name, words in _pairs(tree.get("refused"))}
    return Tuning(form, batch, seconds, refused)


def _pairs(found: object) -> list[tuple[str, Any]]:
    return [(str(name), value) for name, value in found.items()][:32] if isinstance(found, dict) else []


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_bytes()[:_MAX_BYTES])
    except (OSError, ValueError, RecursionError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _processor() -> str:
    return _said(Path("/proc/cpuinfo"), "model name") or platform.machine()


def _graphics() -> str:
    """As the driver tells it: to ask torch would take memory of the device."""
    found = (_said(path, "Model") for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")))
    return next((one for one in found if one), "unknown GPU")


def _said(path: Path, name: str) -> str:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
