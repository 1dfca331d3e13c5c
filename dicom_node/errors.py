"""The errors a person meets. Each docstring is the default message, so the two cannot diverge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class NodeError(Exception):
    """dicom-node cannot go on."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a configuration file, and where: enough to repair it without a search."""

    file: str
    line: int | None  # counts from 1; None where no line is to blame
    path: str  # "destinations[0].port"; empty for the file as a whole
    rule: str
    value: str | None = None  # as written in the file; None where it is a secret or says nothing
    nearest: str | None = None

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        key = f" {self.path}:" if self.path else ""
        value = "" if self.value is None else f", but is {self.value}"
        nearest = "" if self.nearest is None else f", did you mean {self.nearest}?"
        return f"{where}:{key} {self.rule}{value}{nearest}"


class ConfigError(NodeError):
    """config.yaml is not valid."""

    def __init__(self, message: str | None = None, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message or "\n".join(map(str, problems)) or None)
        self.problems = tuple(problems)
