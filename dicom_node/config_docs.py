"""docs/config.md, the reference of config.yaml, from the definitions: `python -m dicom_node.config_docs` writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import ByteSize
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from dicom_node import conditions
from dicom_node.config import Config
from dicom_node.config_problems import sections_in
from dicom_node.config_section import AT_START, Section

DOCS_PATH = Path(__file__).parents[1] / "docs" / "config.md"
UNITS = {"_bytes_per_s": "bytes/s", "_s": "s", "_bytes": "bytes"}
_BOUNDS = ((Ge, "ge", ">="), (Gt, "gt", ">"), (Le, "le", "<="), (Lt, "lt", "<"))
_SIZES = ((1024**3, " GiB"), (1024**2, " MiB"), (1024, " KiB"), (1, ""))
_TYPES = (
    ("bool", "true or false"),
    ("ByteSize", "size"),
    ("int", "whole number"),
    ("float", "number"),
    ("Path", "path"),
    ("Condition", "attributes"),
    ("Network", "IP address or network"),
    ("SecretStr", "text (secret)"),
    ("str", "text"),
)
_HEAD = """# Keys of config.yaml

Written from the definitions in `dicom_node/config.py` by `python -m dicom_node.config_docs`: change them there.

A key left out has its default; an unknown key is refused. Relative paths count from the folder of the file. A text may
hold `${NAME}`, which is filled from the environment (`$${` stands for `${`). Sizes may be written `256 KiB` or `1 GiB`.
YAML is read without anchors and tags, and only `true` and `false` are switches. `dicom-node check` names every problem
of a file at once, `dicom-node check --connect` also asks every peer with a C-ECHO.

A running node takes up what is changed in the file, as "Change config.yaml" in [operations.md](operations.md) tells; for
the keys that are taken at start it wants a restart.
"""


def markdown() -> str:
    """docs/config.md, whole."""
    parts = [_HEAD, *_chapters(Config, "", 2, {}), _conditions_chapter()]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def keys(section: type[Section] = Config, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key path of the tree with its definition; lists as `destinations[]`, kinds as `destinations[dicom]`."""
    for name, field in section.model_fields.items():
        path = f"{prefix}{name}"
        yield path, field
        for tag, inner in sections_in(field.annotation).items():
            yield from keys(inner, f"{_element(path, field, tag)}.")


def default_of(field: FieldInfo) -> str:
    """The default as one would write it in the file; "required" where there is none."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or isinstance(value, conditions.Condition) or value is PydanticUndefined:
        return "none"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, ByteSize):
        size, name = next((size, name) for size, name in _SIZES if value % size == 0)
        return f"`{value // size}{name}`"
    text = json.dumps(value) if isinstance(value, bool | int | float) else str(value)
    return f"`{text.removesuffix('.0')}`"


def unit_of(name: str) -> str:
    """The unit that stands last in the name, or none."""
    return next((unit for suffix, unit in UNITS.items() if name.endswith(suffix)), "")


def _chapters(section: type[Section], prefix: str, level: int, seen: dict[type[Section], str]) -> Iterator[str]:
    """A chapter per section; one that is used twice is described where it stands first."""
    for name, field in section.model_fields.items():
        for tag, inner in sections_in(field.annotation).items():
            path = _element(f"{prefix}{name}", field, tag)
            if seen.setdefault(inner, path) == path:
                deeper = list(_chapters(inner, f"{path}.", level + 1, seen))
                yield f"{'#' * level} {path}\n\n{_summary(inner)}\n\n{_table(inner, seen)}"
                yield from deeper


def _element(path: str, field: FieldInfo, tag: str) -> str:
    return f"{path}[{tag}]" if get_origin(field.annotation) is tuple else path


def _summary(section: type[Section]) -> str:
    return " ".join((section.__doc__ or "").split())


def _table(section: type[Section], seen: dict[type[Section], str]) -> str:
    rows = ["| key | value | unit | default | meaning |", "|---|---|---|---|---|"]
    for name, field in section.model_fields.items():
        inner = sections_in(field.annotation)
        there = " and ".join(f"`{seen[one]}`" for one in inner.values())
        kind, default = (f"section, see {there}", "") if inner else (_type_of(field), default_of(field))
        cells = (f"`{name}`", kind, unit_of(name), default, _meaning(field))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _meaning(field: FieldInfo) -> str:
    said = field.description or ""
    return f"{said} Taken at start." if field.json_schema_extra == AT_START else said


def _type_of(field: FieldInfo) -> str:
    words = _words(field.annotation)
    bounds = _bounds(field)
    return f"{words}, {bounds}" if bounds else words


def _words(annotation: object) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(annotation))
    if get_origin(annotation) is tuple:
        return f"list of {_words(get_args(annotation)[0])}"
    if get_origin(annotation) is dict:
        return f"of each of these a {_words(get_args(annotation)[1])}"
    if isinstance(annotation, type):
        return next(words for name, words in _TYPES if annotation.__name__.endswith(name))
    parts = [part for part in get_args(annotation) if isinstance(part, type) or get_args(part)]
    return " or ".join(dict.fromkeys(_words(part) for part in parts if part is not type(None)))


def _bounds(field: FieldInfo) -> str:
    found: list[str] = []
    for rule in _rules(field.metadata, field.annotation):
        found += [f"{sign} {getattr(rule, name):.10g}" for kind, name, sign in _BOUNDS if isinstance(rule, kind)]
        if isinstance(rule, MinLen):
            found.append(f"at least {rule.min_length}")
        if isinstance(rule, MaxLen):
            found.append(f"at most {rule.max_length}")
    return " and ".join(dict.fromkeys(found))


def _rules(metadata: list[Any], annotation: object) -> Iterator[Any]:
    """Bounds of a key, those of its kind of value included; not those of the items of a list."""
    for rule in metadata:
        yield from _rules(rule.metadata, None) if isinstance(rule, FieldInfo) else (rule,)
    if get_origin(annotation) is not tuple:
        for part in get_args(annotation):
            yield from _rules(list(getattr(part, "__metadata__", ())), None)


def _conditions_chapter() -> str:
    head, grammar, rules = re.split(r"\n\n(?=    )|\n\n(?=\S)", (conditions.__doc__ or "").strip())[1:4]
    facts = ", ".join(f"`{keyword}`" for keyword in conditions.ROUTING_KEYWORDS)
    code = "\n".join(line.removeprefix("    ") for line in grammar.splitlines())
    return f"## routes[].when in detail\n\n{head}\n\n```\n{code}\n```\n\n{rules}\n\nKeywords: {facts}.\n"


if __name__ == "__main__":
    DOCS_PATH.write_text(markdown(), encoding="utf-8")
