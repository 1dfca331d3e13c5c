"""What came of golden cases: of each by itself, and of all that label a classification together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from inference.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one case. differences: in words; none where it passed. least_dice: of its segments, where it has any.

    dices: of segments; errors: of numbers, how far from what was expected, with that. probabilities: of classifications.
    """

    case: str
    differences: tuple[str, ...]
    seconds: float
    least_dice: float | None = None
    dices: Mapping[str, float] = field(default_factory=dict)
    errors: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    probabilities: Mapping[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return not self.differences

    @property
    def words(self) -> str:
        close = "" if self.least_dice is None else f", Dice {self.least_dice:.4f}"
        return "; ".join(self.differences) or f"as expected{close}, {self.seconds:.2f} s"


def together(manifest: Manifest, verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """For each classification of which golden_limits.least_auc asks it, whether the cases tell present from absent."""
    found = []
    for key, least in sorted(manifest.golden_limits.least_auc.items()):
        value = auc_of(manifest, key, verdicts)
        name = f"AUC of {key}"
        if value is None:
            found.append(Verdict(name, ("no answer to the cases that label it",), 0.0))
        else:
            found.append(Verdict(name, () if value >= least else (f"{value:.4f} < {least:g}",), 0.0))
    return tuple(found)


def auc_of(manifest: Manifest, key: str, verdicts: Sequence[Verdict]) -> float | None:
    """Over the cases that label this classification; None where one of them was not answered."""
    told = {verdict.case: verdict.probabilities.get(key) for verdict in verdicts}
    labelled = [(told.get(case.name), case.labels[key]) for case in manifest.golden if key in case.labels]
    present = [score for score, label in labelled if label and score is not None]
    absent = [score for score, label in labelled if not label and score is not None]
    if len(present) + len(absent) < len(labelled) or not present or not absent:
        return None
    return auc(present, absent)


def auc(present: Sequence[float], absent: Sequence[float]) -> float:
    """Share of the pairs in which what is present scores higher, equal ones by half (Hanley and McNeil 1982)."""
    won = sum((one > other) + 0.5 * (one == other) for one in present for other in absent)
    return won / (len(present) * len(absent))
