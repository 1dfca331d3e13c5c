from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from dicom_node import content as module
from dicom_node.arrival_record import Announced
from dicom_node.content import Received
from dicom_node.intake import Intake
from dicom_node.network.file_meta import read_file_meta
from dicom_node.part10 import IMPLEMENTATION_CLASS_UID
from dicom_node.refusals import NotAsCommanded, NotIdentified, OutOfResources, Refused, Unparsable
from dicom_node.room import Marks
from storage.errors import StorageUnavailable
from storage.objects.file import FileStore
from storage.objects.pack import content_sum
from storage.records.received import Association
from tests.encoded import CT_IMAGE_STORAGE, EXPLICIT_LITTLE, IMPLICIT_LITTLE, Encoding, ct_image
from tests.made_rows import House, open_house

ASSOCIATION = Association("association-1", "acceptor", "SCANNER", "NODE", "192.0.2.1", 99.0)


class Store(FileStore):
    """A file store that says how much room is left, and breaks when told to."""

    free: int | None = None
    broken = False

    def free_bytes(self) -> int | None:
        return super().free_bytes() if self.free is None else self.free

    def put(self, key: str, chunks: Iterable[bytes | memoryview]) -> None:
        if self.broken:
            raise StorageUnavailable("object store: Input/output error")
        super().put(key, chunks)


@dataclass
class Node:
    house: House
    objects: Store
    intake: Intake
    now: list[float]

    def send(self, payload: bytes, **changes: str) -> str:
        uid = changes.pop("sop_instance_uid", "1.2.3.4.5")
        received = Received(payload, CT_IMAGE_STORAGE, uid, EXPLICIT_LITTLE, "association-1")
        return self.intake.receive(replace(received, **changes)).outcome  # type: ignore[arg-type]

    def kept(self) -> list[str]:
        return sorted(self.objects.keys())


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    house = open_house(tmp_path)
    house.studies.open_association(ASSOCIATION)
    objects, now = Store(tmp_path / "objects"), [1000.0]
    intake = _intake(house, objects, tmp_path, clock=lambda: now[0])
    node = Node(house, objects, intake, now)
    yield node
    node.intake.close()
    house.database.close()


def _intake(house: House, objects: Store, folder: Path, clock: Callable[[], float] = time.time, **more: int) -> Intake:
    gauge = house.gauge(objects, Marks(1000, 1000, 1000))
    return house.intake(objects, gauge=gauge, clock=clock, **more)


def test_an_instance_is_kept_byte_for_byte_behind_our_own_header(node: Node) -> None:
    payload = ct_image()
    assert node.send(payload) == "stored"
    (key,) = node.kept()
    file = node.objects.get(key)
    meta = read_file_meta(file)
    assert file[:132] == bytes(128) + b"DICM"
    assert file[meta.data_set_at :] == payload
    assert (meta.sop_class_uid, meta.sop_instance_uid) == (CT_IMAGE_STORAGE, "1.2.3.4.5")
    read = pydicom.dcmread(BytesIO(file))
    assert read.file_meta.TransferSyntaxUID == EXPLICIT_LITTLE
    assert read.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert read.file_meta.FileMetaInformationGroupLength == meta.data_set_at - 132 - 12
    assert read.PixelData == bytes(range(48))


def test_the_row_says_what_came_from_whom_and_when(node: Node) -> None:
    payload = ct_image()
    node.send(payload)
    (series,) = node.house.studies.arriving()
    (kept,) = node.house.instances.of_series(series.series_id, up_to_revision=1)
    assert kept.content_sum == content_sum(payload)
    assert (kept.size_bytes, kept.received_at, kept.transfer_syntax_uid) == (len(payload), 1000.0, EXPLICIT_LITTLE)
    assert kept.facts["ImagePositionPatient"] == [0.0, 0.0, 2.5]
    study = node.house.studies.study("1.2.3")
    assert (study.patient_name, study.patient_id, study.accession_number) == ("Canary^Yellow", "CANARY-1", "ACC1")
    (part,) = node.house.studies.parts(series.series_id)
    assert (part.association.calling_ae_title, part.stored) == ("SCANNER", 1)


