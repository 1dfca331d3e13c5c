"""Which models are installed: packages by name and version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from inference.bundle import is_bundle
from inference.errors import PackageError
from inference.package import BUILT_IN, MANIFEST, Package, load_package


class Registry:
    """Every package found at start, verified. It does not look again: a changed model is a restart away."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        """Load the built-in models and those in folders, each a package or a folder of packages.

        Raises PackageError for a folder without a package, a broken package, or one name@version at two places.
        """
        self._packages: dict[str, Package] = {}
        for folder in (BUILT_IN, *folders):
            for found in package_folders(folder):
                self._add(load_package(found))

    def _add(self, package: Package) -> None:
        other = self._packages.get(package.key)
        if other is not None and other.folder.resolve() != package.folder.resolve():
            raise PackageError(
                f"{package.key} is at {other.folder} and at {package.folder}: give one of them another version"
            )
        self._packages[package.key] = package

    def __iter__(self) -> Iterator[Package]:
        return iter(sorted(self._packages.values(), key=lambda package: package.key))

    def get(self, name: str) -> Package:
        """The package called name@version, or the only one called name."""
        if name in self._packages:
            return self._packages[name]
        same = [package for package in self if package.manifest.name == name]
        if len(same) == 1:
            return same[0]
        if same:
            keys = ", ".join(package.key for package in same)
            raise PackageError(f"model {name} is installed in {len(same)} versions: name one of {keys}")
        keys = ", ".join(self._packages) or "none"
        raise PackageError(f"model {name} is not installed; installed: {keys}")


def package_folders(folder: Path) -> list[Path]:
    """The folder itself where it is a package, else the packages right below it."""
    if is_package(folder):
        return [folder]
    found = sorted(path for path in folder.glob("*") if is_package(path))
    if not found:
        raise PackageError(f"{folder}: holds no {MANIFEST} and is no MONAI bundle, nor is any of its folders")
    return found


def is_package(folder: Path) -> bool:
    """Whether a folder looks like one; nothing of it is verified."""
    return (folder / MANIFEST).is_file() or is_bundle(folder)
