from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dicom_node import arrivals as module
from dicom_node import intake
from dicom_node.arrivals import Announced, Arrivals
from dicom_node.intake import Intake
from dicom_node.refusals import NotAsCommanded, Unparsable
from storage.errors import StorageUnavailable
from storage.objects.file import FileStore
from storage.records import Association
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
        """By SOP Instance UID: the key and the hash of its row."""
        (series,) = self.house.studies.series_of(STUDY)
        found = self.house.instances.of_series(series.series_id, up_to_revision=series.revision)
        return {one.sop_instance_uid: (one.object_key, one.content_sha256) for one in found}


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    house = open_house(tmp_path)
    association = Association(
        "association-1", "acceptor-1", "SCANNER", "NODE", "192.0.2.1", 99.0, ending="released", closed_at=100.0
    )
    objects = FileStore(tmp_path / "objects")
    taking = Intake(
        objects,
        house.instances,
        house.studies,
        house.events,
        gauge=house.gauge(objects),
        lock_file=tmp_path / "run" / "lock",
    )
    yield Door(house, objects, taking, association, taking.arrivals(association))
    taking.close()
    house.database.close()


def _large(number: int) -> tuple[str, bytes]:
    uid = f"1.2.3.4.{number}"
    return uid, ct_image(uid, Rows=300, Columns=300, InstanceNumber=number, PixelData=bytes([number]) * 180_000)


def test_the_hash_of_a_row_is_that_of_the_data_set_whatever_its_size(door: Door) -> None:
    small = ct_image("1.2.3.4.1")
    uid, large = _large(2)
    door.send(small, "1.2.3.4.1", pieces=3)
    door.send(large, uid, pieces=7)
    door.end()
    hashes = {uid: digest for uid, (_, digest) in door.kept().items()}
    assert hashes == {"1.2.3.4.1": hashlib.sha256(small).hexdigest(), uid: hashlib.sha256(large).hexdigest()}


def test_a_hash_that_could_not_be_computed_is_computed_later(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failures = module.digest, [OSError(5, "Input/output error")] * 2

    def failing(*given: object) -> str:
        if failures:
            raise failures.pop()
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "digest", failing)
    uid, payload = _large(1)
    door.send(payload, uid)
    with pytest.raises(StorageUnavailable):
        door.end()
    assert not door.house.studies.series_of(STUDY)
    door.end()
    assert door.kept()[uid][1] == hashlib.sha256(payload).hexdigest()


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


def test_a_pack_that_is_full_is_kept_while_its_rows_cannot_be_committed(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PACK_BYTES", 100_000)
    sent = dict(_large(number) for number in range(1, 3))
    (first, payload), (second, other) = sent.items()
    door.send(payload, first)
    with monkeypatch.context() as broken:

        def unavailable(*_: object) -> None:
            raise StorageUnavailable("database: disk I/O error")

        broken.setattr(type(door.house.instances), "add_all", unavailable)
        door.send(other, second)
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
