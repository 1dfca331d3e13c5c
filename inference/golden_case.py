"""Keys of model.yaml that name golden cases, how close an answer must come, and what all of them together must show."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from inference.manifested import Key, Label, Manifested, PathInPackage, Share

NOT_NEGATIVE = Field(ge=0, allow_inf_nan=False)


class GoldenCase(Manifested):
    """file: of the package, with its SHA-256 (see `inference.golden`).

    expects: what the file expects was recorded from this version, which on a CPU in fp32 must give it again exactly; or it is
    the truth, and only what the file names is asked for. least_dice: of each segment; 1 is voxel for voxel. absolute,
    relative: how far a number may be from the expected one, |value - expected| <= absolute + relative x |expected|.
    labels: of classifications, whether it is truly there.
    """

    name: Label
    file: PathInPackage
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    expects: Literal["recorded", "truth"] = "recorded"
    least_dice: Share = 1.0
    absolute: Annotated[float, NOT_NEGATIVE] = 0.0
    relative: Annotated[float, NOT_NEGATIVE] = 1e-6
    labels: dict[Key, bool] = Field(default_factory=dict)


class Margin(Manifested):
    """How much worse than this version its successor may be on the same cases: Dice, AUC, and the error of a number as a share
    of what is expected."""

    dice: Share = 0.02
    auc: Share = 0.02
    relative: Annotated[float, NOT_NEGATIVE] = 0.05


class GoldenLimits(Manifested):
    """least_auc: area under the receiver operating characteristic of a classification over the cases that label it."""

    least_auc: dict[Key, Share] = Field(default_factory=dict)
    margin: Margin = Margin()
