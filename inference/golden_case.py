"""Keys of model.yaml that name golden cases and how close an answer must come."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from inference.manifested import Label, Manifested, PathInPackage, Share


class GoldenCase(Manifested):
    """file: of the package, with its SHA-256 (see `inference.golden`).

    least_dice: of each segment; 1 is voxel for voxel. absolute, relative: how far a number may be from the expected one,
    |value - expected| <= absolute + relative x |expected|.
    """

    name: Label
    file: PathInPackage
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    least_dice: Share = 1.0
    absolute: Annotated[float, Field(ge=0)] = 0.0
    relative: Annotated[float, Field(ge=0)] = 1e-6