def test_the_same_instance_again_is_one_copy(node: Node) -> None:
    assert [node.send(ct_image()) for _ in range(3)] == ["stored", "same", "same"]
    assert len(node.kept()) == 1


def test_the_same_instance_again_needs_no_room(node: Node) -> None:
    node.send(ct_image())
    node.objects.free = 0
    assert node.send(ct_image()) == "same"


def test_another_content_or_syntax_under_the_same_uid_is_kept_beside_the_first(node: Node) -> None:
    first = ct_image()
    assert node.send(first) == "stored"
    assert node.send(ct_image(InstanceNumber=2)) == "conflict"
    assert node.send(ct_image(transfer_syntax_uid=IMPLICIT_LITTLE), transfer_syntax_uid=IMPLICIT_LITTLE) == "conflict"
    assert len(node.kept()) == 3
    (series,) = node.house.studies.arriving()
    (analysed,) = node.house.instances.of_series(series.series_id, up_to_revision=1)
    assert node.objects.get(analysed.object_key).endswith(first)
    assert len(node.house.events.recent(severities=("alarm",), limit=9)) == 2


def test_no_text_of_a_peer_is_part_of_an_object_key(node: Node) -> None:
    node.send(
        ct_image("1.2.3.4.9", StudyInstanceUID="1.99.7", SeriesInstanceUID="1.99.7.1"), sop_instance_uid="1.2.3.4.9"
    )
    (key,) = node.kept()
    assert key.startswith("instances/")
    assert not any(uid in key for uid in ("1.99.7", "1.2.3.4.9"))
    assert all(len(part) in {2, 16, 36} for part in key.split("/")[1:])


def test_the_instances_of_a_series_lie_in_one_folder(node: Node) -> None:
    for number in range(5):
        node.send(ct_image(f"1.2.3.4.{number}"), sop_instance_uid=f"1.2.3.4.{number}")
    assert len({key.rpartition("/")[0] for key in node.kept()}) == 1


