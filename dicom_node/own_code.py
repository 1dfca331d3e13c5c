"""Which code runs: the version of the node, a digest of its sources, and the libraries that it calls."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from dicom_node import __version__

PACKAGES = ("dicom_node", "inference", "storage")
SUFFIXES = frozenset({".py", ".yaml", ".json", ".ttf", ".otf"})
LIBRARIES = (
    "torch",
    "numpy",
    "scipy",
    "pydicom",
    "highdicom",
    "imagecodecs",
    "pillow",
    "reportlab",
    "monai",
    "onnxruntime",
    "torchao",
    "safetensors",
)
"""Those that may change a bit of a result, by the names of their distributions."""
_MODULES = {"pillow": "PIL"}


@dataclass(frozen=True, slots=True)
class OwnCode:
    """sources_sha256: of all files of the node's own packages that are code, or that code reads."""

    version: str
    sources_sha256: str


@cache
def own_code() -> OwnCode:
    """As it is on the disk when this is first asked; a process asks when it starts, and then runs what it read."""
    home = Path(__file__).parents[1]
    return OwnCode(__version__, digest_of(home / name for name in PACKAGES))


def digest_of(folders: Iterable[Path]) -> str:
    """SHA-256 over names and contents of the sources in the folders, the same wherever these lie."""
    whole = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            whole.update(f"{folder.name}/{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return whole.hexdigest()


def libraries(besides: Iterable[str] = ()) -> dict[str, str]:
    """Versions of Python and of the libraries that this process loaded; besides: of those that another one ran for it."""
    found = {"python": platform.python_version()}
    wanted = set(besides)
    for name in LIBRARIES:
        if name in wanted or _MODULES.get(name, name) in sys.modules:
            found |= _version(name)
    return found


@cache
def _version(name: str) -> Mapping[str, str]:
    try:
        return {name: metadata.version(name)}
    except metadata.PackageNotFoundError:
        return {}
