"""Rows as the node makes them, for tests: a series that was received and judged, its job, and the job's results."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from dicom_node.intake import Intake
from dicom_node.part10 import file_meta
from dicom_node.result_kinds import kind_of
from dicom_node.room import Marks
from dicom_node.room_gauge import Gauge
from storage.announcements import Announcements
from storage.answers import Answers
from storage.database import Database
from storage.deadlines import Deadlines
from storage.disk import sync_folder
from storage.errors import UnknownObject
from storage.events import Events
from storage.habits import Habits
from storage.history import History
from storage.instances import Instances
from storage.jobs import Jobs
from storage.models import Models
from storage.objects.protocol import ObjectStore, PackStore
from storage.objects.same import same_content
from storage.outbox import Outbox
from storage.performed_steps import PerformedSteps
from storage.records.events import Event
from storage.records.jobs import Job, NewJob
from storage.records.received import Association, NewInstance
from storage.records.results import Delivery, Result
from storage.rejections import RejectionNotes
from storage.shadows import Shadows
from storage.studies import Studies
from storage.usage import Usage

NO_MARKS = Marks(0, 0, 0)
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
SOP_CLASSES = {
    "seg": "1.2.840.10008.5.1.4.1.1.66.4",
    "seg_labelmap": "1.2.840.10008.5.1.4.1.1.66.7",
    "sr": "1.2.840.10008.5.1.4.1.1.88.34",
    "sr_comprehensive": "1.2.840.10008.5.1.4.1.1.88.33",
    "sr_text": "1.2.840.10008.5.1.4.1.1.88.11",
    "gsps": "1.2.840.10008.5.1.4.1.1.11.1",
    "sc": str(SecondaryCaptureImageStorage),
}


class Comparison:
    """Whether objects have the same content: those of an intake's store, once there is one; made rows have none."""

    objects: ObjectStore | None = None

    def __call__(self, key: str, other: str, size_bytes: int) -> bool:
        return self.objects is None or same_content(self.objects)(key, other, size_bytes)


def of_one_sum_alone(_key: str, _other: str, _size_bytes: int) -> bool:
    """Made rows have no content to compare: those with the same sum have the same one."""
    return True


