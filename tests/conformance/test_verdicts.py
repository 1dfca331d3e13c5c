"""The table in docs/results.md is that of the verdicts which the tests hold, and has every cell."""

from __future__ import annotations

import pytest

from dicom_node.results.encode import TYPES
from tests.conformance.verdicts import JUDGES, PAGE, ROWS, read_verdicts, says, table, with_table


def test_the_table_is_made_of_the_verdicts() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page, read_verdicts()), "make it with `python -m tests.conformance.verdicts`"


def test_every_judge_that_is_asked_has_spoken_and_no_other() -> None:
    spoken = {(judge, row) for row, cells in read_verdicts().items() for judge in cells}
    assert spoken == {(judge, row) for judge, rows in JUDGES.items() for row in rows}


def test_every_kind_of_object_is_in_the_table() -> None:
    assert {row.partition(",")[0] for row in ROWS} == set(TYPES)


def test_another_verdict_than_that_of_the_table_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.conformance.verdicts.REMAKE", False)
    says("dciodvfy", "seg", read_verdicts()["seg"]["dciodvfy"])
    with pytest.raises(AssertionError, match=r"dciodvfy on seg: '3 errors', but docs/results\.json says"):
        says("dciodvfy", "seg", "3 errors")
    with pytest.raises(ValueError, match="is not asked"):
        says("PixelMed", "sc", "0 errors")


def test_the_table_has_a_line_for_each_object_and_a_column_for_each_judge() -> None:
    lines = table({"seg": {"dciodvfy": "0 errors"}}).splitlines()
    assert [line.count("|") for line in lines] == [len(JUDGES) + 2] * (len(ROWS) + 2)
    assert "| SEG BINARY | 0 errors |" in lines[2]
