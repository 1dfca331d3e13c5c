"""Agreement over many series: the figures are those of the literature, and what only one version says is counted."""

from __future__ import annotations

import pytest

from inference.monitor.agreement import agreement, kappa, limits_of_agreement
from inference.monitor.paired import ClassPair, DetectionPair, NumberPair, Paired, SegmentPair

# Peak expiratory flow by two meters, the first readings of 17 people (Bland and Altman 1986, table 1).
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI_WRIGHT = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def test_the_limits_of_agreement_are_those_of_bland_and_altman() -> None:
    pairs = [
        Paired(numbers=(NumberPair("pefr", "PEFR", "L/min", float(one), float(other)),))
        for one, other in zip(WRIGHT, MINI_WRIGHT, strict=True)
    ]
    (number,) = agreement(pairs).numbers
    assert number.both == 17
    assert number.mean_difference == pytest.approx(2.1, abs=0.05)  # they give -2.1 for the reverse difference
    assert number.limits is not None
    deviation = (number.limits[1] - number.limits[0]) / (2 * 1.96)
    assert deviation == pytest.approx(38.8, abs=0.05)


def test_of_one_difference_there_are_no_limits() -> None:
    assert limits_of_agreement([1.0]) is None


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({("yes", "yes"): 20, ("yes", "no"): 5, ("no", "yes"): 10, ("no", "no"): 15}, 0.4),
        ({("yes", "yes"): 5, ("no", "no"): 5}, 1.0),
        ({("yes", "no"): 5, ("no", "yes"): 5}, -1.0),
    ],
)
def test_kappa_is_the_agreement_beyond_chance(counts: dict[tuple[str, str], int], expected: float) -> None:
    answers = [pair for pair, number in counts.items() for _ in range(number)]
    assert kappa(answers) == pytest.approx(expected)


def test_where_chance_would_always_agree_there_is_no_kappa() -> None:
    assert kappa([("absent", "absent")] * 3) is None
    assert kappa([]) is None


def test_of_dice_coefficients_median_and_least_are_told_and_what_only_one_has_is_counted() -> None:
    dices = [0.9, 0.7, 0.8, None, None]
    segments = [
        SegmentPair("lung", "Lung", 10, None if index == 3 else 10, dice) for index, dice in enumerate(dices[:4])
    ]
    segments.append(SegmentPair("lung", "Lung", None, 10, None))
    (segment,) = agreement([Paired(segments=(one,)) for one in segments]).segments
    assert (segment.both, segment.active_only, segment.other_only) == (3, 1, 1)
    assert (segment.median_dice, segment.least_dice) == (0.8, 0.7)


def test_answers_are_counted_by_pairs_and_detections_summed() -> None:
    pairs = [
        Paired(
            classes=(ClassPair("nodule", "Nodule", "present", "present"),),
            detections=(DetectionPair("n", "N", 2, 0, 1),),
        ),
        Paired(
            classes=(ClassPair("nodule", "Nodule", "present", "absent"),),
            detections=(DetectionPair("n", "N", 1, 3, 0),),
        ),
        Paired(classes=(ClassPair("nodule", "Nodule", None, "absent"),)),
    ]
    found = agreement(pairs)
    (answer,), (detection,) = found.classes, found.detections
    assert (answer.both, answer.agreed, answer.other_only) == (2, 1, 1)
    assert set(answer.answers) == {("present", "present", 1), ("present", "absent", 1)}
    assert (detection.both, detection.active_only, detection.other_only) == (3, 3, 1)


def test_refusals_are_told_by_who_refused() -> None:
    reasons = [("no", None), (None, "no"), (None, "no"), ("no", "no"), (None, None)]
    found = agreement([Paired(active_not_analysed=one, other_not_analysed=other) for one, other in reasons])
    assert (found.pairs, found.active_refused, found.other_refused, found.both_refused) == (5, 1, 2, 1)


def test_of_nothing_there_is_no_agreement() -> None:
    found = agreement([])
    assert (found.pairs, found.segments, found.numbers) == (0, (), ())
