"""What inference refuses, and why. Each message is a reason that a report or a job may show to a person."""

from __future__ import annotations

from typing import Literal


class InferenceError(Exception):
    """Inference cannot go on."""


class NotAVolume(InferenceError):
    """These instances do not form a volume; the message says by which rule."""


class PackageError(InferenceError):
    """A model package is not as its manifest says; the message names the key or file and the rule."""


class ModelProcessEnded(InferenceError):
    """The process that ran a model is no more: it crashed or took too much memory (killed), or too long (timeout)."""

    def __init__(self, words: str, outcome: Literal["killed", "timeout"]) -> None:
        super().__init__(words)
        self.outcome = outcome
