"""How well two versions of a model agree over many series, output by output. Pure statistics over pairs.

Segments by their Dice coefficients; numbers by the mean of their differences with the limits of agreement (Bland and Altman
1986); answers by Cohen's kappa (Cohen 1960). What only one of the two said is counted beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

import numpy as np

from inference.monitor.paired import ClassPair, DetectionPair, NumberPair, Paired, SegmentPair

Pair = TypeVar("Pair", SegmentPair, NumberPair, ClassPair, DetectionPair)

WITHIN = 1.96
"""Standard deviations within which 95 % of differences lie, where they are distributed normally."""


@dataclass(frozen=True, slots=True)
class SegmentAgreement:
    """Over the series in which both have the segment; median and least are None where there is none."""

    key: str
    label: str
    both: int
    active_only: int
    other_only: int
    median_dice: float | None
    least_dice: float | None


@dataclass(frozen=True, slots=True)
class NumberAgreement:
    """Differences are of the other one to the active one. limits: between them lie 95 %; None of fewer than two."""

    key: str
    label: str
    unit: str
    both: int
    active_only: int
    other_only: int
    mean_difference: float | None
    limits: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class ClassAgreement:
    """answers: how often each pair of answers was given. kappa: None where chance alone would always agree."""

    key: str
    label: str
    both: int
    active_only: int
    other_only: int
    agreed: int
    kappa: float | None
    answers: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """pairs: how many series. detections: of each type, over all of them.

    active_refused, other_refused: in how many only that one did not analyse.
    """

    pairs: int
    segments: tuple[SegmentAgreement, ...]
    numbers: tuple[NumberAgreement, ...]
    classes: tuple[ClassAgreement, ...]
    detections: tuple[DetectionPair, ...]
    both_refused: int
    active_refused: int
    other_refused: int


def agreement(of: Sequence[Paired]) -> Agreement:
    refused = Counter((one.active_not_analysed is not None, one.other_not_analysed is not None) for one in of)
    return Agreement(
        pairs=len(of),
        segments=tuple(map(_segment, _by_key(one.segments for one in of))),
        numbers=tuple(map(_number, _by_key(one.numbers for one in of))),
        classes=tuple(map(_class, _by_key(one.classes for one in of))),
        detections=tuple(map(_detection, _by_key(one.detections for one in of))),
        both_refused=refused[True, True],
        active_refused=refused[True, False],
        other_refused=refused[False, True],
    )


def limits_of_agreement(differences: Sequence[float]) -> tuple[float, float] | None:
    """Mean -/+ 1.96 standard deviations (Bland and Altman 1986); None of fewer than two differences."""
    if len(differences) < 2:
        return None
    mean, deviation = float(np.mean(differences)), float(np.std(differences, ddof=1))
    return mean - WITHIN * deviation, mean + WITHIN * deviation


def kappa(answers: Sequence[tuple[str, str]]) -> float | None:
    """Agreement beyond chance (Cohen 1960): 1 is all, 0 what chance gives; None where chance would always agree."""
    count = len(answers)
    if not count:
        return None
    observed = sum(one == other for one, other in answers) / count
    ones, others = Counter(one for one, _ in answers), Counter(other for _, other in answers)
    by_chance = sum(ones[answer] * others[answer] for answer in ones) / count**2
    return None if by_chance == 1 else (observed - by_chance) / (1 - by_chance)


def _by_key(found: Iterable[Sequence[Pair]]) -> list[list[Pair]]:
    """The pairs of each output, in the order in which the outputs were met."""
    by_key: dict[str, list[Pair]] = {}
    for pairs in found:
        for pair in pairs:
            by_key.setdefault(pair.key, []).append(pair)
    return list(by_key.values())


def _segment(pairs: Sequence[SegmentPair]) -> SegmentAgreement:
    dices = [one.dice for one in pairs if one.dice is not None]
    active_only = sum(one.other_voxels is None for one in pairs)
    return SegmentAgreement(
        key=pairs[0].key,
        label=pairs[0].label,
        both=len(dices),
        active_only=active_only,
        other_only=len(pairs) - len(dices) - active_only,
        median_dice=median(dices) if dices else None,
        least_dice=min(dices, default=None),
    )


def _number(pairs: Sequence[NumberPair]) -> NumberAgreement:
    differences = [one.other - one.active for one in pairs if one.active is not None and one.other is not None]
    return NumberAgreement(
        key=pairs[0].key,
        label=pairs[0].label,
        unit=pairs[0].unit,
        both=len(differences),
        active_only=sum(one.other is None for one in pairs),
        other_only=sum(one.active is None for one in pairs),
        mean_difference=float(np.mean(differences)) if differences else None,
        limits=limits_of_agreement(differences),
    )


def _class(pairs: Sequence[ClassPair]) -> ClassAgreement:
    answers = [(one.active, one.other) for one in pairs if one.active is not None and one.other is not None]
    counted = Counter(answers).most_common()
    return ClassAgreement(
        key=pairs[0].key,
        label=pairs[0].label,
        both=len(answers),
        active_only=sum(one.other is None for one in pairs),
        other_only=sum(one.active is None for one in pairs),
        agreed=sum(one == other for one, other in answers),
        kappa=kappa(answers),
        answers=tuple((one, other, number) for (one, other), number in counted),
    )


def _detection(pairs: Sequence[DetectionPair]) -> DetectionPair:
    return DetectionPair(
        key=pairs[0].key,
        label=pairs[0].label,
        both=sum(one.both for one in pairs),
        active_only=sum(one.active_only for one in pairs),
        other_only=sum(one.other_only for one in pairs),
    )
