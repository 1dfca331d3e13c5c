"""A PACS on this machine: Orthanc with its DICOMweb plugin, on free ports and in a folder of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
START_S, STOP_S = 20.0, 15.0


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc. Any AE title may store into it."""

    ae_title: str
    dicom_port: int
    http_port: int

    def store(self, dcmsend: str, files: Sequence[Path]) -> None:
        """C-STORE the files with DCMTK's dcmsend; raises CalledProcessError where one is not taken."""
        command = [dcmsend, "--call", self.ae_title, "127.0.0.1", str(self.dicom_port), *map(str, files)]
        subprocess.run(command, check=True, capture_output=True, timeout=120)

    def get(self, path: str) -> Any:
        """What the REST interface answers, from JSON."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=10) as answer:
            return json.load(answer)

    def file(self, instance: str) -> bytes:
        """The Part 10 file of an instance, by Orthanc's own identifier."""
        url = f"http://127.0.0.1:{self.http_port}/instances/{instance}/file"
        with urllib.request.urlopen(url, timeout=30) as answer:
            content: bytes = answer.read()
            return content


@contextmanager
def running_orthanc(program: str, folder: Path, ae_title: str = "TESTPACS") -> Iterator[Orthanc]:
    """Start it, wait until it answers, stop it. program: path of Orthanc."""
    server = Orthanc(ae_title, free_port(), free_port())
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps(settings(server, folder)))
    with (folder / "orthanc.log").open("w") as log:
        process = subprocess.Popen([program, str(configuration)], stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until_it_answers(server, process, folder / "orthanc.log")
            yield server
        finally:
            process.terminate()
            process.wait(STOP_S)


def settings(server: Orthanc, folder: Path) -> dict[str, Any]:
    return {
        "Name": server.ae_title,
        "StorageDirectory": str(folder / "objects"),
        "IndexDirectory": str(folder / "objects"),
        "Plugins": [str(DICOMWEB_PLUGIN)] if DICOMWEB_PLUGIN.exists() else [],
        "HttpPort": server.http_port,
        "DicomPort": server.dicom_port,
        "DicomAet": server.ae_title,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "UnknownSopClassAccepted": True,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "StudiesMetadata": "Full", "SeriesMetadata": "Full"},
    }


def wait_until_it_answers(server: Orthanc, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            server.get("/system")
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"Orthanc did not start:\n{log.read_text()[-2000:]}")


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