def recipients_of(results: Iterable[Result], by_kind: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Who gets which of the results, by SOP Instance UID."""
    return {item.sop_instance_uid: by_kind.get(item.kind, ()) for item in results}


@dataclass(frozen=True)
class MemoryPart:
    content: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    def read(self, start: int, length: int) -> bytes:
        if start + length > len(self.content):
            raise UnknownObject("the object is cut short")
        return self.content[start : start + length]

    def read_into(self, start: int, buffer: memoryview) -> None:
        buffer[:] = self.read(start, len(buffer))


class MemoryStore:
    """An object store that a test can damage."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def put(self, key: str, chunks: Iterable[bytes | memoryview]) -> None:
        with self._lock:
            self.objects[key] = b"".join(bytes(chunk) for chunk in chunks)

    def get(self, key: str) -> bytes:
        try:
            return self.objects[key]
        except KeyError:
            raise UnknownObject(f"no object is kept under the key {key}") from None

    def part(self, key: str) -> MemoryPart:
        return MemoryPart(self.get(key))

    def tail(self, key: str, size_bytes: int) -> Iterator[bytes]:
        content = self.get(key)
        yield content[max(0, len(content) - size_bytes) :]

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def keys(self, prefix: str = "") -> Iterator[str]:
        return iter([key for key in self.objects if key.startswith(prefix)])

    def free_bytes(self) -> int | None:
        return None


def secondary_capture(study_uid: str, sop_instance_uid: str, *, sop_class_uid: str, side: int = 32) -> bytes:
    """A small Part 10 file, Explicit VR Little Endian. Its data set has a private element and values of odd length, so
    that whoever decodes and encodes it anew is likely to change its bytes."""
    elements = [
        _element(0x0008, 0x0016, b"UI", _uid(sop_class_uid)),
        _element(0x0008, 0x0018, b"UI", _uid(sop_instance_uid)),
        _element(0x0008, 0x0060, b"CS", b"OT"),
        _element(0x0009, 0x0010, b"LO", b"MADE ROWS "),
        _element(0x0009, 0x1001, b"UN", b"\x01\x02\x03\x04", wide=True),
        _element(0x0010, 0x0010, b"PN", b"Phantom^Test"),
        _element(0x0010, 0x0020, b"LO", b"MADE"),
        _element(0x0020, 0x000D, b"UI", _uid(study_uid)),
        _element(0x0020, 0x000E, b"UI", _uid(f"{study_uid}.1")),
        _element(0x0020, 0x0011, b"IS", b"2901"),
        _element(0x0020, 0x0013, b"IS", b"1 "),
        _element(0x0028, 0x0002, b"US", b"\x01\x00"),
        _element(0x0028, 0x0004, b"CS", b"MONOCHROME2 "),
        _element(0x0028, 0x0010, b"US", side.to_bytes(2, "little")),
        _element(0x0028, 0x0011, b"US", side.to_bytes(2, "little")),
        _element(0x0028, 0x0100, b"US", b"\x08\x00"),
        _element(0x0028, 0x0101, b"US", b"\x08\x00"),
        _element(0x0028, 0x0102, b"US", b"\x07\x00"),
        _element(0x0028, 0x0103, b"US", b"\x00\x00"),
        _element(0x7FE0, 0x0010, b"OB", bytes(range(256)) * (side * side // 256), wide=True),
    ]
    meta = file_meta(
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN,
    )
    return meta + b"".join(elements)


def _uid(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)


def _element(group: int, element: int, vr: bytes, value: bytes, *, wide: bool = False) -> bytes:
    length = b"\0\0" + len(value).to_bytes(4, "little") if wide else len(value).to_bytes(2, "little")
    return group.to_bytes(2, "little") + element.to_bytes(2, "little") + vr + length + value


def new_instance(**given: Any) -> NewInstance:
    """A CT image as the node records it: of a series and an association of its own, but for what is given."""
    uid = given.get("sop_instance_uid") or generate_uid()
    usual = {
        "sop_class_uid": CT_IMAGE,
        "sop_instance_uid": uid,
        "series_instance_uid": f"{uid}.1"[-64:],
        "study_instance_uid": f"{uid}.2"[-64:],
        "transfer_syntax_uid": EXPLICIT_VR_LITTLE_ENDIAN,
        "content_sum": hashlib.sha256(uid.encode()).hexdigest()[:32],
        "object_key": f"instances/{uid}",
        "size_bytes": 1,
        "association_id": "a1",
        "received_at": time.time(),
        "patient_id": "MADE",
        "patient_name": "Phantom^Test",
        "accession_number": "A1",
        "study_date": "20260101",
        "study_description": "",
        "facts": {},
    }
    return NewInstance(**usual | given)


@dataclass
class House:
    """The stores of a node in one folder, and what fills them."""

    database: Database
    studies: Studies
    instances: Instances
    jobs: Jobs
    deadlines: Deadlines
    outbox: Outbox
    events: Events
    usage: Usage
    answers: Answers
    announcements: Announcements
    habits: Habits
    performed_steps: PerformedSteps
    rejection_notes: RejectionNotes
    models: Models
    shadows: Shadows
    history: History
    objects: MemoryStore
    run_folder: Path
    comparison: Comparison

    def gauge(self, objects: ObjectStore, marks: Marks = NO_MARKS, **more: Any) -> Gauge:
        """Of a store that lies beside the database; without marks there is always room."""
        return Gauge(marks, objects, self.database, self.usage, **more)

    def end_association(self, opened: Association, ending: str, closed_at: float) -> None:
        """As the node records it, with the last rows of what the association brought."""
        self.instances.add_all((), [replace(opened, ending=ending, closed_at=closed_at)])

    def intake(self, objects: PackStore, **more: Any) -> Intake:
        """The door in over these stores and a store of objects beside them."""
        given = {"gauge": self.gauge(objects), "lock_file": self.run_folder / "run" / "intake.lock"} | more
        self.comparison.objects = objects
        return Intake(objects, self.instances, self.studies, self.events, **given)

    def ready_job(
        self, *, study_uid: str | None = None, destinations: Sequence[str] = ("PACS1",), **job: object
    ) -> Job:
        """A job of a series that was received, judged whole and routed."""
        study_uid = study_uid or generate_uid()
        series_uid, now = generate_uid(), time.time()
        association = Association(generate_uid()[-36:], "a1", "SCANNER", "NODE", "127.0.0.1", now)
        self.studies.open_association(association)
        self.instances.add(
            new_instance(
                series_instance_uid=series_uid,
                study_instance_uid=study_uid,
                object_key=f"instances/{series_uid}",
                association_id=association.association_id,
                received_at=now,
            )
        )
        (series,) = [one for one in self.studies.series_of(study_uid) if one.series_instance_uid == series_uid]
        values: dict[str, object] = {"model": "m@1", "route": "r", "state": "ready", "priority": "routine"}
        values |= {"report_not_analysed": True, "timeout_s": 60.0} | job
        new = NewJob(destinations=tuple(destinations), **values)  # type: ignore[arg-type]
        assert self.studies.settle(series, evidence="made", jobs=[new], events=[])
        return next(one for one in self.jobs.of_study(study_uid) if one.series_id == series.series_id)

    def next_revision(self, of: Job) -> Job:
        """The same series, after one more instance came and it was judged whole again, with a job like that one."""
        self.one_more(of)
        new = NewJob(of.model, of.route, "ready", of.priority, of.destinations, of.report_not_analysed, of.timeout_s)
        (series,) = [one for one in self.studies.series_of(of.study_instance_uid) if one.series_id == of.series_id]
        assert self.studies.settle(series, evidence="made", jobs=[new], events=[])
        return next(one for one in self.jobs.of_study(of.study_instance_uid) if one.revision == series.revision)

    def one_more(self, of: Job) -> None:
        """An instance of the job's series, after those that it analyses."""
        (before,) = [one for one in self.studies.series_of(of.study_instance_uid) if one.series_id == of.series_id]
        (part, *_) = self.studies.parts(before.series_id)
        (first, *_) = self.instances.of_series(before.series_id, up_to_revision=before.revision)
        uid = generate_uid()
        self.instances.add(
            new_instance(
                sop_class_uid=first.sop_class_uid,
                sop_instance_uid=uid,
                series_instance_uid=of.series_instance_uid,
                study_instance_uid=of.study_instance_uid,
                transfer_syntax_uid=first.transfer_syntax_uid,
                content_sum=hashlib.sha256(uid.encode()).hexdigest()[:32],
                object_key=f"instances/{uid}",
                association_id=part.association.association_id,
            )
        )

    def result(self, study_uid: str, kind: str, *, side: int = 32) -> Result:
        """A result whose object is stored."""
        uid = generate_uid()
        sop_class_uid = SOP_CLASSES[kind_of(kind)]
        part10 = secondary_capture(study_uid, uid, sop_class_uid=sop_class_uid, side=side)
        self.objects.put(f"results/{uid}", [part10])
        return Result(
            sop_instance_uid=uid,
            sop_class_uid=sop_class_uid,
            series_instance_uid=f"{study_uid}.1",
            study_instance_uid=study_uid,
            transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN,
            kind=kind,
            description="made",
            object_key=f"results/{uid}",
            content_sha256=hashlib.sha256(part10).hexdigest(),
            size_bytes=len(part10),
        )

    def analysed_study(
        self,
        *,
        study_uid: str | None = None,
        destinations: Sequence[str] = ("PACS1",),
        kinds: Sequence[str] = ("seg", "sr", "sc"),
        reserve: Sequence[str] = (),
        side: int = 32,
    ) -> tuple[Delivery, ...]:
        """A study whose job is done: its results wait in the outbox, for each of the destinations.

        reserve: kinds that are kept besides, for nobody so far.
        """
        job = self.ready_job(study_uid=study_uid, destinations=destinations)
        self.jobs.start(job.job_id)
        running = self.jobs.get(job.job_id)
        assert running
        results = [self.result(job.study_instance_uid, kind, side=side) for kind in (*kinds, *reserve)]
        recipients = recipients_of(results, dict.fromkeys(kinds, tuple(destinations)))
        assert self.jobs.finish(
            running, state="done", outcome="done", reason=None, results=results, recipients=recipients
        )
        return tuple(row for row in self.outbox.of_study(job.study_instance_uid) if row.job_id == job.job_id)

    def states(self, destination: str = "PACS1") -> dict[str, int]:
        return {state: count for (name, state), count in self.outbox.counts().items() if name == destination}

    def events_of_kind(self, *kinds: str) -> list[Event]:
        recent = self.events.recent(severities=("info", "warning", "alarm"), limit=1000)
        return [event for event in reversed(recent) if event.kind in kinds]


@cache
def _empty_database() -> bytes:
    """The file of a new database. It is made once in a process: all migrations one after the other take half a second."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "node.sqlite3"
        database = Database(f"sqlite:///{path}")
        database.migrate()
        database.close()
        return path.read_bytes()


def made_database(folder: Path) -> Database:
    """The database of a node in this folder; a new one where there is none. It is safe on the disk, as a migrated one is."""
    path = folder / "node.sqlite3"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(_empty_database())
            file.flush()
            os.fsync(file.fileno())
        sync_folder(folder)
    database = Database(f"sqlite:///{path}")
    database.migrate()
    return database


def open_house(folder: Path) -> House:
    database = made_database(folder)
    comparison = Comparison()
    return House(
        database=database,
        studies=Studies(database),
        instances=Instances(database, comparison),
        jobs=Jobs(database),
        deadlines=Deadlines(database),
        outbox=Outbox(database),
        events=Events(database),
        usage=Usage(database),
        answers=Answers(database),
        announcements=Announcements(database),
        habits=Habits(database),
        performed_steps=PerformedSteps(database),
        rejection_notes=RejectionNotes(database),
        models=Models(database),
        shadows=Shadows(database),
        history=History(database),
        objects=MemoryStore(),
        run_folder=folder,
        comparison=comparison,
    )
