"""What inference refuses, and why. Each message is a reason that a report or a job may show to a person."""

from __future__ import annotations


class InferenceError(Exception):
    """Inference cannot go on."""


class NotAVolume(InferenceError):
    """These instances do not form a volume; the message says by which rule."""


class PackageError(InferenceError):
    """A model package is not as its manifest says; the message names the key or file and the rule."""
