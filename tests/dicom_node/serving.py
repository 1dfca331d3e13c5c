"""A running acceptor on loopback over real stores, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dicom_node.config_node import Access, Node
from dicom_node.network.acceptor import Acceptor
from dicom_node.network.file_meta import read_file_meta
from dicom_node.notices import Notices
from dicom_node.room import Marks
from storage.errors import UnknownObject
from storage.objects.file import FileStore
from storage.records.events import Event
from storage.records.received import Association
from tests.made_rows import NO_MARKS, House, open_house
from tests.waiting import eventually


@dataclass
class Serving:
    house: House
    objects: FileStore
    acceptor: Acceptor

    @property
    def port(self) -> int:
        return self.acceptor.port

    def data_sets(self) -> dict[str, list[bytes]]:
        """What is stored, by SOP Instance UID: the data set parts of the files.

        The second copy of an instance that came twice may be taken away between the listing and the reading.
        """
        found: dict[str, list[bytes]] = {}
        for key in self.objects.keys():  # noqa: SIM118 - no dict
            try:
                file = self.objects.get(key)
            except UnknownObject:
                assert key not in set(self.objects.keys()), f"{key} is listed, but cannot be read"
                continue
            meta = read_file_meta(file)
            found.setdefault(meta.sop_instance_uid, []).append(file[meta.data_set_at :])
        return found

    def associations(self, study_instance_uid: str) -> list[Association]:
        """Of a study that was sent already: its rows may come a moment after the answers."""
        assert eventually(lambda: self.house.studies.series_of(study_instance_uid))
        parts = [
            part.association
            for series in self.house.studies.series_of(study_instance_uid)
            for part in self.house.studies.parts(series.series_id)
        ]
        return list({association.association_id: association for association in parts}.values())

    def events(self, kind: str) -> list[Event]:
        return self.house.events_of_kind(kind)


@contextmanager
def serving(
    folder: Path,
    node: Node | None = None,
    access: Access | None = None,
    marks: Marks = NO_MARKS,
    quota_bytes: int | None = None,
) -> Iterator[Serving]:
    house = open_house(folder)
    objects = FileStore(folder / "objects")
    intake = house.intake(
        objects,
        gauge=house.gauge(objects, marks, quota_bytes=quota_bytes),
        sequence_depth=(node or Node()).limits.sequence_depth,
    )
    intake.recover()
    acceptor = Acceptor(
        node or Node(port=0),
        access or Access(),
        intake=intake,
        notices=Notices(house.performed_steps, house.announcements, house.events),
        studies=house.studies,
        events=house.events,
        answers=house.answers,
    )
    try:
        acceptor.start()
        yield Serving(house, objects, acceptor)
    finally:
        acceptor.stop(grace_s=2)
        intake.close()
        house.database.close()
