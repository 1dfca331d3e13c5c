"""Findings refuse what could not be written into a DICOM object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from inference.findings import (
    Box,
    Classification,
    Code,
    Contour,
    Detection,
    Findings,
    HeatMap,
    Measurement,
    NotAnalysed,
    Point,
    Segment,
)

LUNG = Code("39607008", "SCT", "Lung")
MASK = np.zeros((2, 3, 4), np.bool_)
SEGMENT = Segment("lung", "Lung", Code("91723000", "SCT", "Anatomical Structure"), LUNG, MASK, (1, 2, 3))
VOLUME = Measurement(Code("118565006", "SCT", "Volume"), 1.0, Code("mL", "UCUM", "milliliter"), "lung")


@pytest.mark.parametrize(
    "parts", [("x" * 17, "SCT", "m"), ("", "SCT", "m"), ("1", "S" * 17, "m"), ("1", "SCT", "m" * 65)]
)
def test_a_code_that_its_vr_cannot_hold_is_refused(parts: tuple[str, str, str]) -> None:
    with pytest.raises(ValueError, match="must have 1 to"):
        Code(*parts)


def test_a_measurement_must_be_about_a_finding_of_the_same_findings() -> None:
    assert Findings(segments=(SEGMENT,), measurements=(VOLUME,)).measurements == (VOLUME,)
    with pytest.raises(ValueError, match="unknown finding 'lung'"):
        Findings(measurements=(VOLUME,))


def test_what_was_not_analysed_holds_no_findings() -> None:
    with pytest.raises(ValueError, match="nothing that was found"):
        Findings(segments=(SEGMENT,), not_analysed=NotAnalysed(LUNG, "because"))


def test_no_two_findings_share_a_key() -> None:
    seen = Classification("lung", "Emphysema", LUNG, "present")
    with pytest.raises(ValueError, match="two findings have the key 'lung'"):
        Findings(segments=(SEGMENT,), classifications=(seen,))


def test_measurements_are_told_by_what_they_are_about() -> None:
    of_all = replace(VOLUME, finding_key=None)
    findings = Findings(segments=(SEGMENT,), measurements=(VOLUME, of_all))
    assert (findings.of("lung"), findings.of(None)) == ([VOLUME], [of_all])


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: Classification("a", "A", LUNG, "absent", probability=1.2), "probability of 'A' must be from 0 to 1"),
        (lambda: Classification("a", "A", LUNG, "absent", threshold=-0.1), "threshold of 'A' must be from 0 to 1"),
        (lambda: Detection("a", "A", LUNG, LUNG, Point((0, 0, 0)), score=float("nan")), "score of 'A' must be"),
        (lambda: Box((0, 5, 0), (1, 4, 9)), "from its first corner to its last"),
        (lambda: Contour(0, ((0, 0), (1, 1))), "3 points at least, but has 2"),
        (lambda: replace(VOLUME, uncertainty=-1.0), "uncertainty of 'Volume' must be 0 or more"),
        (lambda: HeatMap("a", "A", LUNG, LUNG, np.zeros((1, 2, 2), np.float32), (1.0, 1.0)), "the lower first"),
    ],
)
def test_a_finding_that_cannot_be_meant_is_refused(make: Callable[[], object], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        make()
