"""The configuration of a bundle as data: steps with their arguments, references followed, expressions never run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from inference.bundle_expressions import NotPlainError, value_of
from inference.errors import PackageError

_DEEPEST = 16


@dataclass(frozen=True, slots=True)
class Step:
    """Something that a configuration would have made: the last part of its class's name, and its arguments."""

    name: str
    arguments: dict[str, Any]
    where: str

    def refused(self, why: str) -> PackageError:
        return PackageError(f"{self.where}: {self.name} {why}; write a model.yaml for this model (docs/models.md)")

    def has(self, key: str) -> bool:
        return self.arguments.get(key) is not None

    def first(self, key: str, default: object) -> Any:
        """The value, or the first where there is one for each image."""
        value = self.arguments.get(key, default)
        return value[0] if isinstance(value, list) and value else value

    def switch(self, key: str) -> bool:
        return self.first(key, False) is True

    def number(self, key: str, default: float | None = None) -> float:
        value = self.first(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refused(f"has {key} {value!r}, which is no number")
        return float(value)

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        value = self.arguments.get(key)
        listed: list[Any] = value if isinstance(value, list) else [value] * count
        if len(listed) != count or not all(
            isinstance(one, int | float) and not isinstance(one, bool) for one in listed
        ):
            raise self.refused(f"has {key} {value!r}, which are not {count} numbers")
        return tuple(float(one) for one in listed)

    def whole_numbers(self, key: str, count: int) -> tuple[int, ...]:
        return tuple(int(one) for one in self.numbers(key, count))


class Config:
    """A bundle's inference configuration."""

    def __init__(self, tree: Mapping[str, Any], folder: Path) -> None:
        self._tree = tree
        self._where = f"{folder}/configs"

    def checkpoint(self) -> str | None:
        """The name of the file from which the bundle loads its weights, where it says so in a way that can be read."""
        handlers = self._tree.get("handlers", [])
        written = [self._tree.get("checkpointloader"), *(handlers if isinstance(handlers, list) else [])]
        for number, item in enumerate(written):
            if isinstance(item, Mapping) and str(item.get("_target_", "")).rpartition(".")[2] == "CheckpointLoader":
                path = self._step(item, f"handlers[{number - 1}]" if number else "checkpointloader").first(
                    "load_path", ""
                )
                return PurePosixPath(path).name if isinstance(path, str) and not _is_expression(path) else None
        return None

    def step(self, *names: str) -> Step:
        """The first of some keys that is there, as a step."""
        for name in names:
            if name in self._tree:
                return self._step(self._tree[name], name)
        raise PackageError(f"{self._where}: {' or '.join(names)} must be given")

    def steps(self, name: str) -> list[Step]:
        """The transforms of a Compose; those that are disabled left out."""
        if name not in self._tree:
            return []
        composed = self.step(name)
        if composed.name != "Compose":
            raise composed.refused("must be a Compose")
        transforms = composed.arguments.get("transforms", [])
        if not isinstance(transforms, list):
            raise composed.refused("has transforms that are no list")
        made = [self._step(item, f"{name}.transforms[{index}]") for index, item in enumerate(transforms)]
        return [step for step in made if step.arguments.pop("_disabled_", False) is not True]

    def _step(self, written: object, where: str) -> Step:
        value = self._plain(written, where, 0, lenient=True)
        if not isinstance(value, dict) or not isinstance(value.get("_target_"), str):
            raise PackageError(f"{self._where}: {where} must name a class (_target_), but is {value!r}")
        name = value.pop("_target_").rpartition(".")[2]
        return Step(name, value, f"{self._where}: {where}")

    def _plain(self, value: object, where: str, depth: int, *, lenient: bool) -> Any:
        """The value with its references replaced by what they refer to.

        lenient: arguments that are expressions are left out here, and missed where they are needed: bundles compute
        devices and folders so, which nobody asks for.
        """
        if depth > _DEEPEST:
            raise PackageError(f"{self._where}: {where} refers to itself, or is nested too deeply")
        if isinstance(value, str) and value.startswith("@"):
            return self._plain(self._at(value[1:], where), where, depth + 1, lenient=lenient)
        if isinstance(value, str) and value.startswith("$"):
            return self._read(value, where, depth, lenient=lenient)
        if isinstance(value, Mapping):
            found = {
                str(key): self._plain(item, f"{where}.{key}", depth + 1, lenient=lenient) for key, item in value.items()
            }
            return {key: item for key, item in found.items() if not _is_expression(item)}
        if isinstance(value, Sequence) and not isinstance(value, str):
            return [
                self._plain(item, f"{where}[{index}]", depth + 1, lenient=lenient) for index, item in enumerate(value)
            ]
        return value

    def _read(self, expression: str, where: str, depth: int, *, lenient: bool) -> Any:
        """The plain value that an expression says; the expression itself where it says more."""

        def resolve(reference: str) -> Any:
            return self._plain(self._at(reference, where), where, depth + 1, lenient=lenient)

        try:
            return value_of(expression[1:], resolve)
        except NotPlainError:
            return expression

    def _at(self, reference: str, where: str) -> object:
        found: Any = self._tree
        for part in reference.replace("#", "::").split("::"):
            try:
                found = found[int(part)] if isinstance(found, list) else found[part]
            except (KeyError, IndexError, ValueError, TypeError):
                raise PackageError(f"{self._where}: {where} refers to @{reference}, which is not there") from None
        return found


def _is_expression(value: object) -> bool:
    """Python to be evaluated, or a macro: never done here."""
    return isinstance(value, str) and value[:1] in {"$", "%"}
