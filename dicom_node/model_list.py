"""What every version of a model does now, a line each."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.config import Config
from dicom_node.model_words import disabled_words
from dicom_node.terminal import moment
from dicom_node.versions import Versions
from inference.errors import PackageError
from inference.package import Package
from inference.registry import Registry
from storage.models import Models
from storage.records.models import GoldenCheck, ModelRole, ModelVersion


@dataclass(frozen=True, slots=True)
class Line:
    """does: its roles, in words; "-" where it has none. is_wrong: it is disabled, or its golden cases failed."""

    key: str
    runtime: str
    does: str
    golden: str
    intended_use: str
    is_wrong: bool = False
    remarks: tuple[str, ...] = ()


def lines_of(config: Config, models: Models, versions: Versions) -> tuple[Line, ...]:
    """Versions that are known, and packages that are installed or configured and were not taken up yet; by their keys."""
    roles, checks = models.roles(), models.latest_checks()
    packages = {package.content_sha256: package for package in _installed(config)}
    known = {item.content_sha256: item for item in models.versions()}
    lines = [
        _line(config, item, packages.get(item.content_sha256) or versions.package_of(item.key), roles, checks)
        for item in known.values()
        if not item.built_in or item.content_sha256 in packages
    ]
    lines += [
        _unknown(config, package, roles.get(package.manifest.name))
        for package in packages.values()
        if package.content_sha256 not in known
    ]
    return tuple(sorted(lines, key=lambda line: line.key))


def _installed(config: Config) -> list[Package]:
    found = []
    for folder in [None, *(item.folder for item in config.models if item.folder)]:
        try:
            found += list(Registry([folder] if folder else []))
        except PackageError:
            continue  # what is wrong with a folder is told by `check`
    return found


def _line(
    config: Config,
    version: ModelVersion,
    package: Package | None,
    roles: dict[str, ModelRole],
    checks: dict[str, GoldenCheck],
) -> Line:
    role = roles.get(version.name)
    check = checks.get(version.content_sha256)
    if version.removed_at is not None:
        return Line(version.key, "-", f"removed {moment(version.removed_at)}", "-", "")
    golden = "-" if check is None else f"{'passed' if check.passed else 'failed'} {moment(check.at)}, {check.device}"
    if package is None:
        return Line(version.key, "?", "its copy is missing or damaged", golden, "", is_wrong=True)
    does = _does(config, version, role)
    is_wrong = (check is not None and not check.passed) or (role is not None and role.disabled and does != "-")
    return Line(version.key, package.manifest.runtime.kind, does, golden, package.manifest.intended_use, is_wrong)


def _does(config: Config, version: ModelVersion, role: ModelRole | None) -> str:
    entries = [item for item in config.models if item.name in (version.name, version.key)]
    words = []
    if any(item.name == version.key for item in entries):
        words.append("held by config.yaml")
    if role is not None:
        named = (
            (role.active_sha256, "active" if role.active_by == "configuration" else "active, by command"),
            (role.previous_sha256, "the one before"),
            (role.canary_sha256, f"canary, {(role.canary_share or 0) * 100:g} % of the studies"),
            (role.shadow_sha256, "shadow"),
        )
        words += [text for sha256, text in named if sha256 == version.content_sha256]
    if words and not entries:
        words.append("not named in config.yaml")
    elif words and not any(item.enabled for item in entries):
        words.append("switched off in config.yaml")
    if words and role is not None and role.disabled:
        words.append(f"{disabled_words(role)}, since {moment(role.disabled_at)}")
    return ", ".join(words) or "-"


def _unknown(config: Config, package: Package, role: ModelRole | None) -> Line:
    """Of a package that no node has taken up yet: what will be at its next start."""
    entry = next((item for item in config.models if item.name in (package.key, package.manifest.name)), None)
    does = "-"
    if entry is not None:
        does = "configured" if entry.enabled else "switched off in config.yaml"
    remarks: tuple[str, ...] = ()
    if entry is not None and role is not None and role.active_sha256 is not None and entry.name != package.key:
        does = "-"
        remarks = (
            f"{package.folder} holds {package.key}, which is not active: dicom-node models activate {package.key}",
        )
    return Line(package.key, package.manifest.runtime.kind, does, "-", package.manifest.intended_use, remarks=remarks)
