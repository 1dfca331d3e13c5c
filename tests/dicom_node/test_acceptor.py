from __future__ import annotations

import gc
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pynetdicom import AE

from dicom_node.config_node import Access, Node
from dicom_node.network import status
from dicom_node.network.negotiation import service_of
from dicom_node.network.services import SERVICES
from dicom_node.network.transfer_syntaxes import ALL
from dicom_node.part10 import IMPLEMENTATION_CLASS_UID
from dicom_node.refusals import OutOfResources, Refused
from storage.errors import StorageUnavailable
from tests.dicom_node.raw_scu import associated
from tests.dicom_node.serving import Serving, serving
from tests.encoded import CT_IMAGE_STORAGE, EXPLICIT_LITTLE, IMPLICIT_LITTLE, JPEG_BASELINE, ct_image
from tests.waiting import LIMIT_S, eventually

CT = (CT_IMAGE_STORAGE, EXPLICIT_LITTLE)
VERIFICATION = "1.2.840.10008.1.1"
DEFLATED = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205", "1.2.840.10008.1.2.8.1")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path) as running:
        yield running


def _accepted(served: Serving, *contexts: tuple[str, str | list[str]]) -> list[tuple[str, str]]:
    with associated(served.port, contexts) as scu:
        return [(str(one.abstract_syntax), str(one.transfer_syntax[0])) for one in scu.association.accepted_contexts]


# --- services -----------------------------------------------------------------------------------------------------


def test_dcmtk_is_echoed_and_leaves_no_row(served: Serving, peer: Callable[[str], str]) -> None:
    subprocess.run([peer("echoscu"), "127.0.0.1", str(served.port)], check=True, timeout=LIMIT_S)
    assert eventually(lambda: not served.acceptor._associations)
    with served.house.database.read() as connection:
        assert connection.exec_driver_sql("select count(*) from association").scalar_one() == 0
        assert connection.exec_driver_sql("select count(*) from event").scalar_one() == 0


def test_an_instance_is_answered_with_success_and_is_there(served: Serving) -> None:
    payload = ct_image()
    with associated(served.port, [CT], calling_ae_title="CT1") as scu:
        response = scu.store(payload, CT, sop_instance_uid="1.2.3.4.5")
        assert response
        assert (response.Status, response.MessageIDBeingRespondedTo) == (0x0000, 7)
        assert response.AffectedSOPInstanceUID == "1.2.3.4.5"
        assert served.data_sets() == {"1.2.3.4.5": [payload]}
        (association,) = served.associations("1.2.3")
        assert (association.calling_ae_title, association.called_ae_title) == ("CT1", "DICOM-NODE")
        assert (association.address, association.ending, association.acceptor) == ("127.0.0.1", None, "acceptor")
    assert eventually(lambda: served.associations("1.2.3")[0].ending == "released")


def test_the_same_instance_again_and_a_conflicting_one_are_both_success(served: Serving) -> None:
    contents = [ct_image(), ct_image(), ct_image(InstanceNumber=2)]
    for content in contents:
        with associated(served.port, [CT]) as scu:
            response = scu.store(content, CT, sop_instance_uid="1.2.3.4.5")
            assert response
            assert response.Status == 0x0000
    assert {*served.data_sets()["1.2.3.4.5"]} == {*contents}
    assert eventually(lambda: [event.severity for event in served.events("instance_conflict")] == ["alarm"])
    assert eventually(lambda: len(served.data_sets()["1.2.3.4.5"]) == 2)


