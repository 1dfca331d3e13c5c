"""Keys of `profiles`: what viewers and archives of one sort can show, and what goes to them in place of what they cannot."""

from __future__ import annotations

from pydantic import Field

from dicom_node.config_section import Section
from dicom_node.config_values import Kinds, Name, NextBest


class Profile(Section):
    """A profile of your own, beside those that every node has: docs/results.md lists these."""

    name: Name = Field(description="Name of the profile, as destinations refer to it; none of those that are built in.")
    results: Kinds = Field(
        description="Kinds of result that are sent. Reports refer to the first segmentation among them, or to none.",
    )
    next_best: NextBest = Field(
        default={},
        description="Of a kind, the kinds that go in its place where the destination does not take it, the best first, as in "
        "`{sr: [sr_text, sc]}`. Kinds that are not named here keep those of the built-in profiles; `[]` for none.",
    )
