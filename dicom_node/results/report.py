"""What is to be said about a series, and what comes of it: the input and the output of the encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pydicom.dataset import Dataset

from dicom_node import __version__
from dicom_node.result_kinds import ResultKind, kind_of, segmentation_of
from dicom_node.result_words import AS_DELIVERED, Words
from dicom_node.results.dicom_file import DicomFile
from inference.findings import Findings, ModelIdentity
from inference.frames import Frame
from inference.volume import Volume
from storage.records.results import Predecessor

USUAL_KINDS: tuple[ResultKind, ...] = ("seg", "sr", "sc")


@dataclass(frozen=True, slots=True)
class Equipment:
    """The node that writes the objects (General Equipment, PS3.3 C.7.5.1); the model is named beside it."""

    manufacturer: str = "dicom-node"
    model_name: str = "dicom-node"
    serial_number: str = "1"
    software_version: str = __version__
    station_name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ReadBesides:
    """Another series that the model read: its name in the input contract, and of which revision the volume is."""

    name: str
    revision: int
    volume: Volume


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """All that the encoders may know.

    sources: the data sets of the analysed series; their pixel data are never read. Each may be read when it is asked for, so
    who walks all of them does so once.
    frames: those of the sources, in order of these, where they are known; else they are made of the sources again.
    volume: what the model saw; None where no volume could be made, and then nothing was analysed.
    revision: counts the states of the series, from 1; a later one has results with UIDs of their own.
    companions: other series that the findings rest on, of this study or another.
    created_at: when the findings were made, with its time zone. Two reports that are equal give equal bytes.
    remark: what limits all of it and must be said with it, such as "analysed 410 of 412 images".
    kinds: what is ordered: a kind each, and of reports the Segmentation that they refer to (see `result_kinds`).
    predecessors: reports that this one may take the place of, the latest first; itself may be among them.
    words: what the site decided about the words of pictures and pages.
    """

    sources: Sequence[Dataset]
    volume: Volume | None
    findings: Findings
    model: ModelIdentity
    revision: int
    created_at: datetime
    kinds: frozenset[str] = frozenset(USUAL_KINDS)
    equipment: Equipment = field(default_factory=Equipment)
    companions: tuple[ReadBesides, ...] = ()
    remark: str | None = None
    predecessors: Sequence[Predecessor] = ()
    words: Words = AS_DELIVERED
    frames: Sequence[Frame] = ()

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("a report needs at least one source instance: it takes patient and study from it")
        if self.created_at.tzinfo is None:
            raise ValueError(f"created_at needs a time zone, but is {self.created_at.isoformat()}")
        if self.volume is None and self.findings.not_analysed is None:
            raise ValueError("findings without a volume must say 'not analysed'")
        for kind in self.kinds:
            kind_of(kind), segmentation_of(kind)

    @property
    def first_source(self) -> Dataset:
        """The instance from which patient, study and character set are taken."""
        return self.sources[0]


@dataclass(frozen=True, slots=True)
class EncodedResult:
    """One result object. file: a complete Part 10 file in Explicit VR Little Endian. kind: as ordered.

    faults: what our own checks found wrong with it, in words; it is ready to be sent only where there are none. One that
    could not be made at all has an empty file, and the reason among its faults.
    """

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    series_number: int
    description: str
    file: DicomFile
    faults: tuple[str, ...] = ()

    @property
    def payload(self) -> bytes:
        """The file in one piece; of one with frames of their own, a copy."""
        return self.file.whole()
