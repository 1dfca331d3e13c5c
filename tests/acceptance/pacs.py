"""What is in the files that a PACS gives back; and scanners that push to the node."""

from __future__ import annotations

import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread

from tests.orthanc import Orthanc
from tests.waiting import LIMIT_S


def modalities(files: dict[str, bytes]) -> list[str]:
    return sorted(str(read(content).Modality) for content in files.values())


def report_in(files: dict[str, bytes]) -> Dataset:
    """The one Structured Report among the files."""
    (report,) = (dataset for dataset in map(read, files.values()) if dataset.Modality == "SR")
    return report


def read(part10: bytes) -> Dataset:
    return dcmread(BytesIO(part10))


def destination(pacs: Orthanc, name: str = "results", **more: Any) -> dict[str, Any]:
    """The section of config.yaml that sends results to this PACS; it is tried again soon."""
    place = {"type": "dicom", "ae_title": "PACS1", "address": "127.0.0.1", "port": pacs.dicom_port}
    return {"name": name, **place, "retry": {"first_s": 0.2, "max_s": 1}} | more


def storescu(program: str, port: int, *arguments: str | Path) -> None:
    """DCMTK's storescu; fails where an instance was not answered with success."""
    command = [program, "-aet", "CT1", "-aec", "DICOM-NODE", "127.0.0.1", str(port), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr


def echoes(program: str, port: int) -> bool:
    """Whether DCMTK's echoscu is answered."""
    command = [program, "-to", "5", "-ta", "5", "-td", "5", "127.0.0.1", str(port)]
    return subprocess.run(command, capture_output=True, check=False, timeout=LIMIT_S).returncode == 0
