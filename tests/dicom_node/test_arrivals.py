from __future__ import annotations

import errno
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from xxhash import xxh3_128_hexdigest

from dicom_node import arrival_record, intake, part10
from dicom_node import arrivals as module
from dicom_node.arrival_record import Announced, instance_of_note
from dicom_node.arrivals import Arrivals
from dicom_node.intake import Intake
from dicom_node.part10 import file_meta
from dicom_node.refusals import NotAsCommanded, OutOfResources, Unparsable
from storage.errors import StorageUnavailable
from storage.objects.file import FileStore
from storage.objects.pack import PackWriter, records, sealed_at
from storage.records.received import Association
from tests.encoded import CT_IMAGE_STORAGE, EXPLICIT_LITTLE, ct_image
from tests.made_rows import House, open_house

STUDY, SERIES = "1.2.3", "1.2.3.4"


@dataclass
class Door:
    house: House
    objects: FileStore
    intake: Intake
    association: Association
    arrivals: Arrivals

    def end(self) -> None:
        self.intake.end([(self.association, self.arrivals)])

    def send(self, payload: bytes, uid: str, *, pieces: int = 1) -> None:
        arrival = self.arrivals.begin(Announced(CT_IMAGE_STORAGE, uid, EXPLICIT_LITTLE))
        size = -(-len(payload) // pieces)
        arrival.write([memoryview(payload)[at : at + size] for at in range(0, len(payload), size)])
        arrival.finish()

    def kept(self) -> dict[str, tuple[str, str]]:
        """By SOP Instance UID: the key and the sum of its row."""
        (series,) = self.house.studies.series_of(STUDY)
        found = self.house.instances.of_series(series.series_id, up_to_revision=series.revision)
        return {one.sop_instance_uid: (one.object_key, one.content_sum) for one in found}


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    house = open_house(tmp_path)
    association = Association(
        "association-1", "acceptor-1", "SCANNER", "NODE", "192.0.2.1", 99.0, ending="released", closed_at=100.0
    )
    objects = FileStore(tmp_path / "objects")
    taking = house.intake(objects)
    yield Door(house, objects, taking, association, taking.arrivals(association))
    taking.close()
    house.database.close()


def _large(number: int) -> tuple[str, bytes]:
    uid = f"1.2.3.4.{number}"
    return uid, ct_image(uid, Rows=300, Columns=300, InstanceNumber=number, PixelData=bytes([number]) * 180_000)


def test_the_sum_of_a_row_is_that_of_the_data_set_whatever_its_size(door: Door) -> None:
    small = ct_image("1.2.3.4.1")
    uid, large = _large(2)
    door.send(small, "1.2.3.4.1", pieces=3)
    door.send(large, uid, pieces=7)
    door.end()
    sums = {uid: content_sum for uid, (_, content_sum) in door.kept().items()}
    assert sums == {"1.2.3.4.1": xxh3_128_hexdigest(small), uid: xxh3_128_hexdigest(large)}


def test_other_bytes_that_were_made_to_have_the_same_sum_are_a_conflict_and_kept(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PackWriter, "payload_sum", "0" * 32)
    uid = "1.2.3.4.1"
    first, other = ct_image(uid, InstanceNumber=1), ct_image(uid, InstanceNumber=2)
    for payload in (first, other, first, other):
        door.send(payload, uid)
    door.end()
    assert len(door.house.events_of_kind("instance_conflict")) == 1
    assert sorted(map(door.objects.get, door.objects.keys())) == sorted(_as_kept(one, uid) for one in (first, other))


def _as_kept(payload: bytes, uid: str) -> bytes:
    meta = file_meta(sop_class_uid=CT_IMAGE_STORAGE, sop_instance_uid=uid, transfer_syntax_uid=EXPLICIT_LITTLE)
    return meta + payload


def test_what_an_older_version_summed_otherwise_is_known_by_its_bytes(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = "1.2.3.4.1"
    with monkeypatch.context() as older:
        older.setattr(PackWriter, "payload_sum", "0" * 64)
        door.send(ct_image(uid), uid)
        door.arrivals.flush()
    kept = door.kept()
    door.send(ct_image(uid), uid)
    door.end()
    assert door.kept() == kept
    assert len(list(door.objects.keys())) == 1


def test_what_another_version_put_before_the_data_set_is_no_matter(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = "1.2.3.4.1"
    with monkeypatch.context() as older:
        older.setattr(arrival_record, "file_meta", lambda **told: file_meta(**told)[:-2] + b"00")
        door.send(ct_image(uid), uid)
        door.arrivals.flush()
    door.send(ct_image(uid), uid)
    door.end()
    assert len(list(door.objects.keys())) == 1
    assert door.house.events_of_kind("instance_conflict") == []


def test_what_another_version_was_promised_to_keep_is_indexed(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        older.setattr(part10, "IMPLEMENTATION_VERSION_NAME", "OLD")
        older.setattr(part10, "_behind_instance", part10._behind_instance.__wrapped__)
        door.send(ct_image("1.2.3.4.1"), "1.2.3.4.1")
    (left,) = door.objects.keys()
    (record,) = records(door.arrivals._pack.path) if door.arrivals._pack else ()
    row, association = instance_of_note(record.note, door.objects.get(left), left)
    assert (row.sop_instance_uid, row.size_bytes) == ("1.2.3.4.1", len(ct_image("1.2.3.4.1")))
    assert row.content_sum == xxh3_128_hexdigest(ct_image("1.2.3.4.1"))
    assert association == door.association


def test_a_copy_that_cannot_be_compared_is_kept_as_another(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    door.send(ct_image("1.2.3.4.1"), "1.2.3.4.1")
    door.arrivals.flush()
    with monkeypatch.context() as broken:
        broken.setattr(FileStore, "tail", _unavailable)
        door.send(ct_image("1.2.3.4.1"), "1.2.3.4.1")
        door.end()
    assert len(list(door.objects.keys())) == 2
    assert len(door.house.events_of_kind("instance_conflict")) == 1


def _unavailable(*_: object) -> None:
    raise StorageUnavailable("database: disk I/O error")


def _impossible(*_: object) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("failing", [_unavailable, _impossible])
def test_nothing_escapes_where_waiting_rows_cannot_be_committed_and_they_are_tried_once_a_second(
    door: Door, failing: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def add_all(*given: object) -> None:
        tries.append(given)
        failing()

    door.send(ct_image("1.2.3.4.1"), "1.2.3.4.1")
    assert door.arrivals.patience_s() < 0.1
    with monkeypatch.context() as broken:
        broken.setattr(type(door.house.instances), "add_all", add_all)
        for _ in range(9):
            door.arrivals.flush()
    assert len(tries) == 1
    assert door.arrivals.patience_s() >= 1
    door.send(ct_image("1.2.3.4.2"), "1.2.3.4.2")
    door.end()
    assert door.kept().keys() == {"1.2.3.4.1", "1.2.3.4.2"}


def test_rows_that_can_never_be_committed_are_left_to_the_next_start_with_alarms(door: Door) -> None:
    for number in (1, 2):
        door.send(ct_image(f"1.2.3.4.{number}"), f"1.2.3.4.{number}")
    assert len(door.arrivals.leave()) == 2
    door.arrivals.give_up(ZeroDivisionError())
    assert door.arrivals.leave() == []
    assert len(door.house.events_of_kind("instance_not_indexed")) == 2
    assert door.intake.recover() == 2
    assert door.kept().keys() == {"1.2.3.4.1", "1.2.3.4.2"}


def test_what_is_being_committed_with_its_end_is_not_committed_by_its_thread_as_well(door: Door) -> None:
    door.send(ct_image("1.2.3.4.1"), "1.2.3.4.1")
    rows = door.arrivals.leave()
    door.arrivals.flush()
    assert not door.house.studies.series_of(STUDY)
    door.house.instances.add_all(rows, [door.association])
    door.arrivals.left()
    (series,) = door.house.studies.series_of(STUDY)
    assert [(part.stored, part.repeated) for part in door.house.studies.parts(series.series_id)] == [(1, 0)]


def test_a_pack_that_keeps_what_should_have_been_cut_off_is_used_no_more(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    door.send(ct_image("1.2.3.4.1"), "1.2.3.4.1")
    with monkeypatch.context() as broken:
        broken.setattr("storage.objects.pack.os.ftruncate", _broken_disk)
        with pytest.raises(Unparsable):
            door.send(b"no data set", "1.2.3.4.5")
    door.send(ct_image("1.2.3.4.2"), "1.2.3.4.2")
    door.end()
    assert len({key.rpartition("/")[0] for key, _ in door.kept().values()}) == 2
    assert len(door.kept()) == 2


def _broken_disk(*_: object) -> None:
    raise OSError(errno.EIO, "Input/output error")


def test_the_pack_of_a_failure_is_no_dead_ones_while_its_rows_wait(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    door.send(ct_image("1.2.3.4.1"), "1.2.3.4.1")
    with monkeypatch.context() as broken:
        broken.setattr("storage.objects.pack.os.pwritev", _broken_disk)
        with pytest.raises(OutOfResources):
            door.send(ct_image("1.2.3.4.2"), "1.2.3.4.2")
    assert door.intake.recover() == 0
    door.end()
    assert door.kept().keys() == {"1.2.3.4.1"}
    (series,) = door.house.studies.series_of(STUDY)
    (part,) = door.house.studies.parts(series.series_id)
    assert (part.association.ending, part.repeated) == ("released", 0)


def test_a_second_copy_that_cannot_be_removed_is_no_matter_of_the_rows(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileStore, "delete", _unavailable)
    for _ in range(2):
        door.send(ct_image("1.2.3.4.1"), "1.2.3.4.1")
    door.end()
    (series,) = door.house.studies.series_of(STUDY)
    (part,) = door.house.studies.parts(series.series_id)
    assert (part.stored, part.repeated, part.association.ending) == (1, 1, "released")


def test_a_long_association_fills_one_pack_after_the_other(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    for one in (module, intake):
        monkeypatch.setattr(one, "PACK_BYTES", 400_000)
    sent = dict(_large(number) for number in range(1, 9))
    for uid, payload in sent.items():
        door.send(payload, uid)
    door.end()
    kept = door.kept()
    assert len({key.rpartition("/")[0] for key, _ in kept.values()}) == 3
    assert all(door.objects.get(kept[uid][0]).endswith(payload) for uid, payload in sent.items())
    assert kept.keys() == sent.keys()


def test_nobody_waits_for_rows_because_a_pack_is_full(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    for one in (module, intake):
        monkeypatch.setattr(one, "PACK_BYTES", 100_000)
    monkeypatch.setattr(module, "_BATCH_S", math.inf)
    sent = dict(_large(number) for number in range(1, 4))
    for uid, payload in sent.items():
        door.send(payload, uid)
    assert not door.house.studies.find(STUDY)
    packs = list((door.objects._root / "packs").glob("*/*.pack"))
    assert [_is_sealed(pack) for pack in packs] == [False] * 3  # nobody would look for their rows after a crash
    door.arrivals.flush()
    assert door.kept().keys() == sent.keys()
    assert sum(map(_is_sealed, packs)) == 2  # those that are full


def _is_sealed(pack: Path) -> bool:
    with pack.open("rb") as file:
        return sealed_at(pack, file.fileno()) is not None


def test_a_pack_that_is_full_is_not_sealed_where_its_rows_are_given_up(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PACK_BYTES", 100_000)
    for uid, payload in (_large(1), _large(2)):
        door.send(payload, uid)
    door.arrivals.leave()
    door.arrivals.give_up(OSError())
    assert sum(len(left.records) for left in door.objects.left_packs()) == 2


def test_a_pack_that_is_full_is_kept_while_its_rows_cannot_be_committed(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PACK_BYTES", 100_000)
    sent = dict(_large(number) for number in range(1, 3))
    (first, payload), (second, other) = sent.items()
    door.send(payload, first)
    with monkeypatch.context() as broken:
        broken.setattr(type(door.house.instances), "add_all", _unavailable)
        door.send(other, second)
        door.arrivals.flush()
    assert list(door.objects.left_packs()) == []  # both are a living writer's
    door.end()
    assert door.kept().keys() == sent.keys()


@pytest.mark.parametrize("alike", range(4))
def test_an_image_like_those_before_is_judged_as_they_were(door: Door, alike: int) -> None:
    for number in range(alike):
        door.send(ct_image(f"1.2.3.4.{number}", InstanceNumber=number), f"1.2.3.4.{number}")
    with pytest.raises(NotAsCommanded, match="SOP Instance UID"):
        door.send(ct_image("1.2.3.4.9"), "1.2.3.4.8")
    with pytest.raises(Unparsable, match="cut short"):
        door.send(ct_image("1.2.3.4.9", PixelData=bytes(40)), "1.2.3.4.9")
    door.send(ct_image("1.2.3.4.9"), "1.2.3.4.9")
    door.end()
    assert len(door.kept()) == alike + 1


def test_pixel_data_that_are_cut_short_are_refused_as_often_as_they_come(door: Door) -> None:
    for number in range(4):
        door.send(ct_image(f"1.2.3.4.{number}", InstanceNumber=number), f"1.2.3.4.{number}")
    for number in (5, 6, 7):
        cut = ct_image(f"1.2.3.4.{number}", InstanceNumber=number, PixelData=bytes(40))
        with pytest.raises(Unparsable, match="cut short"):
            door.send(cut, f"1.2.3.4.{number}")
    door.send(ct_image("1.2.3.4.8", InstanceNumber=8), "1.2.3.4.8")
    door.end()
    assert len(door.kept()) == 5
