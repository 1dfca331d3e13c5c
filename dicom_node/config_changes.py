"""What differs between two configurations, as paths of keys: values may be secrets, and are never shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic.fields import FieldInfo

from dicom_node.config import Config
from dicom_node.config_section import AT_START, Section


@dataclass(frozen=True, slots=True)
class Change:
    """at_start: the key is taken at the start of the node, so a running one cannot take the change up."""

    path: str
    at_start: bool = False


def changes(before: Config, after: Config) -> tuple[Change, ...]:
    """In the order of the definitions. Entries of a list are the same entry where they have the same name.

    Their number is that of `after`, as in "routes[1].priority", "routes[2] added", "routes (order)"; what is gone has
    its name, as in "routes: ct removed".
    """
    return tuple(_of_section(before, after, ""))


def _of_section(before: Section, after: Section, prefix: str) -> Iterator[Change]:
    for name, field in type(after).model_fields.items():
        one, other = getattr(before, name), getattr(after, name)
        if one != other:
            yield from _of_value(one, other, f"{prefix}{name}", field)


def _of_value(before: object, after: object, path: str, field: FieldInfo) -> Iterator[Change]:
    if isinstance(before, Section) and isinstance(after, Section) and type(before) is type(after):
        yield from _of_section(before, after, f"{path}.")
        return
    if isinstance(before, tuple) and isinstance(after, tuple):
        old, new = _named(before), _named(after)
        if old is not None and new is not None:
            yield from _of_entries(old, new, path)
            return
    yield Change(path, _is_at_start(field) or _has_key_at_start(before) or _has_key_at_start(after))


def _of_entries(before: dict[str, Section], after: dict[str, Section], path: str) -> Iterator[Change]:
    for index, (name, entry) in enumerate(after.items()):
        old = before.get(name)
        if old is None:
            yield Change(f"{path}[{index}] added")
        elif type(old) is not type(entry):
            yield Change(f"{path}[{index}]")
        else:
            yield from _of_section(old, entry, f"{path}[{index}].")
    for name in before:
        if name not in after:
            yield Change(f"{path}: {name} removed")
    if [name for name in before if name in after] != [name for name in after if name in before]:
        yield Change(f"{path} (order)")


def _named(entries: tuple[object, ...]) -> dict[str, Section] | None:
    """Entries by what tells them apart; None where they are no sections, or two have the same name."""
    named: dict[str, Section] = {}
    for entry in entries:
        name = getattr(entry, "name", None) or getattr(entry, "ae_title", None)
        if not isinstance(entry, Section) or not isinstance(name, str):
            return None
        named[name] = entry
    return named if len(named) == len(entries) else None


def _is_at_start(field: FieldInfo) -> bool:
    return field.json_schema_extra == AT_START


def _has_key_at_start(value: object) -> bool:
    return isinstance(value, Section) and any(_is_at_start(field) for field in type(value).model_fields.values())
