"""The published schema is that of the definitions, and takes the packages that there are."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from inference.package import BUILT_IN, MANIFEST
from inference.scaffold import write_package
from inference.schema import SCHEMA_PATH, schema


def test_the_published_schema_is_that_of_the_definitions() -> None:
    assert SCHEMA_PATH.read_text() == schema(), "run: python -m inference.schema"


def test_packages_that_load_are_valid_by_the_schema(tmp_path: Path) -> None:
    manifests = [*BUILT_IN.glob(f"*/{MANIFEST}"), write_package(tmp_path / "demo", "demo") / MANIFEST]
    assert len(manifests) == 3
    for path in manifests:
        jsonschema.validate(yaml.safe_load(path.read_text()), json.loads(schema()))


def test_an_unknown_key_is_invalid_by_the_schema(tmp_path: Path) -> None:
    tree = yaml.safe_load((write_package(tmp_path / "demo", "demo") / MANIFEST).read_text())
    with pytest.raises(jsonschema.ValidationError, match="colour"):
        jsonschema.validate(tree | {"colour": 1}, json.loads(schema()))
