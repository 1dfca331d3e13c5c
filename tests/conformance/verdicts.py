"""What each judge says of each object: the table in docs/results.md is made of it, and no test may see anything else.

A test that comes to a verdict says so with `says`, which fails where docs/results.json, and so the table, has another one.
With REMAKE_RESULTS set, verdicts are written there instead; `python -m tests.conformance.verdicts` then makes the table:

    REMAKE_RESULTS=1 pytest tests/conformance tests/viewer -m "long or not long"
    python -m tests.conformance.verdicts
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dicom_node.results.encode import TYPES

DOCS = Path(__file__).parents[2] / "docs"
VERDICTS, PAGE = DOCS / "results.json", DOCS / "results.md"
BEGIN, END = "<!-- made by tests.conformance.verdicts -->", "<!-- end of what is made -->"
# Set, verdicts are written down instead of held against those that were.
REMAKE = "REMAKE_RESULTS" in os.environ

OBJECTS: Mapping[str, str] = {
    "seg": "SEG BINARY",
    "seg_fractional": "SEG FRACTIONAL",
    "seg_labelmap": "SEG LABELMAP",
    "sr": "SR Comprehensive 3D",
    "sr_comprehensive": "SR Comprehensive",
    "sr_text": "SR Basic Text",
    "sr, not analysed": "SR, not analysed",
    "sc": "Secondary Capture",
    "gsps": "GSPS",
    "key_images": "Key Object Selection",
    "parametric_map": "Parametric Map",
    "pdf": "Encapsulated PDF",
}
"""Rows of the table: kinds of result, and what else looks different to a judge."""

ROWS = tuple(row for row in OBJECTS if row.partition(",")[0] in TYPES)
MASKS = ("seg", "seg_fractional", "seg_labelmap")
MEASURED = ("sr", "sr_comprehensive")
DOCUMENTS = (*MEASURED, "sr_text", "sr, not analysed", "key_images")

_ASKED: Mapping[str, tuple[str, ...]] = {
    "dciodvfy": ROWS,
    "PixelMed": (*MEASURED, "sr, not analysed"),
    "DCMTK": (*DOCUMENTS, "gsps"),
    "dcmqi": (*MASKS, *MEASURED, "parametric_map"),
    "highdicom": (*MASKS, *MEASURED, "key_images", "parametric_map"),
    "dcmjs": MEASURED,
    "OHIF": ROWS,
}
JUDGES = {judge: tuple(row for row in rows if row in ROWS) for judge, rows in _ASKED.items()}
"""Columns, each with the objects that it is asked about."""


def says(judge: str, row: str, verdict: str) -> None:
    """A test has come to a verdict. Fails where the table says another one."""
    if row not in JUDGES[judge]:
        raise ValueError(f"{judge} is not asked about {row!r}: see JUDGES")
    if REMAKE:
        with _writing() as verdicts:
            verdicts.setdefault(row, {})[judge] = verdict
        return
    stated = read_verdicts().get(row, {}).get(judge)
    assert verdict == stated, f"{judge} on {row}: {verdict!r}, but docs/results.json says {stated!r}; {__doc__}"


def read_verdicts() -> dict[str, dict[str, str]]:
    verdicts: dict[str, dict[str, str]] = json.loads(VERDICTS.read_text(encoding="utf-8"))
    return verdicts


@contextmanager
def _writing() -> Iterator[dict[str, dict[str, str]]]:
    """The verdicts, to be changed: tests of several processes may come to theirs at one time."""
    with VERDICTS.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        verdicts: dict[str, dict[str, str]] = json.loads(file.read() or "{}")
        yield verdicts
        file.truncate(0)
        in_order = {
            row: {judge: verdicts[row][judge] for judge in JUDGES if judge in verdicts[row]}
            for row in OBJECTS
            if row in verdicts
        }
        file.write(json.dumps(in_order, indent=2, ensure_ascii=False) + "\n")


def table(verdicts: Mapping[str, Mapping[str, str]]) -> str:
    """In Markdown. An empty cell: the judge knows nothing of such objects."""
    lines = [f"| | {' | '.join(JUDGES)} |", "|---" * (len(JUDGES) + 1) + "|"]
    lines += [
        f"| {OBJECTS[row]} | {' | '.join(verdicts.get(row, {}).get(judge, '') for judge in JUDGES)} |" for row in ROWS
    ]
    return "\n".join(lines)


def with_table(page: str, verdicts: Mapping[str, Mapping[str, str]]) -> str:
    """The page with its table made anew."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{table(verdicts)}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), read_verdicts()), encoding="utf-8")
