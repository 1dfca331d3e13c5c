"""Small chest phantoms as studies to send: quick to analyse, each with UIDs of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dicom_node.phantom import chest_ct

SLICES, ROWS = 40, 128


@dataclass(frozen=True)
class Study:
    """A study on disk. Its files are in the order of the slices."""

    uid: str
    accession_number: str
    patient_id: str
    folder: Path
    files: list[Path]


def made_study(folder: Path, identity: str) -> Study:
    phantom = chest_ct(slices=SLICES, rows=ROWS, identity=identity)
    files = phantom.write(folder / identity)
    first = phantom.datasets[0]
    return Study(
        str(first.StudyInstanceUID), str(first.AccessionNumber), str(first.PatientID), folder / identity, files
    )
