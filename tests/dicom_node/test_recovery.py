"""What dead acceptor processes left in their packs is indexed, whoever else is at work meanwhile."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

from dicom_node.arrival_record import Announced
from dicom_node.arrivals import Arrivals
from dicom_node.content import Received, judge
from dicom_node.facts import Header
from dicom_node.intake import Intake
from dicom_node.refusals import Unparsable
from storage.errors import StorageUnavailable
from storage.objects.file import FileStore
from storage.records.events import Event
from storage.records.received import Association
from tests.encoded import CT_IMAGE_STORAGE, EXPLICIT_LITTLE, ct_image
from tests.made_rows import House, open_house


@dataclass
class Node:
    house: House
    folder: Path
    intakes: list[Intake] = field(default_factory=list)

    def intake(self) -> Intake:
        """As another process has it."""
        self.intakes.append(self.house.intake(FileStore(self.folder / "objects")))
        return self.intakes[-1]

    def known(self) -> set[str]:
        return {
            item.sop_instance_uid
            for series in self.house.studies.arriving()
            for item in self.house.instances.of_series(series.series_id, up_to_revision=9)
        }

    def packs(self) -> list[Path]:
        return sorted(self.folder.glob("objects/packs/*/*.pack"))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(open_house(tmp_path), tmp_path)
    yield node
    for intake in node.intakes:
        intake.close()
    node.house.database.close()


def received(node: Node, *uids: str) -> Arrivals:
    """What an association brought; its rows are not committed yet."""
    arrivals = node.intake().arrivals(Association(f"of {uids[0]}", "acceptor-2", "CT1", "NODE", "192.0.2.1", 100.0))
    for uid in uids:
        arrival = arrivals.begin(Announced(CT_IMAGE_STORAGE, uid, EXPLICIT_LITTLE))
        arrival.write([memoryview(ct_image(uid))])
        arrival.finish()
    return arrivals


def die(arrivals: Arrivals) -> None:
    """As when the process is killed: the kernel closes the pack, and nobody commits a row."""
    assert arrivals._pack
    os.close(arrivals._pack._descriptor)


def test_packs_of_the_dead_are_indexed_and_those_of_the_living_left_alone(node: Node) -> None:
    living, dead = received(node, "1.2.1", "1.2.2"), received(node, "1.2.3", "1.2.4")
    die(dead)
    assert node.intake().recover() == 2
    assert node.known() == {"1.2.3", "1.2.4"}
    living.flush()
    assert node.known() == {"1.2.1", "1.2.2", "1.2.3", "1.2.4"}
    assert node.intake().recover() == 0


def test_two_that_recover_at_once_index_everything_once(node: Node) -> None:
    for number in range(12):
        die(received(node, *(f"1.2.{number}.{image}" for image in range(5))))
    recovered: list[int] = []
    at_once = [threading.Thread(target=lambda: recovered.append(node.intake().recover())) for _ in range(3)]
    for thread in at_once:
        thread.start()
    for thread in at_once:
        thread.join()
    assert sum(recovered) == len(node.known()) == 60
    assert sum(series.instance_count for series in node.house.studies.arriving()) == 60
    (series,) = node.house.studies.arriving()
    parts = node.house.studies.parts(series.series_id)
    assert [(part.stored, part.repeated, part.association.ending) for part in parts] == [(5, 0, "lost")] * 12


def _judge_strictly(given: Received, *more: int) -> Header:
    if given.sop_instance_uid == "1.2.2":
        raise Unparsable("a rule that came with a later version")
    return judge(given, *more)


def test_what_a_later_version_would_refuse_is_kept_with_an_alarm_and_the_rest_is_indexed(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    die(received(node, "1.2.1", "1.2.2", "1.2.3"))
    with monkeypatch.context() as patch:
        patch.setattr("dicom_node.content.judge", _judge_strictly)
        assert node.intake().recover() == 2
        assert node.intake().recover() == 0
    assert node.known() == {"1.2.1", "1.2.3"}
    (alarm,) = node.house.events_of_kind("instance_not_indexed")
    assert alarm.severity == "alarm"
    assert "Unparsable" in alarm.text
    key = str(alarm.data["object"])
    assert FileStore(node.folder / "objects").get(key).endswith(ct_image("1.2.2"))
    assert not any(private in str(alarm) for private in ("Canary", "CANARY", "ACC1"))
    assert node.intake().recover() == 1, "a version that takes it again indexes it"
    assert node.known() == {"1.2.1", "1.2.2", "1.2.3"}


def test_a_note_that_another_version_wrote_keeps_no_acceptor_from_starting(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_node.arrivals.note_of", lambda *_: b'{"announced": {"of": "tomorrow"}}')
    die(received(node, "1.2.1"))
    assert node.intake().recover() == 0
    assert len(node.house.events_of_kind("instance_not_indexed")) == 1


def _damage(node: Node, payload_of: str) -> None:
    """A byte of its payload flips on the disk."""
    (path,) = node.packs()
    content = bytearray(path.read_bytes())
    content[content.index(ct_image(payload_of)) + 50] ^= 0xFF
    path.write_bytes(content)


def _alarm(node: Node) -> Event:
    (alarm,) = node.house.events_of_kind("instance_not_indexed")
    assert alarm.severity == "alarm"
    assert not any(private in str(alarm) for private in ("Canary", "CANARY", "ACC1"))
    return alarm


@pytest.mark.parametrize("damaged", ["1.2.1", "1.2.2"])
def test_a_damaged_image_is_told_of_once_and_those_around_it_are_indexed(node: Node, damaged: str) -> None:
    die(received(node, "1.2.1", "1.2.2", "1.2.3"))
    _damage(node, damaged)
    assert node.intake().recover() == 2
    assert node.intake().recover() == 0
    assert node.known() == {"1.2.1", "1.2.2", "1.2.3"} - {damaged}
    (pack,) = node.packs()
    assert _alarm(node).data == {"pack": pack.name}


def test_the_last_image_of_a_pack_is_no_torn_one_where_it_was_indexed_already(node: Node) -> None:
    arrivals = received(node, "1.2.1", "1.2.2")
    arrivals.flush()
    die(arrivals)
    _damage(node, "1.2.2")
    (pack,) = node.packs()
    size = pack.stat().st_size
    assert node.intake().recover() == 0
    assert pack.stat().st_size == size
    assert _alarm(node).data == {"pack": pack.name}


def test_what_was_torn_before_it_was_acknowledged_is_cut_off_without_an_alarm(node: Node) -> None:
    die(received(node, "1.2.1", "1.2.2"))
    _damage(node, "1.2.2")
    assert node.intake().recover() == 1
    assert node.intake().recover() == 0
    assert len(list(FileStore(node.folder / "objects").keys())) == 1
    assert node.house.events_of_kind("instance_not_indexed") == []


def _refuse(*_: object) -> NoReturn:
    raise StorageUnavailable("object store: Input/output error")


def test_an_image_that_cannot_be_read_keeps_no_acceptor_from_starting(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    die(received(node, "1.2.1"))
    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "get", _refuse)
        assert node.intake().recover() == 0
    assert "StorageUnavailable" in _alarm(node).text
    assert node.intake().recover() == 1


def test_a_repeated_image_that_cannot_be_removed_keeps_no_acceptor_from_starting(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    received(node, "1.2.1").flush()
    die(received(node, "1.2.1"))
    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "delete", _refuse)
        assert node.intake().recover() == 1
        assert len(node.packs()) == 2
    node.intake().recover()
    assert len(node.packs()) == 1, "the next start removes it"
    assert node.known() == {"1.2.1"}


def test_a_database_that_fails_stops_the_start_and_nothing_is_lost(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    die(received(node, "1.2.1"))
    with monkeypatch.context() as patch:
        patch.setattr(node.house.instances, "add_all", _refuse)
        with pytest.raises(StorageUnavailable):
            node.intake().recover()
    assert node.intake().recover() == 1


def test_a_new_pack_that_a_recovery_takes_for_a_dead_ones_is_not_written_to(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its creation and its lock, the empty file looks as if its writer had died."""
    import fcntl

    real, removed = fcntl.flock, []

    def late(descriptor: int, operation: int) -> None:
        if not removed and operation == fcntl.LOCK_EX:
            removed.append(FileStore(node.folder / "objects"))
            assert list(removed[0].left_packs()) == []
            assert node.packs() == []
        real(descriptor, operation)

    intake = node.intake()
    arrivals = intake.arrivals(Association("one", "acceptor-1", "CT1", "NODE", "192.0.2.1", 100.0))
    monkeypatch.setattr("storage.objects.pack.fcntl.flock", late)
    arrival = arrivals.begin(Announced(CT_IMAGE_STORAGE, "1.2.1", EXPLICIT_LITTLE))
    arrival.write([memoryview(ct_image("1.2.1"))])
    arrival.finish()
    assert removed
    assert len(node.packs()) == 1
    arrivals.flush()
    assert node.known() == {"1.2.1"}
