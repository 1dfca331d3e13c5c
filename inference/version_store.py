"""Versions of model packages as they were taken up: copies that nobody changes, by the digest of their content.

Jobs run from here, so what becomes of the folder that somebody brought harms nothing. A copy is there whole or not at all,
whatever ends the process that makes it, and it is verified again whenever it is loaded.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from inference.errors import PackageError
from inference.manifest import PythonRuntime
from inference.package import Package, file_digests, load_exactly

_FILE_MODE, _FOLDER_MODE = 0o444, 0o555
_PARTIAL, _REMOVED = ".partial-", ".removed-"
_AGAIN = "take it away, and activate the version again from where it came"


class VersionStore:
    """folder/CONTENT_SHA256/NAME/...: below its digest a package has a folder of its name, since a bundle has none inside."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._loaded: dict[str, Package] = {}

    def add(self, package: Package) -> Package:
        """The package as it is kept, copied where it was not there. One that is built in stays where it is.

        Raises PackageError where its files are not any more what was verified, or cannot be copied.
        """
        if isinstance(package.manifest.runtime, PythonRuntime):
            return package
        if not (self._folder / package.content_sha256).is_dir():
            self._copy(package)
        return self.package(package.content_sha256)

    def package(self, content_sha256: str) -> Package:
        """Raises PackageError where it is not there, or is not what it was.

        Verified once in this process; who runs it verifies it once more.
        """
        if content_sha256 not in self._loaded:
            self._loaded[content_sha256] = self._load(self._folder / content_sha256, content_sha256)
        return self._loaded[content_sha256]

    def folder_of(self, content_sha256: str) -> Path | None:
        """Where the package lies; nothing of it is read, and it may have been changed."""
        place = self._folder / content_sha256
        return next(iter(sorted(place.iterdir())), None) if place.is_dir() else None

    def remove(self, content_sha256: str) -> int:
        """Take the package away; returns how many bytes that were, 0 where it was not there.

        Whole or not at all, as it came: what a removal that was interrupted left is taken away with the next one. What was
        measured of it stays, since results are what they are by it. Raises PackageError where it cannot be.
        """
        place = self._folder / content_sha256
        gone = self._folder / f"{_REMOVED}{os.getpid()}-{content_sha256[:16]}"
        self._loaded.pop(content_sha256, None)
        size_bytes = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
        try:
            if place.is_dir():
                place.rename(gone)
                _sync(self._folder)
            for left in self._folder.glob(f"{_REMOVED}*"):
                _delete(left)
        except OSError as error:
            raise PackageError(f"{place} cannot be removed: {error.strerror or error}") from error
        return size_bytes

    def _load(self, place: Path, content_sha256: str) -> Package:
        inside = sorted(place.iterdir()) if place.is_dir() else []
        if len(inside) != 1:
            raise PackageError(
                f"{place}: must hold the package with the content {content_sha256}, but holds {len(inside)} folders; {_AGAIN}"
            )
        return load_exactly(inside[0], content_sha256, _AGAIN)

    def _copy(self, package: Package) -> None:
        part = self._folder / f"{_PARTIAL}{os.getpid()}-{package.content_sha256[:16]}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(part, ignore_errors=True)
            home = part / package.manifest.name
            home.mkdir(parents=True)
            for name in file_digests(package.folder):
                _copy_file(package.folder / name, home / name)
            self._load(part, package.content_sha256)
            _seal(part)
            part.rename(self._folder / package.content_sha256)
            _sync(self._folder)
        except OSError as error:
            shutil.rmtree(part, ignore_errors=True)
            if (self._folder / package.content_sha256).is_dir():
                return  # another process made the same copy meanwhile
            raise PackageError(
                f"{package.key} cannot be copied from {package.folder} to {self._folder}: {error.strerror or error}"
            ) from error
        except PackageError:
            shutil.rmtree(part, ignore_errors=True)
            raise


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as read, target.open("xb") as written:
        shutil.copyfileobj(read, written, 1024 * 1024)
        written.flush()
        os.fchmod(written.fileno(), _FILE_MODE)
        os.fsync(written.fileno())


def _seal(part: Path) -> None:
    """Names of files are durable once their folders are synced."""
    for folder, _, _ in os.walk(part, topdown=False):
        Path(folder).chmod(_FOLDER_MODE)
        _sync(Path(folder))


def _delete(sealed: Path) -> None:
    """Names go from folders only that may be written to."""
    for folder, _, _ in os.walk(sealed):
        Path(folder).chmod(0o755)
    shutil.rmtree(sealed)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
