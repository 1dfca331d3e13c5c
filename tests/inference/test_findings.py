"""Findings refuse what could not be written into a DICOM object."""

from __future__ import annotations

import numpy as np
import pytest

from inference.findings import Code, Findings, Measurement, NotAnalysed, Segment

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


def test_a_measurement_must_be_about_a_segment_of_the_same_findings() -> None:
    assert Findings(segments=(SEGMENT,), measurements=(VOLUME,)).measurements == (VOLUME,)
    with pytest.raises(ValueError, match="unknown segment 'lung'"):
        Findings(measurements=(VOLUME,))


def test_what_was_not_analysed_holds_no_findings() -> None:
    with pytest.raises(ValueError, match="neither segments nor measurements"):
        Findings(segments=(SEGMENT,), not_analysed=NotAnalysed(LUNG, "because"))
