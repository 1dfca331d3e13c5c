"""Every object of every kind of finding, from every source, before every judge: the table in docs/results.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_node.results import codes
from dicom_node.results.encode import TYPES
from tests.conformance.judging import judge, no_errors
from tests.conformance.objects import objects_of
from tests.conformance.sources import MADE, REAL, Source, image, made_source, real_sources
from tests.conformance.test_report_kinds import unexplained
from tests.conformance.verdicts import JUDGES
from tests.waiting import PATIENCE_S

Peer = Callable[[str], str]

pytestmark = pytest.mark.timeout(PATIENCE_S)

FAST = ("oblique",)
"""Of the made sources those that are judged whenever tests run; `test_validators` and `test_readers` do the others in part."""


def judge_all(source: Source, peer: Peer, folder: Path) -> set[str]:
    """The rows that came to be judged."""
    folder.mkdir(parents=True, exist_ok=True)
    judged = set()
    for made in objects_of(*source, folder):
        judge(made, peer, folder)
        judged.add(made.row)
    return judged


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.long) for name in (*MADE, "phantom")]
)
def test_every_object_of_a_made_source_satisfies_every_judge(name: str, peer: Peer, tmp_path: Path) -> None:
    assert judge_all(made_source(name), peer, tmp_path) == {*TYPES, "sr, not analysed"}


@pytest.mark.long
@pytest.mark.parametrize("folder", REAL)
def test_every_object_of_a_real_series_satisfies_every_judge(
    folder: str, peer: Peer, tmp_path: Path, shared_data: Path
) -> None:
    sources = list(real_sources(shared_data / folder))
    assert sources
    for number, source in enumerate(sources):
        judged = judge_all(source, peer, tmp_path / str(number))
        assert "sr, not analysed" in judged
        assert source[1] is None or judged >= {"seg", "sr", "sc"}


@pytest.mark.long
@pytest.mark.parametrize("name", [*MADE, "phantom"])
def test_no_report_of_a_made_source_breaks_the_template(name: str, pixelmed: str, tmp_path: Path) -> None:
    for made in objects_of(*made_source(name), tmp_path):
        if made.row in JUDGES["PixelMed"] and made.kind != "sr_text":
            no_errors(made, "PixelMed", unexplained(pixelmed, titled(made.path)))


def titled(path: Path) -> Path:
    """The report under the title that the validator's copy of CID 7021 has: under another it does not look at the content."""
    dataset = dcmread(path)
    dataset.ConceptNameCodeSequence = [codes.concept(codes.IMAGING_MEASUREMENT_REPORT)]
    dataset.save_as(path.with_suffix(".titled.dcm"))
    return path.with_suffix(".titled.dcm")


@pytest.mark.long
def test_no_real_series_is_left_out(shared_data: Path) -> None:
    folders = {path.parent for path in shared_data.rglob("*") if path.is_file() and image(path)}
    assert {str(folder.relative_to(shared_data)) for folder in folders} == {*REAL}
