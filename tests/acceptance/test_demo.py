"""The demo as a person runs it: one command, and the findings of a chest CT at the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_node.results.reading import numbers_of
from tests.acceptance.node import dicom_node
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.timeout(PATIENCE_S)

SIEMENS_CHEST = "ct_chest_siemens_A0002_B40f"


def assert_shown(folder: Path, *arguments: str) -> str:
    told = dicom_node("demo", "--output", "out", *arguments, folder=folder)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "Traceback" not in told.stdout + told.stderr + (folder / "out" / "node.log").read_text()
    received = sorted((folder / "out" / "pacs").glob("*.dcm"))
    reports = [dataset for dataset in map(dcmread, received) if dataset.Modality == "SR"]
    assert len(received) == 3
    for path in received:
        assert path.name in told.stdout
    numbers = numbers_of(reports[0])
    assert len(numbers) == 15
    assert all(f"{number.value:,.1f}" in told.stdout for number in numbers)
    assert (folder / "out" / "slice.png").read_bytes().startswith(b"\x89PNG")
    assert "results delivered" in told.stdout
    return told.stdout


def test_the_demo_shows_the_findings_of_a_phantom(tmp_path: Path) -> None:
    assert_shown(tmp_path)


@pytest.mark.long
def test_the_demo_takes_a_real_chest_ct_and_can_be_run_again(tmp_path: Path, shared_data: Path) -> None:
    assert_shown(tmp_path, "--study", str(shared_data / SIEMENS_CHEST))
    assert_shown(tmp_path, "--study", str(shared_data / SIEMENS_CHEST))
