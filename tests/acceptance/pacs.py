"""What the PACS holds, asked over HTTP; and scanners that push to the node."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread

from dicom_node.network.file_meta import read_file_meta
from tests.dicom_node.peers import Orthanc


def held(pacs: Orthanc, study_instance_uid: str) -> dict[str, bytes]:
    """The Part 10 files that the PACS gives back of one study, by SOP Instance UID."""
    query = {"Level": "Instance", "Query": {"StudyInstanceUID": study_instance_uid}}
    found: list[str] = json.loads(_ask(pacs, "/tools/find", json.dumps(query).encode()))
    files = (_ask(pacs, f"/instances/{one}/file") for one in found)
    return {read_file_meta(content).sop_instance_uid: content for content in files}


def data_set_bytes(part10: bytes) -> bytes:
    return part10[read_file_meta(part10).data_set_at :]


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
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def echoes(program: str, port: int) -> bool:
    """Whether DCMTK's echoscu is answered."""
    command = [program, "-to", "5", "-ta", "5", "-td", "5", "127.0.0.1", str(port)]
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0


def _ask(pacs: Orthanc, path: str, body: bytes | None = None) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{pacs.http_port}{path}", body, timeout=60) as answer:
        content: bytes = answer.read()
    return content
