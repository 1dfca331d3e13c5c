"""Is a folder a package that runs? All that can be found out before it is used, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from inference.confined import pool
from inference.errors import InferenceError
from inference.golden import run_golden_cases
from inference.golden_verdict import together
from inference.manifest import PythonRuntime
from inference.package import Package, load_package
from inference.signed import SIGNATURE, Signers, require_signed


@dataclass(frozen=True, slots=True)
class Finding:
    """One step: what was asked, whether it holds, and what was found."""

    step: str
    holds: bool
    words: str


def check_package(
    folder: Path, device: Literal["auto", "cpu", "cuda"] = "auto", signers: Signers | None = None
) -> Iterator[Finding]:
    """signature, where it is asked for one of `signers`; manifest and digests, weights, golden cases.

    It ends with the first step on which all others rest that fails: what is not signed is not parsed.
    """
    if signers is not None:
        signed = _tried("signature", lambda: _signed(folder, signers))
        yield signed
        if not signed.holds:
            return
    package = None
    try:
        package = load_package(folder)
    except InferenceError as error:
        yield Finding("manifest and files", False, str(error))
    if package is None:
        return
    files = len(package.manifest.weights) + len(package.manifest.golden)
    words = f"{package.key}, {files} files with the SHA-256 that they should have; content {package.content_sha256}"
    yield Finding("manifest and files", True, words)
    if not isinstance(package.manifest.runtime, PythonRuntime):
        yield _tried("weights", lambda: _load(package, device))
    if not package.manifest.golden:
        yield Finding(
            "golden cases", False, "there are none: nobody can tell whether it works, or when it stops to work"
        )
        return
    try:
        verdicts = run_golden_cases(package, device)
        verdicts += together(package.manifest, verdicts)
    except Exception as error:  # noqa: BLE001 - a network may fail in any way, and each must be told
        yield Finding("golden cases", False, f"{type(error).__name__}: {error}")
        return
    for verdict in verdicts:
        yield Finding(f"golden case: {verdict.case}", verdict.passed, verdict.words)


def _signed(folder: Path, signers: Signers) -> str:
    require_signed(folder, signers)
    by = signers.public_key or " and ".join(map(str, signers.certificates))
    return f"{SIGNATURE} signs every file, and there is no other; verified with {by}"


def _load(package: Package, device: Literal["auto", "cpu", "cuda"]) -> str:
    return f"loaded on {pool.POOL.load(package, device, pool.bounds_of(package))}"


def _tried(step: str, attempt: Callable[[], str]) -> Finding:
    try:
        return Finding(step, True, attempt())
    except InferenceError as error:
        return Finding(step, False, str(error))
