"""Each answer that is no success is counted, by whatever path it was given, and shown by status."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE
from rich.console import Console

from dicom_node import console
from dicom_node.config_node import Access, Limits, Node, Requestor
from dicom_node.network import receive, status
from dicom_node.network.answer_words import code_of, words_of
from dicom_node.network.services import store
from dicom_node.network.store_message import data_pdu
from dicom_node.network.tally import OTHERS, Tally
from dicom_node.room import Marks, judge
from dicom_node.status import NodeStatus
from storage.errors import StorageUnavailable
from storage.records.events import Answer
from tests.dicom_node.raw_scu import associated
from tests.dicom_node.serving import Serving, eventually, serving
from tests.dicom_node.test_receive import ECHO, _association_request
from tests.encoded import CT_IMAGE_STORAGE, EXPLICIT_LITTLE, ct_image
from tests.made_rows import House, open_house

CT = (CT_IMAGE_STORAGE, EXPLICIT_LITTLE)
VERIFICATION = "1.2.840.10008.1.1"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path, Node(port=0, limits=Limits(connections_per_address=2))) as served:
        yield served


def counts(served: Serving) -> dict[tuple[str, str, str], int]:
    """What is counted in the database, by kind, code and calling AE title."""
    return {(item.kind, code_of(item), item.calling_ae_title): item.count for item in served.house.answers.all()}


def count(served: Serving, kind: str, code: str, calling_ae_title: str) -> int:
    return counts(served).get((kind, code, calling_ae_title), 0)


def send(served: Serving, payload: bytes | None, uid: str = "1.2.3.4.5", title: str = "CT1", **command: str) -> int:
    with associated(served.port, [CT], calling_ae_title=title) as scu:
        response = scu.store(payload, CT, sop_instance_uid=uid, **command)
        return int(response.Status) if response else -1


def test_each_refused_instance_is_counted_though_events_are_throttled(served: Serving) -> None:
    served.objects.free_bytes = lambda: -1  # type: ignore[method-assign]
    with associated(served.port, [CT], calling_ae_title="CT1") as scu:
        for number in range(30):
            uid = f"1.2.3.4.{number}"
            response = scu.store(ct_image(uid), CT, sop_instance_uid=uid)
            assert response
            assert response.Status == 0xA700
    assert len(served.events("instance_refused")) == 1
    assert eventually(lambda: count(served, "C-STORE", "0xA700", "CT1") == 30)


def echo(served: Serving) -> int:
    """As MONITOR; what is answered, which the library does."""
    entity = AE("MONITOR")
    entity.add_requested_context(VERIFICATION)
    association = entity.associate("127.0.0.1", served.port)
    try:
        return int(association.send_c_echo().Status)
    finally:
        association.release()


def test_each_status_and_each_ae_title_is_counted_apart_and_success_is_not(served: Serving) -> None:
    assert (send(served, ct_image()), echo(served)) == (0x0000, 0x0000)
    assert send(served, b"\xff" * 100) == 0xC000
    assert send(served, ct_image(), uid="1.2.3.4.6", title="CT2") == 0xA900
    assert send(served, ct_image(), uid="1.2.3.4.6") == 0xA900
    assert eventually(lambda: len(counts(served)) == 3)
    assert counts(served) == {
        ("C-STORE", "0xC000", "CT1"): 1,
        ("C-STORE", "0xA900", "CT1"): 1,
        ("C-STORE", "0xA900", "CT2"): 1,
    }


def test_an_instance_that_is_answered_with_a_warning_is_counted_on_both_paths(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Coerced:
        def write(self, _fragment: memoryview) -> None: ...

        def abandon(self) -> None: ...

        def finish(self) -> tuple[int, str]:
            return 0xB000, "coerced"

    with monkeypatch.context() as patch:
        patch.setattr("dicom_node.network.store_door.StoreDoor.begin", lambda *_: Coerced())
        assert send(served, ct_image()) == 0xB000
    monkeypatch.setattr(receive.StoreRequests, "read", lambda *_: None)  # all goes to the library
    monkeypatch.setattr(store.status, "SUCCESS", 0xB006)
    assert send(served, ct_image()) == 0xB006
    assert eventually(lambda: len(counts(served)) == 2)
    assert set(counts(served)) == {("C-STORE", "0xB000", "CT1"), ("C-STORE", "0xB006", "CT1")}


def test_what_the_library_path_refuses_is_counted(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive.StoreRequests, "read", lambda *_: None)
    assert send(served, b"\xff" * 100) == 0xC000
    monkeypatch.setattr("dicom_node.network.services.echo.status.SUCCESS", 0x0211)
    assert echo(served) == 0x0211
    assert eventually(lambda: len(counts(served)) == 2)
    assert set(counts(served)) == {("C-STORE", "0xC000", "CT1"), ("C-ECHO", "0x0211", "MONITOR")}


def test_a_fault_of_the_node_is_counted_as_processing_failure(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("dicom_node.arrivals.Arrivals.finish", fails)
    assert send(served, ct_image()) == 0x0110
    assert eventually(lambda: count(served, "C-STORE", "0x0110", "CT1") == 1)


def test_rejected_associations_are_counted_with_result_source_and_reason(tmp_path: Path) -> None:
    only = Requestor.model_validate({"ae_title": "CT1", "addresses": ["127.0.0.1"]})
    with serving(tmp_path, access=Access(open=False, requestors=(only,))) as served:
        entity = AE("STRANGER")
        entity.add_requested_context(VERIFICATION)
        for _ in range(3):
            assert entity.associate("127.0.0.1", served.port).is_rejected
        assert eventually(lambda: count(served, "association rejected", "1, 1, 3", "STRANGER") == 3)
        (answer,) = served.house.answers.all()
        assert words_of(answer) == "(permanent): calling AE title not recognised"


def test_aborts_are_counted_by_whose_they_are(served: Serving) -> None:
    with associated(served.port, [CT], calling_ae_title="CT1") as scu:
        scu.association.abort()
    assert eventually(lambda: count(served, "aborted by the peer", "0, 0", "CT1") == 1)
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(_association_request())
        assert connection.recv(4096)[0] == 2
        connection.sendall(b"\4\0\xff\xff\xff\xff" + data_pdu(ECHO, b"", is_command=True, is_last=True))
        with suppress(ConnectionError):
            while connection.recv(4096):
                pass
    assert eventually(lambda: any(kind == "association aborted" for kind, _, _ in counts(served)))


def test_an_abort_by_which_the_node_ends_what_the_library_cannot_act_on_is_counted(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: object) -> None:
        raise ValueError

    monkeypatch.setattr("pynetdicom.dimse.DIMSEServiceProvider.receive_primitive", fails)
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(_association_request())
        assert connection.recv(4096)[0] == 2
        connection.sendall(data_pdu(ECHO, bytes(20), is_command=True, is_last=True))
        with suppress(ConnectionError):
            while connection.recv(4096):
                pass
    assert eventually(lambda: any(key[:2] == ("association aborted", "2, 6") for key in counts(served)))


def test_connections_that_are_refused_are_counted_each(served: Serving) -> None:
    kept = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(2)]
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", served.port)) as refused, suppress(ConnectionError):
            assert refused.recv(1) == b""
    for connection in kept:
        connection.close()
    assert eventually(lambda: count(served, "connection refused", "", "") == 5)
    assert len(served.events("connection_refused")) == 1


def test_what_was_counted_last_is_in_the_database_after_a_stop(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        assert send(served, b"\xff" * 100) == 0xC000
    house = open_house(tmp_path)
    assert [(item.kind, item.status, item.count) for item in house.answers.all()] == [("C-STORE", 0xC000, 1)]
    house.database.close()


# --- counting alone -----------------------------------------------------------------------------------------------


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    opened = open_house(tmp_path)
    yield opened
    opened.database.close()


def test_counts_are_kept_while_the_database_cannot_be_written(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: object) -> None:
        raise StorageUnavailable("database: database or disk is full")

    tally = Tally(house.answers)
    tally.dimse("C-STORE", 0xA700, "CT1")
    with monkeypatch.context() as patch:
        patch.setattr(house.answers, "add", fails)
        tally.flush()
        tally.dimse("C-STORE", 0xA700, "CT1")
        tally.flush()
    assert house.answers.all() == ()
    tally.flush()
    tally.flush()
    (answer,) = house.answers.all()
    assert (answer.count, answer.day_count) == (2, 2)


def test_a_peer_that_calls_itself_anew_each_time_gets_no_row_for_each(house: House) -> None:
    tally = Tally(house.answers)
    for number in range(1000):
        tally.rejected(1, 1, 3, f"STRANGER{number}")
    tally.dimse("C-STORE", 0xC000, "CT1")
    tally.flush()
    found = {(item.kind, item.calling_ae_title): item.count for item in house.answers.all()}
    assert len(found) == 258
    assert found["association rejected", OTHERS] == 744
    assert found["C-STORE", "CT1"] == 1


def test_an_ae_title_brings_no_control_characters_to_the_screen(house: House) -> None:
    tally = Tally(house.answers)
    tally.rejected(1, 1, 3, "  \x1b[2J\r\nX" + "y" * 20)
    tally.flush()
    assert [item.calling_ae_title for item in house.answers.all()] == ["?[2J??X" + 9 * "y"]


def test_counts_of_two_days_stay_apart_until_they_are_added(house: House) -> None:
    now = [1_000_000.0]
    tally = Tally(house.answers, clock=lambda: now[0])
    for _ in range(3):
        tally.dimse("C-STORE", 0xC000, "CT1")
    now[0] += 86400
    tally.dimse("C-STORE", 0xC000, "CT1")
    tally.flush()
    (answer,) = house.answers.all()
    assert (answer.count, answer.day_count, answer.last_at) == (4, 1, now[0])


# --- shown --------------------------------------------------------------------------------------------------------

NO_ROOM = Answer("C-STORE", 0xA700, "CT1", 12, "2026-11-21", 5, 1.0)


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({}, "0xA700", "out of resources: no room, or storage fails"),
        ({"status": 0xB006}, "0xB006", "warning: data elements discarded"),
        ({"status": 0x1234}, "0x1234", "not in the standard"),
        ({"kind": "association rejected", "status": 0x020302}, "2, 3, 2", "(transient): local limit exceeded"),
        ({"kind": "association aborted", "status": 0x0206}, "2, 6", "invalid PDU parameter"),
        ({"kind": "aborted by the peer", "status": 0}, "0, 0", "by the application"),
        ({"kind": "connection refused", "status": 0}, "", "closed before it came to an association: see the warnings"),
    ],
)
def test_a_code_is_shown_as_the_standard_writes_it_with_its_meaning(
    changes: dict[str, Any], code: str, words: str
) -> None:
    answer = replace(NO_ROOM, **changes)
    assert (code_of(answer), words_of(answer)) == (code, words)


def test_every_status_that_the_node_gives_has_a_meaning() -> None:
    given = {*status.REFUSAL_STATUS.values(), status.PROCESSING_FAILURE, status.UNRECOGNIZED_OPERATION}
    for code in given:
        assert status.meaning_of(code) != "not in the standard"
        assert not status.is_warning(code)


def _shown(answers: tuple[Answer, ...]) -> str:
    room = judge([], Marks(0, 0, 0))
    node = NodeStatus((), {}, {}, frozenset(), (), room, answers, "2026-11-21")
    stream = io.StringIO()
    Console(file=stream, width=200).print(console.status(node))
    return stream.getvalue()


def test_status_shows_how_many_today_and_in_all() -> None:
    shown = _shown((NO_ROOM, replace(NO_ROOM, calling_ae_title="CT2", count=7, day="2026-11-20", day_count=7)))
    rows = [line.split() for line in shown.splitlines() if "0xA700" in line]
    assert [row[row.index("CT1") + 1 : row.index("CT1") + 3] for row in rows[:1]] == [["5", "12"]]
    assert [row[row.index("CT2") + 1 : row.index("CT2") + 3] for row in rows[1:]] == [["0", "7"]]
    assert "answers other than success" not in _shown(())


def test_status_shows_the_latest_answers_and_says_how_many_more_there_are() -> None:
    shown = _shown(tuple(replace(NO_ROOM, calling_ae_title=f"CT{number}") for number in range(23)))
    assert "CT19 " in shown
    assert "CT20 " not in shown
    assert "and 3 more" in shown