REFUSED: dict[str, tuple[type[Refused], bytes, dict[str, str]]] = {
    "cut short": (Unparsable, ct_image()[:-1], {}),
    "garbage": (Unparsable, b"\xff" * 1000, {}),
    "other instance": (NotAsCommanded, ct_image(), {"sop_instance_uid": "1.2.3.4.6"}),
    "no study": (NotIdentified, ct_image(StudyInstanceUID=None), {}),
    "path as uid": (NotIdentified, ct_image("../../x"), {"sop_instance_uid": "../../x"}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_instance_leaves_an_event_and_nothing_else(node: Node, case: str) -> None:
    refusal, payload, changes = REFUSED[case]
    with pytest.raises(refusal):
        node.send(payload, **changes)
    assert node.kept() == []
    assert node.house.studies.arriving() == ()
    (event,) = node.house.events.recent(severities=("warning",), limit=9)
    assert (event.kind, event.association_id) == ("instance_refused", "association-1")
    assert event.data["refusal"] == refusal.__name__
    assert event.data["sop_instance_uid"] == (
        None if case == "path as uid" else changes.get("sop_instance_uid", "1.2.3.4.5")
    )
    assert node.house.events.count("instance_refused") == 1


def test_no_event_holds_patient_data(node: Node) -> None:
    for refusal, payload, changes in REFUSED.values():
        with pytest.raises(refusal):
            node.send(payload, **changes)
    node.send(ct_image())
    node.send(ct_image(InstanceNumber=2))
    events = node.house.events.recent(severities=("info", "warning", "alarm"), limit=99)
    assert len(events) == len(REFUSED) + 2
    assert "canary" not in repr(events).lower()


def test_without_room_nothing_is_taken_and_with_room_again_it_is(node: Node) -> None:
    payload = ct_image()
    node.objects.free = 1000 + len(payload) - 1
    with pytest.raises(OutOfResources, match="min_free_bytes"):
        node.send(payload)
    assert node.kept() == []
    node.objects.free += 1
    assert node.send(payload) == "stored"


def test_a_full_disk_is_not_filled_with_an_event_for_each_instance(node: Node) -> None:
    node.objects.free = 0
    for number in range(5):
        node.now[0] += 10
        with pytest.raises(OutOfResources):
            node.send(ct_image(f"1.2.3.4.{number}"), sop_instance_uid=f"1.2.3.4.{number}")
    assert node.house.events.count("instance_refused") == 1
    node.now[0] += 60
    with pytest.raises(OutOfResources):
        node.send(ct_image())
    assert node.house.events.count("instance_refused") == 2


def test_a_broken_object_store_is_out_of_resources_and_no_row_is_written(node: Node) -> None:
    node.objects.broken = True
    with pytest.raises(OutOfResources):
        node.send(ct_image())
    assert node.house.studies.arriving() == ()
    node.objects.broken = False
    assert node.send(ct_image()) == "stored"


def test_a_broken_database_is_out_of_resources_even_where_it_cannot_record_that(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: object) -> None:
        raise StorageUnavailable("database: disk I/O error")

    monkeypatch.setattr(node.house.instances, "add", fails)
    monkeypatch.setattr(node.house.events, "record", fails)
    with pytest.raises(OutOfResources):
        node.send(ct_image())


def test_the_object_of_a_commit_that_failed_stays_until_the_sweep(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: object) -> None:
        raise StorageUnavailable("database: disk I/O error")

    node.send(ct_image("1.2.3.4.1"), sop_instance_uid="1.2.3.4.1")
    monkeypatch.setattr(node.house.instances, "add", fails)
    with pytest.raises(OutOfResources):
        node.send(ct_image())
    assert len(node.kept()) == 2
    assert node.intake.sweep() == 1
    (series,) = node.house.studies.arriving()
    (kept,) = node.house.instances.of_series(series.series_id, up_to_revision=1)
    assert node.kept() == [kept.object_key]


def test_an_instance_whose_object_was_left_by_a_crash_is_taken_when_it_is_sent_again(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(node.house.instances, "add", _crash)
        with pytest.raises(KeyboardInterrupt):
            node.send(ct_image())
    left = node.kept()
    assert node.send(ct_image()) == "stored"
    assert node.kept() == left
    assert node.intake.sweep() == 0


def test_the_sweep_removes_only_objects_of_instances_that_no_row_names(node: Node, tmp_path: Path) -> None:
    folder = tmp_path / "objects" / "instances" / "00"
    folder.mkdir(parents=True)
    node.send(ct_image())
    node.send(ct_image(InstanceNumber=2))
    kept = node.kept()
    for number in range(1203):
        (folder / f"{number}.dcm").write_bytes(b"orphan")
    node.objects.put("results/1.dcm", (b"a result is not the intake's to sweep",))
    assert node.intake.sweep() == 1203
    assert node.kept() == sorted([*kept, "results/1.dcm"])
    assert node.intake.sweep() == 0


def test_nothing_is_swept_while_another_intake_may_be_about_to_commit(node: Node, tmp_path: Path) -> None:
    node.objects.put("instances/00/1.dcm", (b"no row yet",))
    another = _intake(node.house, node.objects, tmp_path)
    assert node.intake.sweep() == another.sweep() == 0
    assert node.kept() == ["instances/00/1.dcm"]
    node.intake.close()
    assert another.sweep() == 1
    node.intake = _intake(node.house, node.objects, tmp_path)
    assert another.sweep() == 0
    another.close()


@pytest.mark.parametrize(("error", "refusal"), [(RecursionError, Unparsable), (MemoryError, OutOfResources)])
def test_a_header_that_exhausts_the_reader_is_refused(
    node: Node, monkeypatch: pytest.MonkeyPatch, error: type[Exception], refusal: type[Refused]
) -> None:
    def exhausts(*_args: object) -> None:
        raise error

    monkeypatch.setattr(module, "judge", exhausts)
    with pytest.raises(refusal):
        node.send(ct_image())


def test_the_object_is_durable_before_the_row_and_the_row_before_the_answer(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def noting(step: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object) -> object:
            result = real(*args)
            steps.append(step)
            return result

        return call

    monkeypatch.setattr(node.objects, "put", noting("object", node.objects.put))
    monkeypatch.setattr(node.house.instances, "add", noting("row", node.house.instances.add))
    node.send(ct_image())
    assert steps == ["object", "row"]


def test_private_and_compressed_data_sets_are_kept_as_they_came(node: Node) -> None:
    syntax = "1.2.840.10008.1.2.4.80"
    payload = ct_image(transfer_syntax_uid=syntax, PixelData=None) + Encoding(syntax).encapsulated(
        [b"\xff\xd8\xff\xf7odd"]
    )
    node.send(payload, transfer_syntax_uid=syntax)
    (key,) = node.kept()
    assert node.objects.get(key).endswith(payload)
    assert read_file_meta(node.objects.get(key)).transfer_syntax_uid == syntax


def _crash(*_args: object) -> None:
    raise KeyboardInterrupt


def _nested(depth: int) -> bytes:
    encoding = Encoding()
    content = encoding.data_set(Modality="CT")
    for _ in range(depth):
        content = encoding.sequence(0x00081140, [encoding.item(content)])
    return ct_image() + content


def test_sequences_may_nest_as_deep_as_is_configured_on_both_ways_in(node: Node, tmp_path: Path) -> None:
    intake = _intake(node.house, node.objects, tmp_path, sequence_depth=3)
    arrivals = intake.arrivals(ASSOCIATION)
    for depth in (3, 4):
        arrival = arrivals.begin(Announced(CT_IMAGE_STORAGE, "1.2.3.4.5", EXPLICIT_LITTLE))
        arrival.write([memoryview(_nested(depth))])
        received = Received(_nested(depth), CT_IMAGE_STORAGE, "1.2.3.4.5", EXPLICIT_LITTLE, "association-1")
        if depth == 3:
            arrival.finish()
            intake.receive(received)
            continue
        with pytest.raises(Unparsable, match="nested more than 3 deep"):
            arrival.finish()
        with pytest.raises(Unparsable, match="nested more than 3 deep"):
            intake.receive(received)
    arrivals.flush()
    intake.close()


def test_what_was_acknowledged_is_recovered_though_sequences_may_no_longer_nest_so_deep(
    node: Node, tmp_path: Path
) -> None:
    arrivals = node.intake.arrivals(ASSOCIATION)
    arrival = arrivals.begin(Announced(CT_IMAGE_STORAGE, "1.2.3.4.5", EXPLICIT_LITTLE))
    arrival.write([memoryview(_nested(5))])
    arrival.finish()
    assert arrivals._pack
    arrivals._pack.close(sealed=False)  # as a crash does, before the row is committed
    assert node.house.studies.arriving() == ()
    restarted = _intake(node.house, node.objects, tmp_path, sequence_depth=1)
    assert restarted.recover() == 1
    (series,) = node.house.studies.arriving()
    assert series.instance_count == 1
    restarted.close()


def test_what_came_in_counts_against_the_quota_before_that_is_read_again(node: Node, tmp_path: Path) -> None:
    house, payload = node.house, ct_image()
    gauge = house.gauge(node.objects, quota_bytes=2 * len(payload) + 1, clock=lambda: 1.0)  # no second goes by
    intake = house.intake(node.objects, gauge=gauge)
    intake.receive(Received(payload, CT_IMAGE_STORAGE, "1.2.3.4.5", EXPLICIT_LITTLE, "association-1"))
    gauge.check(len(payload))
    with pytest.raises(OutOfResources, match="no room"):
        gauge.check(len(payload) + 1)
    arrivals = intake.arrivals(ASSOCIATION)
    arrival = arrivals.begin(Announced(CT_IMAGE_STORAGE, "1.2.3.4.6", EXPLICIT_LITTLE))
    arrival.write([memoryview(ct_image("1.2.3.4.6"))])
    arrival.finish()
    arrivals.flush()
    gauge.check(0)
    with pytest.raises(OutOfResources, match="no room"):
        gauge.check(1)
    intake.close()
