"""What is wrong with a value, in words for the person who wrote it? Turns pydantic's errors into `Problem`s."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, get_args

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from dicom_node.conditions import ROUTING_KEYWORDS
from dicom_node.config_references import PathKey, ReferenceProblem, nearest_to, path_of
from dicom_node.config_section import Section
from dicom_node.errors import Problem

_SHOWN_CHARACTERS = 60
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*@")
_RULES: Mapping[str, str] = MappingProxyType(
    {
        "bool_parsing": "must be true or false",
        "bool_type": "must be true or false",
        "byte_size": "must be a size in bytes, such as 262144 or 256 KiB",
        "byte_size_unit": "must be a size in bytes, such as 262144 or 256 KiB",
        "finite_number": "must be a finite number",
        "float_parsing": "must be a number",
        "float_type": "must be a number",
        "int_from_float": "must be a whole number",
        "int_parsing": "must be a whole number",
        "int_parsing_size": "must be a smaller whole number",
        "int_type": "must be a whole number",
        "list_type": "must be a list",
        "model_type": "must be a section of keys",
        "path_type": "must be a path (quote it)",
        "string_type": "must be text (quote it)",
        "tuple_type": "must be a list",
        "string_pattern_mismatch": "must be a name: letters, digits, _ . - and at most 64 characters",
        "greater_than": "must be greater than {gt}",
        "greater_than_equal": "must be at least {ge}",
        "less_than": "must be less than {lt}",
        "less_than_equal": "must be at most {le}",
        "too_long": "must hold at most {max_length}",
        "too_short": "must hold at least {min_length}",
        "literal_error": "must be {expected}",
    }
)


@dataclass
class Document:
    """A file as plain data, with the line of every key and the text of every value that the environment filled."""

    file: str
    tree: Any = None
    lines: dict[PathKey, int] = field(default_factory=dict)
    written: dict[PathKey, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def refuse(self, key: PathKey, rule: str, line: int | None = None) -> None:
        self.problems.append(Problem(self.file, line or self.line_of(key), path_of(key), rule))

    def line_of(self, key: PathKey) -> int | None:
        """Line of the key, or of the nearest part of the file that holds it."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key)


def reference_problem(document: Document, problem: ReferenceProblem) -> Problem:
    """A name that does not fit, with its place in the file."""
    line = document.line_of(problem.key)
    value = _shown(document, problem.key, None)
    return Problem(document.file, line, problem.path, problem.rule, value, problem.nearest)


def problems_of(document: Document, error: ValidationError, within: type[Section]) -> list[Problem]:
    """The problems of single keys, each with its place in the file."""
    details = error.errors(include_url=False)
    # An error of the tree as a whole repeats in one line what `reference_problems` says of each name.
    return [_problem(document, detail, within) for detail in details if detail["loc"]]


def sections_in(annotation: object) -> dict[str, type[Section]]:
    """The sections that a key's type may hold, by the value of their `type` key ("" where they have none)."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        field = annotation.model_fields.get("type")
        return {str(get_args(field.annotation)[0]) if field else "": annotation}
    return {tag: found for part in get_args(annotation) for tag, found in sections_in(part).items()}


def _problem(document: Document, detail: ErrorDetails, within: type[Section]) -> Problem:
    key, section, field = _locate(detail["loc"], within)
    kind, rule, nearest, value = detail["type"], _rule(detail), None, None
    if kind == "extra_forbidden":
        rule, nearest = "unknown key", nearest_to(key[-1], section.model_fields if section else ())
        if nearest is None and section is not None:
            rule += f"; known here are {', '.join(section.model_fields)}"
    elif kind == "missing":
        rule = f"is missing ({field.description.rstrip('.')})" if field and field.description else "is missing"
    elif kind in {"union_tag_invalid", "union_tag_not_found"}:
        tags = list(sections_in(field.annotation)) if field else []
        key, rule = (*key, "type"), f"must be {' or '.join(tags)}"
        if kind == "union_tag_invalid":
            value, nearest = _shown(document, key, None), nearest_to(_value_at(document.tree, key), tags)
        else:
            rule = f"is missing: {rule}"
    elif rule == "unknown attribute keyword":
        nearest = nearest_to(key[-1], ROUTING_KEYWORDS)
        rule += "" if nearest else f"; known are {', '.join(ROUTING_KEYWORDS)}"
    else:
        value = _shown(document, key, field)
        if kind == "literal_error":
            nearest = nearest_to(_value_at(document.tree, key), re.findall(r"'(\w+)'", rule))
            rule = rule.replace("'", "")
    return Problem(document.file, document.line_of(key), path_of(key), rule, value, nearest)


def _rule(detail: ErrorDetails) -> str:
    template = _RULES.get(detail["type"])
    if template is not None:
        return template.format_map(detail.get("ctx", {}))
    message = detail["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:] if message.startswith("Input should") else message


def _locate(
    loc: tuple[int | str, ...], within: type[Section]
) -> tuple[PathKey, type[Section] | None, FieldInfo | None]:
    """The key path without pydantic's union tags, the section that holds the last key, and that key's definition."""
    key: PathKey = ()
    choices: dict[str, type[Section]] = {"": within}
    section: type[Section] | None = within
    field: FieldInfo | None = None
    for part in loc:
        if isinstance(part, str) and part in choices and part:
            choices = {"": choices[part]}
            continue
        key = (*key, part)
        if isinstance(part, str):
            section = choices.get("")
            field = section.model_fields.get(part) if section else None
            choices = sections_in(field.annotation) if field else {}
    return key, section, field


def _value_at(tree: object, key: PathKey) -> object:
    for part in key:
        if isinstance(tree, Mapping):
            tree = tree.get(part)
        elif isinstance(tree, list) and isinstance(part, int) and part < len(tree):
            tree = tree[part]
        else:
            return None
    return tree


def _shown(document: Document, key: PathKey, field: FieldInfo | None) -> str | None:
    """The value as the person wrote it; None for a secret. What the environment filled in is shown unfilled."""
    if field is not None and SecretStr in (field.annotation, *get_args(field.annotation)):
        return None
    value = document.written.get(key, _value_at(document.tree, key))
    if isinstance(value, Mapping | list):
        return "a section" if isinstance(value, Mapping) else f"a list of {len(value)}"
    text = json.dumps(_CREDENTIALS.sub("***@", value) if isinstance(value, str) else value, ensure_ascii=True)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