REFUSALS: dict[str, tuple[int, bytes, dict[str, str]]] = {
    "cut short": (0xC000, ct_image()[:-1], {}),
    "garbage": (0xC000, b"\xff" * 1000, {}),
    "two bytes": (0xC000, b"\x08\x00", {}),
    "deeply nested": (
        0xC000,
        ct_image() + b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 200,
        {},
    ),
    "other instance than commanded": (0xA900, ct_image("1.2.9"), {}),
    "other class than commanded": (0xA900, ct_image(SOPClassUID="1.2.840.10008.5.1.4.1.1.4"), {}),
    "other class than the context": (0xA900, ct_image(), {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.4"}),
    "path as uid": (0xA900, ct_image("../../x"), {"sop_instance_uid": "../../x"}),
    "no series": (0xA900, ct_image(SeriesInstanceUID=None), {}),
}


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # the library's, of the path, on both sides
@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_taken_is_answered_with_its_status_and_the_association_goes_on(
    served: Serving, case: str
) -> None:
    expected, payload, command = REFUSALS[case]
    with associated(served.port, [CT]) as scu:
        response = scu.store(payload, CT, **{"sop_instance_uid": "1.2.3.4.5", **command})  # type: ignore[arg-type]
        assert response
        assert response.Status == expected
        assert response.ErrorComment
        assert len(response.ErrorComment) <= 64
        after = scu.store(ct_image("1.2.7"), CT, sop_instance_uid="1.2.7")
        assert after
        assert after.Status == 0x0000
    assert set(served.data_sets()) == {"1.2.7"}


def test_no_room_is_answered_as_out_of_resources(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.objects, "free_bytes", lambda: -1)
    with associated(served.port, [CT]) as scu:
        response = scu.store(ct_image(), CT, sop_instance_uid="1.2.3.4.5")
        assert response
        assert response.Status == 0xA700
    assert served.data_sets() == {}


def test_while_rows_cannot_be_committed_no_more_is_taken_in_and_all_goes_on_once_they_can(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: object) -> None:
        raise StorageUnavailable("database: disk full")

    with associated(served.port, [CT]) as scu:
        with monkeypatch.context() as patch:
            patch.setattr(served.house.instances, "add_all", fails)
            response = scu.store(ct_image(), CT, sop_instance_uid="1.2.3.4.5")
            assert response
            assert response.Status == 0x0000  # it is in its pack: a crash would not take it
            time.sleep(0.3)
            response = scu.store(ct_image("1.2.3.4.6"), CT, sop_instance_uid="1.2.3.4.6")
            assert response
            assert response.Status == 0xA700
        response = scu.store(ct_image("1.2.3.4.6"), CT, sop_instance_uid="1.2.3.4.6")
        assert response
        assert response.Status == 0x0000
    assert set(served.data_sets()) == {"1.2.3.4.5", "1.2.3.4.6"}
    assert eventually(lambda: served.associations("1.2.3")[0].ending == "released")


def test_what_nobody_foresaw_is_a_failure_with_an_alarm_and_never_success(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: object) -> None:
        raise ZeroDivisionError("Canary^Yellow")

    monkeypatch.setattr("dicom_node.arrivals.Arrivals.finish", fails)
    with associated(served.port, [CT]) as scu:
        response = scu.store(ct_image(), CT, sop_instance_uid="1.2.3.4.5")
        assert response
        assert response.Status == 0x0110
        assert "Canary" not in str(response.ErrorComment)
    (event,) = served.events("request_failed")
    assert (event.severity, "Canary" in event.text) == ("alarm", False)


@pytest.mark.parametrize(
    ("payload", "uid"), [(None, "1.2.3.4.5"), (ct_image(), "")], ids=["no data set", "no SOP Instance UID"]
)
def test_a_store_request_without_a_mandatory_part_is_aborted_not_left_waiting(
    served: Serving, payload: bytes | None, uid: str
) -> None:
    with associated(served.port, [CT]) as scu:
        assert scu.store(payload, CT, sop_instance_uid=uid) is None
    assert served.data_sets() == {}


def test_a_store_request_in_the_name_of_verification_does_not_read_as_stored(served: Serving) -> None:
    with associated(served.port, [CT]) as scu:
        response = scu.store(ct_image(), CT, sop_instance_uid="1.2.3.4.5", sop_class_uid=VERIFICATION)
        assert response is None or response.Status != 0x0000
    assert served.data_sets() == {}


def test_every_refusal_has_a_status_and_no_status_is_success() -> None:
    assert set(Refused.__subclasses__()) == set(status.REFUSAL_STATUS)
    assert all(code not in {0x0000, 0xB000, 0xB006, 0xB007} for code in status.REFUSAL_STATUS.values())
    long = status.answer_to(OutOfResources("x" * 100))
    assert len(long.ErrorComment) == 64


# --- presentation contexts ----------------------------------------------------------------------------------------


def test_every_storage_class_is_taken_in_every_syntax_but_the_deflated(served: Serving) -> None:
    storage = next(service for service in SERVICES if service.name == "Storage")
    assert len(storage.abstract_syntaxes) > 150
    assert not {*DEFLATED} & {*ALL}
    assert len({*ALL}) == len(ALL)
    for first in range(0, len(storage.abstract_syntaxes), 128):
        some = storage.abstract_syntaxes[first : first + 128]
        assert _accepted(served, *((uid, EXPLICIT_LITTLE) for uid in some)) == [(uid, EXPLICIT_LITTLE) for uid in some]
    assert _accepted(served, *((CT_IMAGE_STORAGE, uid) for uid in ALL)) == [(CT_IMAGE_STORAGE, uid) for uid in ALL]
    assert _accepted(served, *((CT_IMAGE_STORAGE, uid) for uid in DEFLATED), CT) == [CT]


def test_of_several_syntaxes_the_one_that_changes_and_costs_least_is_chosen(served: Serving) -> None:
    proposed: list[str] = [JPEG_BASELINE, "1.2.840.10008.1.2.4.90", IMPLICIT_LITTLE, EXPLICIT_LITTLE]
    chosen = [_accepted(served, (CT_IMAGE_STORAGE, proposed[:count]))[0][1] for count in (4, 3, 2, 1)]
    assert chosen == [EXPLICIT_LITTLE, IMPLICIT_LITTLE, "1.2.840.10008.1.2.4.90", JPEG_BASELINE]


@pytest.mark.parametrize("uid", ["1.2.840.10008.5.1.4.1.1.999.1", "1.3.12.2.1107.5.9.1", "1.2.840.113619.4.30"])
def test_a_storage_class_that_no_list_has_is_taken_as_well(served: Serving, uid: str) -> None:
    context = (uid, EXPLICIT_LITTLE)
    payload = ct_image(SOPClassUID=uid)
    with associated(served.port, [context]) as scu:
        response = scu.store(payload, context, sop_instance_uid="1.2.3.4.5")
        assert response
        assert response.Status == 0x0000
    assert served.data_sets() == {"1.2.3.4.5": [payload]}


def test_services_that_the_node_does_not_have_are_not_accepted(served: Serving) -> None:
    others = ["1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.31", "1.2.840.10008.1.20.1", "1.2.840.10008.1.3.10"]
    assert [uid for uid in others if service_of(uid)] == []
    assert _accepted(served, *((uid, EXPLICIT_LITTLE) for uid in others), CT) == [CT]


def test_the_node_names_itself_and_its_largest_pdu(tmp_path: Path) -> None:
    node = Node.model_validate({"port": 0, "max_pdu_bytes": "64KiB"})
    with serving(tmp_path, node) as served, associated(served.port, [CT]) as scu:
        acceptor = scu.association.acceptor
        assert acceptor.implementation_class_uid == IMPLEMENTATION_CLASS_UID
        assert acceptor.maximum_length == 64 * 1024


# --- access -------------------------------------------------------------------------------------------------------


def _rejection(port: int, calling: str = "CT1", called: str = "DICOM-NODE") -> tuple[int, int, int] | None:
    entity = AE(calling)
    entity.add_requested_context(VERIFICATION)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    if association.is_established:
        association.release()
        return None
    assert association.is_rejected
    answer = association.acceptor.primitive
    return (answer.result, answer.result_source, answer.diagnostic)


def test_who_may_not_associate_is_rejected_with_the_standards_reason_and_an_event(tmp_path: Path) -> None:
    access = Access.model_validate(
        {
            "open": False,
            "check_called_ae_title": True,
            "requestors": [
                {"ae_title": "CT1", "addresses": ["127.0.0.1"]},
                {"ae_title": "CT2", "addresses": ["192.0.2.1"]},
            ],
        }
    )
    with serving(tmp_path, access=access) as served:
        assert _rejection(served.port) is None
        assert _rejection(served.port, calling="CT2") == (1, 1, 3)
        assert _rejection(served.port, calling="CT9") == (1, 1, 3)
        assert _rejection(served.port, called="OTHER") == (1, 1, 7)
        assert eventually(lambda: len(served.events("association_rejected")) == 3)
        events = served.events("association_rejected")
        assert [(event.data["calling_ae_title"], event.data["reason"]) for event in events] == [
            ("CT2", 3),
            ("CT9", 3),
            ("CT1", 7),
        ]
        assert "may not come from this address" in events[0].text
        for _ in range(5):
            _rejection(served.port, calling="CT9")
        assert len(served.events("association_rejected")) == 3


def test_more_associations_than_the_limit_are_rejected_for_now(tmp_path: Path) -> None:
    with serving(tmp_path, Node(port=0, max_associations=2)) as served:
        with associated(served.port, [CT]), associated(served.port, [CT]):
            assert _rejection(served.port) == (2, 3, 2)
        assert eventually(lambda: _rejection(served.port) is None)


def test_peers_that_connect_and_leave_without_asking_leave_no_thread(served: Serving) -> None:
    before = threading.active_count()
    for _ in range(10):
        socket.create_connection(("127.0.0.1", served.port)).close()
    assert _rejection(served.port) is None  # they were taken before this one
    assert eventually(lambda: threading.active_count() <= before)


def test_connections_that_the_peer_resets_leave_no_descriptor(served: Serving) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - their number alone

    gc.collect()
    gc.disable()
    try:
        before = descriptors()
        for _ in range(10):
            with associated(served.port, [CT]) as scu:
                transport = scu.association.dul.socket
                assert transport
                assert transport.socket
                transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                transport.socket.close()
        assert eventually(lambda: descriptors() <= before)
    finally:
        gc.enable()


def test_connections_that_ask_nothing_do_not_count_as_associations(tmp_path: Path) -> None:
    with serving(tmp_path, Node(port=0, max_associations=1)) as served:
        idle = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(5)]
        assert _rejection(served.port) is None
        for connection in idle:
            connection.close()


def test_a_request_that_cannot_be_judged_is_not_accepted(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: object, **_kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("dicom_node.network.acceptor.access_rules.decide", fails)
    assert _rejection(served.port) == (2, 1, 1)


# --- endings ------------------------------------------------------------------------------------------------------


def test_an_association_that_the_requestor_aborts_is_recorded_as_aborted(served: Serving) -> None:
    with associated(served.port, [CT]) as scu:
        scu.store(ct_image(), CT, sop_instance_uid="1.2.3.4.5")
        scu.association.abort()
    assert eventually(lambda: served.associations("1.2.3")[0].ending == "aborted")


def test_a_connection_that_breaks_is_recorded_as_aborted_and_what_was_acknowledged_stays(served: Serving) -> None:
    with associated(served.port, [CT]) as scu:
        scu.store(ct_image(), CT, sop_instance_uid="1.2.3.4.5")
        transport = scu.association.dul.socket
        assert transport
        assert transport.socket
        transport.socket.shutdown(socket.SHUT_RDWR)
        assert eventually(lambda: served.associations("1.2.3")[0].ending == "aborted")
    assert set(served.data_sets()) == {"1.2.3.4.5"}


def test_a_requestor_that_falls_silent_is_aborted(tmp_path: Path) -> None:
    with serving(tmp_path, Node(port=0, network_timeout_s=2)) as served, associated(served.port, [CT]) as scu:
        scu.store(ct_image(), CT, sop_instance_uid="1.2.3.4.5")
        assert eventually(lambda: served.associations("1.2.3")[0].ending == "aborted")


def test_stop_lets_a_running_association_finish_and_takes_no_new_one(served: Serving) -> None:
    with associated(served.port, [CT]) as scu:
        stopping = threading.Thread(target=served.acceptor.stop, args=(LIMIT_S,))
        stopping.start()
        port = served.port

        def refuses() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                return True
            return False

        assert eventually(refuses)
        response = scu.store(ct_image(), CT, sop_instance_uid="1.2.3.4.5")
        assert response
        assert response.Status == 0x0000
    stopping.join(LIMIT_S)
    assert not stopping.is_alive()
    assert served.associations("1.2.3")[0].ending == "released"


def test_stop_aborts_what_does_not_end_in_time(served: Serving) -> None:
    with associated(served.port, [CT]) as scu:
        scu.store(ct_image(), CT, sop_instance_uid="1.2.3.4.5")
        served.acceptor.stop(grace_s=0.2)
        assert eventually(lambda: served.associations("1.2.3")[0].ending == "aborted")
    served.acceptor.stop()


def test_an_ending_that_the_database_cannot_take_now_is_written_later(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: object, **_kwargs: object) -> None:
        raise StorageUnavailable("database: locked")

    with associated(served.port, [CT]) as scu:
        scu.store(ct_image(), CT, sop_instance_uid="1.2.3.4.5")
        assert served.associations("1.2.3")[0].ending is None
        monkeypatch.setattr(served.house.instances, "add_all", fails)
    assert eventually(lambda: not served.acceptor._associations)
    assert served.associations("1.2.3")[0].ending is None
    monkeypatch.undo()
    assert eventually(lambda: served.associations("1.2.3")[0].ending == "released")


def test_many_associations_at_once_lose_nothing(served: Serving) -> None:
    statuses: list[int] = []

    def send(sender: int) -> None:
        with associated(served.port, [CT], calling_ae_title=f"CT{sender}") as scu:
            for number in range(5):
                uid = f"1.2.3.4.{sender}.{number}"
                response = scu.store(ct_image(uid), CT, sop_instance_uid=uid)
                statuses.append(-1 if response is None else response.Status)

    senders = [threading.Thread(target=send, args=(number,)) for number in range(6)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert statuses == [0x0000] * 30
    assert len(served.data_sets()) == 30
    assert eventually(lambda: [series.instance_count for series in served.house.studies.arriving()] == [30])
