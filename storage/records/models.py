"""Versions of models: what was taken up, which does what, and whether its golden cases pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from storage.records.json_object import Json


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version of a model that was ever taken up. built_in: of the installation; source: the folder it was copied from.

    removed_at: when its files were removed; None while they are kept.
    """

    content_sha256: str
    name: str
    version: str
    built_in: bool
    added_at: float
    source: str
    removed_at: float | None = None

    @property
    def key(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class ModelRole:
    """Which versions of a model do what, by the digests of their contents.

    active_by: whether the configuration brought it, when there was none, or a person activated it. canary_share: 0 to 1.
    disabled_by: a person, or golden cases that failed.
    """

    name: str
    active_sha256: str | None = None
    active_by: Literal["configuration", "command"] | None = None
    active_since: float | None = None
    previous_sha256: str | None = None
    shadow_sha256: str | None = None
    shadow_since: float | None = None
    canary_sha256: str | None = None
    canary_share: float | None = None
    canary_since: float | None = None
    disabled_at: float | None = None
    disabled_by: Literal["command", "golden"] | None = None
    disabled_reason: str | None = None

    @property
    def disabled(self) -> bool:
        return self.disabled_at is not None


@dataclass(frozen=True, slots=True)
class GoldenCheck:
    """Golden cases of a version as they were run once.

    device: "cpu", or the name of the GPU. cases: of each what came of it, {"case", "passed", "words", "seconds"}.
    """

    content_sha256: str
    device: str
    at: float
    passed: bool
    words: str
    cases: tuple[Json, ...] = ()
