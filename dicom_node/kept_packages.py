"""The package that a result was made by, wherever it is kept now: among the versions of the node, or where it is configured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dicom_node.config import Config
from dicom_node.errors import NodeError
from dicom_node.model_words import removed_words
from inference.errors import PackageError
from inference.package import BUILT_IN, Package, load_package
from inference.registry import package_folders
from storage.records.models import ModelVersion


def package_with(config: Config, known: Iterable[ModelVersion] = ()) -> Callable[[str, str], Package]:
    """Finds a package by name@version and the SHA-256 of its content; raises NodeError where there is none such.

    known: every version that was ever taken up, so that one which was removed is told from one that nobody knows.
    """

    def find(key: str, content_sha256: str) -> Package:
        others = []
        for package in _packages(config, content_sha256):
            if (package.key, package.content_sha256) == (key, content_sha256):
                return package
            others += [package.content_sha256] if package.key == key else []
        if removed := removed_words(known, key, content_sha256):
            raise NodeError(removed)
        if others:
            raise NodeError(
                f"model {key}: must have the content {content_sha256}, but what is here has {others[0]}; it was changed"
                " under its version, or came with another version of the node"
            )
        raise NodeError(f"model {key}: is not here any more; its content was {content_sha256}")

    return find


def _packages(config: Config, content_sha256: str) -> Iterator[Package]:
    """One that cannot be read is none; where it was looked for, the reason is told as if it were not there."""
    kept = config.versions_folder / content_sha256
    for folder in (
        *_folders(kept),
        *_folders(BUILT_IN),
        *(found for model in config.models for found in _folders(model.folder)),
    ):
        try:
            yield load_package(folder)
        except (PackageError, OSError):
            continue


def _folders(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    try:
        return package_folders(folder)
    except PackageError:
        return []
