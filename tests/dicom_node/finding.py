"""Peers that are asked what they hold: one that answers as it is told, and DCMTK's."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.tag import Tag
from pynetdicom import AE, evt

from tests.dicom_node.peers import scp_at
from tests.ports import listens
from tests.waiting import wait_until

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_VERIFICATION = "1.2.840.10008.1.1"
_PENDING, _CANNOT = 0xFF00, 0xC000


@dataclass
class FindScp:
    """A Query/Retrieve SCP (Study Root).

    holds: SOP Instance UIDs by series, by study. counts: those of (0020,1208) and (0020,1209) that it returns. levels: those
    that it answers; others it refuses. instead: what it returns in place of a count. refuses: calling AE titles.
    """

    port: int
    holds: Mapping[str, Mapping[str, list[str]]] = field(default_factory=dict)
    counts: frozenset[str] = frozenset({"NumberOfStudyRelatedInstances", "NumberOfSeriesRelatedInstances"})
    levels: frozenset[str] = frozenset({"STUDY", "SERIES", "IMAGE"})
    instead: str | None = None
    # Queries as they came: level, study, series; and by which calling AE title each association was asked for.
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    calling: list[str] = field(default_factory=list)

    def _opened(self, event: evt.Event) -> None:
        self.calling.append(event.assoc.requestor.primitive.calling_ae_title)

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        query = event.identifier
        level, study, series = query.QueryRetrieveLevel, query.StudyInstanceUID, query.get("SeriesInstanceUID") or ""
        self.asked.append((level, study, series))
        if level not in self.levels:
            yield _CANNOT, None
            return
        held = {uid: uids for uid, uids in self.holds.get(study, {}).items() if series in ("", uid)}
        if level == "STUDY" and held:
            yield _PENDING, self._match(level, study, NumberOfStudyRelatedInstances=sum(map(len, held.values())))
        for uid, uids in held.items():
            if level == "SERIES":
                yield (
                    _PENDING,
                    self._match(level, study, SeriesInstanceUID=uid, NumberOfSeriesRelatedInstances=len(uids)),
                )
            elif level == "IMAGE":
                for one in uids:
                    yield _PENDING, self._match(level, study, SeriesInstanceUID=uid, SOPInstanceUID=one)

    def _match(self, level: str, study: str, **values: Any) -> Dataset:
        match = Dataset()
        match.QueryRetrieveLevel, match.StudyInstanceUID = level, study
        for keyword, value in values.items():
            if not keyword.startswith("Number"):
                setattr(match, keyword, value)
            elif keyword in self.counts:
                # Another VR than IS, so that any text will do: in Implicit VR nobody sees it.
                match.add(DataElement(Tag(keyword), "LO", self.instead or str(value)))
        return match

    @contextmanager
    def running(self, *, called: str | None = None, tls: ssl.SSLContext | None = None) -> Iterator[None]:
        ae = AE(ae_title=called or "PACS1")
        ae.require_called_aet = called is not None
        ae.add_supported_context(FIND)
        ae.add_supported_context(_VERIFICATION)
        handlers = [(evt.EVT_REQUESTED, self._opened), (evt.EVT_C_FIND, self._find)]
        with scp_at(self.port, ae, handlers, tls):
            yield


@contextmanager
def dcmqrscp(program: str, folder: Path, port: int) -> Iterator[None]:
    """DCMTK's archive, PACS1 to everyone; it keeps what it gets in the folder."""
    storage = folder / "archive"
    storage.mkdir(parents=True)
    configuration = folder / "dcmqrscp.cfg"
    configuration.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nPACS1 {storage} RW (200, 1024mb) ANY\nAETable END\n"
    )
    process = subprocess.Popen([program, "-c", str(configuration)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: listens(port))
        yield
    finally:
        process.kill()
        process.wait()
