"""The errors a person meets. Each docstring is the default message, so the two cannot diverge."""

from __future__ import annotations


class NodeError(Exception):
    """dicom-node cannot go on."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class ConfigError(NodeError):
    """config.yaml is not valid."""


class DeliveryRefused(NodeError):
    """The destination refused the result for good; sending it again would change nothing."""


class DeliveryFailed(NodeError):
    """The destination could not take the result now; it is tried again later."""
