"""A PACS on this machine: Orthanc on ports of its own and in a folder of its own."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.network.file_meta import read_file_meta
from tests.ports import free_port, listens
from tests.processes import terminated
from tests.waiting import LIMIT_S, eventually

_ANSWER_S = 60.0


@dataclass(frozen=True)
class Orthanc:
    """It listens while `running`, and holds what it took when it is run again. Any AE title may store into it.

    program: path of Orthanc. folder: is made where it is missing. more: keys of Orthanc's configuration, over those here.
    """

    program: str
    folder: Path
    ae_title: str = "PACS1"
    dicom_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    more: Mapping[str, object] = field(default_factory=dict)

    @contextmanager
    def running(self) -> Iterator[Orthanc]:
        """Start it, wait until it answers, stop it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "orthanc.json"
        configuration.write_text(json.dumps(self._settings()))
        with (
            (self.folder / "orthanc.log").open("a") as log,
            subprocess.Popen([self.program, str(configuration)], stdout=log, stderr=subprocess.STDOUT) as process,
        ):
            try:
                assert eventually(lambda: process.poll() is not None or self._answers()), self._log()
                assert process.poll() is None, self._log()
                yield self
            finally:
                terminated(process)

    def store(self, dcmsend: str, files: Sequence[Path]) -> None:
        """C-STORE the files with DCMTK's dcmsend; raises CalledProcessError where one is not taken."""
        command = [dcmsend, "--call", self.ae_title, "127.0.0.1", str(self.dicom_port), *map(str, files)]
        subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S)

    def held(self, study_instance_uid: str | None = None) -> dict[str, bytes]:
        """The Part 10 files that it gives back, of one study or of all, by SOP Instance UID."""
        query = {"StudyInstanceUID": study_instance_uid} if study_instance_uid else {}
        found = json.loads(self._ask("/tools/find", json.dumps({"Level": "Instance", "Query": query}).encode()))
        files = (self._ask(f"/instances/{one}/file") for one in found)
        return {read_file_meta(content).sop_instance_uid: content for content in files}

    def _settings(self) -> dict[str, object]:
        return {
            "Name": self.ae_title,
            "StorageDirectory": str(self.folder / "db"),
            "IndexDirectory": str(self.folder / "db"),
            "DicomAet": self.ae_title,
            "DicomPort": self.dicom_port,
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowStore": True,
            "UnknownSopClassAccepted": True,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "OverwriteInstances": False,
            "Plugins": [],
            **self.more,
        }

    def _answers(self) -> bool:
        """Both of its servers."""
        if not (listens(self.dicom_port) and listens(self.http_port)):
            return False
        try:
            self._ask("/system")
        except OSError:
            return False
        return True

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", body, timeout=_ANSWER_S) as answer:
            content: bytes = answer.read()
        return content

    def _log(self) -> str:
        return f"Orthanc did not start:\n{(self.folder / 'orthanc.log').read_text()[-2000:]}"
