"""docs/model.schema.json, for editors that check model.yaml while it is written: `python -m inference.schema` writes it."""

from __future__ import annotations

import json
from pathlib import Path

from inference.manifest import Manifest

SCHEMA_PATH = Path(__file__).parents[1] / "docs" / "model.schema.json"


def schema() -> str:
    """JSON Schema (2020-12) of model.yaml."""
    tree = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Manifest.model_json_schema()}
    return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_PATH.write_text(schema(), encoding="utf-8")
