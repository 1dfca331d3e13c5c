"""What all parts of the configuration tree have in common."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict

MIB = 1024**2
GIB = 1024**3
DAY_S = 86400.0
# `json_schema_extra` of a key whose value is taken at the start of the node and stays. All others change while it runs.
AT_START: Final[JsonDict] = {"at_start": True}


class Section(BaseModel):
    """A part of the tree: unknown keys are refused, values do not change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True, hide_input_in_errors=True
    )
