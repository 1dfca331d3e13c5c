"""How does a file become a `Config`? With all its problems named at once: file, line, key, rule, value.

YAML is read as its 1.2 core schema says (`NO` is text, `1:30` is text), and only the plain part of it: no tags, no
anchors, no key twice. So nothing in the file can run code or grow when it is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dicom_node.config import Config
from dicom_node.config_problems import Document, problems_of, reference_problem
from dicom_node.config_references import PathKey, reference_problems
from dicom_node.errors import ConfigError, Problem

MAX_FILE_BYTES = 256 * 1024
MAX_DEPTH = 16
_VARIABLE = re.compile(r"\$(?:\$\{|\{(?P<name>[^}]*)\}|\{)")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
}


def load_config(path: str | Path, env: Mapping[str, str] = os.environ) -> Config:
    """Read and check `path`; ConfigError holds every problem of the file. `env` fills `${NAME}`."""
    return parse_config(read_content(path), path, env)


def read_content(path: str | Path) -> bytes:
    """What stands in the file. Raises ConfigError where it cannot be read."""
    try:
        with Path(path).open("rb") as stream:
            return stream.read(MAX_FILE_BYTES + 1)  # what is larger is refused by `parse_config`
    except OSError as error:
        raise ConfigError(problems=[Problem(str(path), None, "", f"cannot be read: {error.strerror}")]) from error


def parse_config(content: bytes, path: str | Path, env: Mapping[str, str] = os.environ) -> Config:
    """Check what stands, or stood, in the file `path`: problems name it, and paths in it count from its folder."""
    document = _document(content, str(path), env)
    config = None
    problems = document.problems
    if document.tree is not None:
        # What could not be filled in is reported already, and would be reported again as a wrong value.
        reported = {problem.path for problem in problems}
        found = [reference_problem(document, problem) for problem in reference_problems(document.tree)]
        try:
            config = Config.model_validate(document.tree, context={"folder": Path(path).absolute().parent})
        except ValidationError as error:
            found += problems_of(document, error, within=Config)
        problems = problems + [problem for problem in found if problem.path not in reported]
    if problems or config is None:
        raise ConfigError(problems=sorted(dict.fromkeys(problems), key=lambda problem: problem.line or 0))
    return config


def _document(content: bytes, file: str, env: Mapping[str, str]) -> Document:
    """The plain data of a file; `tree` is None where nothing can be said about its keys."""
    document = Document(file)
    if len(content) > MAX_FILE_BYTES:
        document.refuse((), f"must not be larger than {MAX_FILE_BYTES} bytes")
        return document
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        document.refuse((), "must be UTF-8", content.count(b"\n", 0, error.start) + 1)
        return document
    try:
        document.tree = _Reader(document, env).read(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        rule = f"not YAML: {error.problem}; quote a value that begins with one of > | ! & * % @ ` or holds ': ' or ' #'"
        document.refuse((), rule, line)
    except yaml.YAMLError as error:
        document.refuse((), f"not YAML: {str(error).splitlines()[0]}")
    except _NotPlain as error:
        document.refuse((), str(error), error.line)
    return document


class _NotPlain(Exception):
    """The document uses a part of YAML that is not supported."""

    def __init__(self, rule: str, event: yaml.Event) -> None:
        super().__init__(rule)
        self.line = _line(event)


class _Reader:
    """Builds plain data from YAML events, noting lines, as deep as `MAX_DEPTH`."""

    def __init__(self, document: Document, env: Mapping[str, str]) -> None:
        self._document = document
        self._env = env

    def read(self, text: str) -> dict[str, Any] | None:
        events = (e for e in yaml.parse(text, Loader=yaml.SafeLoader) if not isinstance(e, _FRAME_EVENTS))
        first = next(events, None)
        if first is None:
            return {}
        self._document.lines[()] = 1
        tree = self._value(first, events, ())
        if (second := next(events, None)) is not None:
            raise _NotPlain("must hold one document, not several (---)", second)
        if tree is None:
            return {}
        if not isinstance(tree, dict):
            raise _NotPlain("must hold sections (node:, routes:, ...)", first)
        return tree

    def _value(self, event: yaml.Event, events: Iterator[yaml.Event], key: PathKey) -> Any:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _NotPlain("anchors and aliases (&name, *name) are not supported: write the value out", event)
        if getattr(event, "tag", None) is not None:
            raise _NotPlain("tags (!name) are not supported: quote a value that begins with !", event)
        if len(key) > MAX_DEPTH:
            raise _NotPlain(f"must not be nested deeper than {MAX_DEPTH} levels", event)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(events, key)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(events, key)
        return self._scalar(event, key)

    def _mapping(self, events: Iterator[yaml.Event], key: PathKey) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            line = _line(event)
            if not isinstance(event, yaml.ScalarEvent) or event.anchor or event.tag or event.value == "<<":
                raise _NotPlain("a key must be a plain word", event)
            name = str(event.value)
            child = (*key, name)
            if name in mapping:
                first = self._document.lines[child]
                self._document.refuse(child, f"stands twice, first in line {first}", line)
            self._document.lines[child] = line
            mapping[name] = self._value(next(events), events, child)
        return mapping

    def _sequence(self, events: Iterator[yaml.Event], key: PathKey) -> list[Any]:
        items: list[Any] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            child = (*key, len(items))
            self._document.lines[child] = _line(event)
            items.append(self._value(event, events, child))
        return items

    def _scalar(self, event: yaml.Event, key: PathKey) -> object:
        if not isinstance(event, yaml.ScalarEvent):
            raise _NotPlain("must be a value, a list or a section", event)
        text = str(event.value)
        if "${" in text:
            self._document.written[key] = text
            return _VARIABLE.sub(lambda match: self._variable(match, key), text)
        return text if event.style else plain_value(text)

    def _variable(self, match: re.Match[str], key: PathKey) -> str:
        name = match["name"]
        if match[0] == "$${":
            return "${"
        if name is None or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            self._document.refuse(key, "${NAME} must hold the name of an environment variable ($${ stands for ${)")
        elif name not in self._env:
            self._document.refuse(key, f"the environment variable {name} is not set: set it, or write the value here")
        return self._env.get(name or "", "")


_FRAME_EVENTS = (
    yaml.StreamStartEvent,
    yaml.StreamEndEvent,
    yaml.DocumentStartEvent,
    yaml.DocumentEndEvent,
)


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def plain_value(text: str) -> object:
    """An unquoted scalar by YAML 1.2's core schema (section 10.3.2), without hexadecimal, octal and infinity."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text) and len(text) <= 20:
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
