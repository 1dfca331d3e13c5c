"""What must hold before a version takes the place of another: its golden cases pass, and it is not worse than that one."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dicom_node.config import Config, Model
from dicom_node.errors import NodeError
from dicom_node.golden_check import golden_check
from dicom_node.model_words import removed_words
from dicom_node.models import check_signature
from dicom_node.versions import Versions
from inference.confined import pool
from inference.devices import chosen_device
from inference.errors import InferenceError
from inference.golden import run_golden_cases
from inference.golden_verdict import Verdict, together
from inference.package import Package, load_package
from inference.registry import Registry, is_package
from inference.regression import Compared, compare
from storage.records.models import GoldenCheck, ModelVersion


@dataclass(frozen=True, slots=True)
class Judgement:
    """verdicts: of the version's own golden cases. compared: with the active version, on that one's. refusals: why it is not
    activated; none where it may be."""

    verdicts: tuple[Verdict, ...]
    compared: tuple[Compared, ...]
    refusals: tuple[str, ...]


def judge(
    new: Package, active: Package | None, device: Literal["auto", "cpu", "cuda"], *, without_golden_cases: bool
) -> Judgement:
    """Run what there is to run. Nothing makes a version pass whose golden cases fail.

    without_golden_cases: whether somebody said that it may go without any, as bundles do.
    """
    refusals: list[str] = []
    verdicts: tuple[Verdict, ...] = ()
    compared: tuple[Compared, ...] = ()
    try:
        verdicts = run_golden_cases(new, device)
        verdicts += together(new.manifest, verdicts)
        if active is not None and active.content_sha256 != new.content_sha256:
            compared = compare(active, new, device)
    except Exception as error:  # noqa: BLE001 - a network may fail in any way, and each must be told
        refusals.append(f"its golden cases cannot be run: {type(error).__name__}: {error}")
    if not new.manifest.golden and not without_golden_cases:
        refusals.append(
            "it has no golden cases, so nobody can tell whether it works: add some, or say --without-golden-cases"
        )
    if failed := [verdict for verdict in verdicts if not verdict.passed]:
        refusals.append(f"{len(failed)} of {len(verdicts)} golden cases failed")
    if worse := [item for item in compared if not item.holds]:
        refusals.append(
            f"{len(worse)} of {len(compared)} figures are worse than those of {active.key if active else ''}"
        )
    return Judgement(verdicts, compared, tuple(refusals))


def measure(new: Package, device: Literal["auto", "cpu", "cuda"]) -> None:
    """Find out which form of its network is the fastest here, before a study comes. It is for speed alone: where it fails, the
    network runs as it came."""
    with suppress(InferenceError):
        pool.tuned(new, device)


def check_of(new: Package, device: str, judgement: Judgement) -> GoldenCheck:
    """How the golden cases went, to be kept."""
    wanted = new.device_for(device)
    return golden_check(new, chosen_device(wanted).type, judgement.verdicts, time.time())


def brought(what: str, config: Config, versions: Versions) -> ModelVersion:
    """The version that a person means: a folder, which is taken up; or NAME@VERSION, of those that are known or configured.

    Raises PackageError where it is no package, VersionTaken where its version has another content, NodeError where there is
    none.
    """
    folder = Path(what)
    if folder.is_dir():
        if not is_package(folder):
            raise NodeError(f"{folder}: is no model package: dicom-node models check {folder}")
        loaded = load_package(folder)
        for model in _entries(config, loaded.manifest.name):
            check_signature(model, folder)
        return versions.add(loaded)
    known = versions.keyed(what)
    if known is not None and known.removed_at is None:
        for model in _entries(config, known.name):
            if not known.built_in:
                versions.require_signed(known.content_sha256, model)
        return known
    for model in _entries(config, what.partition("@")[0]):
        check_signature(model)
    named = [item.folder for item in config.models if item.folder is not None and item.folder.is_dir()]
    package = next((item for item in Registry(named) if item.key == what), None)
    if package is None and known is not None and (removed := removed_words([known], what)):
        raise NodeError(removed)
    if package is None:
        raise NodeError(
            f"{what}: must be NAME@VERSION of a version that is known, or the folder of a package; "
            "dicom-node models list shows those that are known"
        )
    return versions.add(package)


def _entries(config: Config, name: str) -> list[Model]:
    """All that config.yaml says of a model, in whatever version."""
    return [item for item in config.models if item.name.partition("@")[0] == name]


def entry_of(config: Config, name: str) -> Model | None:
    """How config.yaml has a model run; None where it does not name it. Raises NodeError where it holds it to a version."""
    held = [item.name for item in config.models if item.name.partition("@")[0] == name]
    if held and name not in held:
        raise NodeError(
            f"{name}: config.yaml holds it to {', '.join(held)}: name it without a version there to change it by command"
        )
    return next((item for item in config.models if item.name == name), None)
