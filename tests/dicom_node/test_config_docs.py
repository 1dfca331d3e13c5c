"""The documentation of keys is the definitions' own, and the shipped file mentions no key that does not exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

from dicom_node.conditions import ROUTING_KEYWORDS
from dicom_node.config_docs import DOCS_PATH, keys, markdown, unit_of
from dicom_node.config_file import load_config

ROOT = Path(__file__).parents[2]
SHIPPED = (ROOT / "config.yaml").read_text(encoding="utf-8")
PATHS = dict(keys())


def test_the_documentation_is_what_the_definitions_say() -> None:
    assert DOCS_PATH.read_text(encoding="utf-8") == markdown(), "run: python -m dicom_node.config_docs"


@pytest.mark.parametrize("path", PATHS)
def test_every_key_has_help_and_stands_in_the_documentation(path: str) -> None:
    assert PATHS[path].description
    is_section = "." not in path
    assert (f"\n## {path}" if is_section else f"\n| `{path.rsplit('.', 1)[-1]}` |") in markdown()


@pytest.mark.parametrize("path", [path for path, field in PATHS.items() if field.annotation is float])
def test_every_duration_says_its_unit(path: str) -> None:
    assert unit_of(path) == "s"


def test_every_size_says_its_unit() -> None:
    sized = [path for path, field in PATHS.items() if "ByteSize" in str((field.annotation, get_args(field.annotation)))]
    assert sized
    assert all(unit_of(path) == "bytes" for path in sized)


def test_every_section_stands_in_the_shipped_file() -> None:
    sections = {path for path in PATHS if "." not in path}
    assert sections == set(re.findall(r"^(\w+):", SHIPPED, re.MULTILINE))


def test_every_key_in_the_comments_of_the_shipped_file_exists() -> None:
    known = {path.rsplit(".", 1)[-1] for path in PATHS} | set(ROUTING_KEYWORDS)
    commented = re.findall(r"^ *# *(?:- )?([A-Za-z_]+):(?: |$)", SHIPPED, re.MULTILINE)
    assert {"retry", "database_url", "requestors"} <= set(commented)
    prose = {"auto", "false", "true", "local"}
    assert set(commented) - prose <= known
    dotted = re.findall(r"(?<!/)\b((?:node|access|storage|engine|logging|completeness)\.\w+)", SHIPPED)
    assert dotted
    assert set(dotted) <= set(PATHS)


def test_the_pacs_in_the_comments_works_when_the_marks_are_taken_away(tmp_path: Path) -> None:
    lines = SHIPPED.splitlines()
    for first, section in ((lines.index("  # - name: pacs"), "profiles:"), (lines.index("profiles:"), "completeness:")):
        last = lines.index(section)
        # A remark in a list of remarks begins anew: only what is a key loses its mark.
        lines[first:last] = [re.sub(r"^  # (?=[- ] )", "  ", line) for line in lines[first:last]]
    text = "\n".join(lines).replace("destinations: [results-folder]", "destinations: [results-folder, pacs]", 1)
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    config = load_config(path, {})
    assert config.routes[0].destinations == ("results-folder", "pacs")
    assert config.destination("pacs").retry.for_s == 604800
    assert [profile.name for profile in config.profiles] == ["reading-room"]


def test_the_requestors_in_the_comments_close_the_node_when_the_marks_are_taken_away(tmp_path: Path) -> None:
    lines = SHIPPED.replace("  open: true", "  open: false").splitlines()
    first = lines.index("  # requestors:")
    last = lines.index("models:")
    lines[first:last] = [line.replace("  # ", "  ", 1) for line in lines[first:last]]
    path = tmp_path / "config.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    access = load_config(path, {}).access
    assert not access.open
    assert [requestor.ae_title for requestor in access.requestors] == ["CT1", "PACS"]


@pytest.mark.parametrize("example", re.findall(r"^ +# ([A-Z][A-Za-z]+: .+?)   ", SHIPPED, re.MULTILINE))
def test_each_example_of_a_condition_in_the_comments_is_valid(tmp_path: Path, example: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(SHIPPED.replace("      Modality: CT\n", f"      {example}\n"), encoding="utf-8")
    assert load_config(path, {}).routes[0].when.clauses[0].keyword == example.split(":", maxsplit=1)[0]


def test_every_key_is_read_by_some_code() -> None:
    """A key that nothing reads promises what the node does not do."""
    package = ROOT / "dicom_node"
    read = {
        node.attr
        for path in package.rglob("*.py")
        if not path.name.startswith("config")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    leaves = {path.rsplit(".", 1)[-1] for path in PATHS if "." in path} - {"type"}  # pydantic reads the type
    assert leaves <= read
