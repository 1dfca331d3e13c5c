"""Further versions of the package that `dicom-node models new` writes: as good as it, or another answer with cases to match."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from inference.golden import _read, _volume, write_case
from inference.package import MANIFEST, load_package
from inference.predict import predict
from inference.scaffold import CASE


def version_of(package: Path, folder: Path, version: str, **changes: Any) -> Path:
    """A copy under another version. changes: parts of model.yaml that are replaced.

    window_low: it outlines what is 1,000 HU above that, and not above -200 HU; its golden case expects just that.
    """
    shutil.copytree(package, folder)
    low = changes.pop("window_low", None)
    tree = yaml.safe_load((folder / MANIFEST).read_text()) | {"version": version} | changes
    if low is not None:
        tree["preprocessing"]["intensity"][0].update(low=low, high=low + 2000.0)
    (folder / MANIFEST).write_text(yaml.safe_dump(tree))
    if low is not None:
        record(folder)
    return folder


def record(folder: Path) -> None:
    """Have the golden case expect what the package tells now."""
    package = load_package(folder)
    volume = _volume(_read(package, package.manifest.golden[0]), "", "CT")
    content = write_case(volume, MappingProxyType({}), predict(volume, package, "cpu"))
    (folder / CASE).write_bytes(content)
    tree = yaml.safe_load((folder / MANIFEST).read_text())
    tree["golden"][0]["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / MANIFEST).write_text(yaml.safe_dump(tree))
