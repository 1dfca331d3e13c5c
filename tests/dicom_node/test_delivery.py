"""The outbox on its way: to peers that take, refuse, are down and come back."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dicom_node import config
from dicom_node.backoff import Backoff
from dicom_node.breaker import Breaker
from dicom_node.courier import MAX_BATCH_BYTES, Courier
from dicom_node.delivery import Delivery, Watch, no_such_destination
from dicom_node.destinations.folder import FolderDestination
from dicom_node.destinations.protocol import Outcome, Parcel
from dicom_node.profiles import usual_demand
from dicom_node.stored_file import StoredFile, whole
from storage.errors import StorageUnavailable
from storage.objects import open_store
from storage.records.results import Delivery as Row
from tests.dicom_node.certificates import Authority
from tests.dicom_node.peers import AnsweringScp, black_hole, data_set_bytes, data_sets_in, storescp
from tests.made_rows import House, open_house
from tests.orthanc import Orthanc
from tests.ports import free_port
from tests.waiting import wait_until

FindPeer = Callable[[str], str]
DAY_S = 86400.0


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = open_house(tmp_path)
    yield house
    house.database.close()


class Told:
    """A destination that does what it is told: an outcome for all, or a function of what came."""

    name = "PACS1"

    def __init__(self, *answers: str | Callable[[Sequence[Parcel]], tuple[Outcome, ...]]) -> None:
        self.answers = list(answers)
        self.seen: list[list[str]] = []

    def deliver(self, parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
        self.seen.append([parcel.result.kind for parcel in parcels])
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            return answer(parcels)
        return tuple(Outcome(one.result.sop_instance_uid, answer, f"said {answer}") for one in parcels)  # type: ignore[arg-type]


class Clock:
    def __init__(self) -> None:
        self.now = time.time() + 1

    def __call__(self) -> float:
        return self.now


def courier_of(
    house: House,
    destination: Told,
    clock: Clock,
    *,
    failures: int = 1000,
    for_s: float = 7 * DAY_S,
) -> Courier:
    return Courier(
        destination,
        house.outbox,
        house.events,
        house.objects,
        backoff=Backoff(first_s=5, max_s=900, for_s=for_s),
        breaker=Breaker(failures, pause_s=60),
        demand=usual_demand(),
        clock=clock,
        jitter=lambda: 0.0,
    )


def texts(house: House, *kinds: str) -> list[str]:
    return [event.text for event in house.events_of_kind(*kinds)]


def rows_of(house: House, rows: Sequence[Row]) -> list[Row]:
    ids = {row.delivery_id for row in rows}
    study = rows[0].result.study_instance_uid
    return [row for row in house.outbox.of_study(study) if row.delivery_id in ids]


def test_the_results_of_a_study_go_together_and_history_says_so(house: House) -> None:
    rows = house.analysed_study()
    told = Told("delivered")
    courier = courier_of(house, told, Clock())
    assert courier.step()
    assert not courier.step()
    assert told.seen == [["seg", "sr", "sc"]]
    (event,) = house.events_of_kind("delivered")
    assert event.text == "SEG, SR and SC at PACS1"
    assert (event.study_instance_uid, event.job_id) == (rows[0].result.study_instance_uid, rows[0].job_id)
    assert house.states() == {"delivered": 3}


def test_a_failed_delivery_waits_longer_each_time_and_the_attempts_are_told(house: House) -> None:
    rows = house.analysed_study()
    clock, told = Clock(), Told("failed", "failed", "failed", "delivered")
    courier = courier_of(house, told, clock)
    for wait_s in (5, 10, 20):
        assert courier.step()
        assert {round(row.next_at - clock.now, 3) for row in rows_of(house, rows)} == {wait_s}
        clock.now += wait_s - 0.01
        assert not courier.step()
        clock.now += 0.02
    assert courier.step()
    assert texts(house, "delivered") == ["SEG, SR and SC at PACS1 after 4 attempts"]


def test_a_reason_is_told_once_and_again_only_when_it_changes(house: House) -> None:
    house.analysed_study(kinds=("sr",))

    def other(parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
        return tuple(Outcome(one.result.sop_instance_uid, "failed", "no room") for one in parcels)

    clock = Clock()
    courier = courier_of(house, Told("failed", "failed", other), clock)
    for _ in range(3):
        assert courier.step()
        clock.now += 900
    assert texts(house, "delivery_postponed") == [
        "SR not at PACS1 yet, to be tried again: said failed",
        "SR not at PACS1 yet, to be tried again: no room",
    ]


def test_a_permanent_refusal_is_shown_and_not_repeated_while_the_rest_is_delivered(house: House) -> None:
    rows = house.analysed_study()

    def refuse_seg(parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
        return tuple(
            Outcome(one.result.sop_instance_uid, "refused", "SOP class not supported (0x0122)", comment="no SEG here")
            if one.result.kind == "seg"
            else Outcome(one.result.sop_instance_uid, "delivered", "stored")
            for one in parcels
        )

    told = Told(refuse_seg)
    courier = courier_of(house, told, Clock())
    assert courier.step()
    assert not courier.step()
    (event,) = house.events_of_kind("delivery_refused")
    assert event.severity == "alarm"
    assert event.text == 'SEG refused by PACS1: SOP class not supported (0x0122), "no SEG here"'
    assert texts(house, "delivered") == ["SR and SC at PACS1"]
    assert {row.result.kind: row.state for row in rows_of(house, rows)} == {
        "seg": "refused",
        "sr": "delivered",
        "sc": "delivered",
    }


def test_what_failed_for_days_is_given_up_with_an_alarm(house: House) -> None:
    rows = house.analysed_study(kinds=("sr",))
    clock = Clock()
    courier = courier_of(house, Told("failed"), clock, for_s=DAY_S)
    while house.states() == {"waiting": 1}:
        courier.step()
        clock.now += 900
    (event,) = house.events_of_kind("delivery_refused")
    assert event.severity == "alarm"
    assert event.text.startswith("SR for PACS1 given up after 1.0 days and ")
    (row,) = rows_of(house, rows)
    assert (row.state, row.last_error) == ("refused", "given up: said failed")
    assert DAY_S <= clock.now - row.created_at <= DAY_S + 1801


def test_what_is_younger_is_not_given_up_with_what_failed_for_days(house: House) -> None:
    old = house.analysed_study(kinds=("sr",))[0].result.study_instance_uid
    clock = Clock()
    later = [clock.now + DAY_S / 2]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(time, "time", lambda: later[0])
        young = house.analysed_study(study_uid=old, kinds=("seg",))
    assert young[0].created_at == later[0]
    clock.now += DAY_S
    assert courier_of(house, Told("failed"), clock, for_s=DAY_S).step()
    assert house.states() == {"refused": 1, "waiting": 1}
    assert [row.state for row in rows_of(house, young)] == ["waiting"]


def test_a_warning_of_the_destination_stays_in_the_history(house: House) -> None:
    house.analysed_study(kinds=("sr",))

    def coerced(parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
        return tuple(
            Outcome(one.result.sop_instance_uid, "delivered", "data elements coerced", has_warning=True)
            for one in parcels
        )

    courier_of(house, Told(coerced), Clock()).step()
    (event,) = house.events_of_kind("delivered")
    assert (event.severity, event.text) == ("warning", "SR at PACS1: data elements coerced")


@pytest.mark.parametrize("most_held_bytes", [0, MAX_BATCH_BYTES])
@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_result_whose_object_is_lost_or_damaged_is_never_sent(
    house: House, damage: str, most_held_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_node.courier.MOST_HELD_BYTES", most_held_bytes)
    seg = house.analysed_study()[0]
    if damage == "missing":
        house.objects.delete(seg.result.object_key)
    else:
        house.objects.objects[seg.result.object_key] = house.objects.get(seg.result.object_key)[:-1] + b"?"
    told = Told("delivered")
    courier_of(house, told, Clock()).step()
    assert told.seen == [["sr", "sc"]]
    (event,) = house.events_of_kind("delivery_refused")
    assert event.severity == "alarm"
    assert event.text.startswith("SEG not sent to PACS1: its stored object is ")
    assert house.states() == {"delivered": 2, "refused": 1}


def test_an_object_store_that_cannot_be_read_postpones_and_does_not_blame_the_destination(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.analysed_study(kinds=("sr",))

    def unavailable(_key: str) -> bytes:
        raise StorageUnavailable("input/output error")

    clock, told = Clock(), Told("delivered")
    courier = courier_of(house, told, clock, failures=1)
    with monkeypatch.context() as patched:
        patched.setattr(house.objects, "get", unavailable)
        courier.step()
    assert told.seen == []
    assert house.states() == {"waiting": 1}
    clock.now += 5.1
    assert courier.step()
    assert house.states() == {"delivered": 1}
    assert house.events_of_kind("destination_down") == []


def test_a_courier_that_can_send_nothing_does_not_ask_again_at_once_whether_the_destination_is_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.analysed_study(kinds=("sr",))
    clock, told = Clock(), Told("failed", "delivered")
    courier = courier_of(house, told, clock, failures=1)
    assert courier.step()
    clock.now += 60

    def unavailable(_key: str) -> bytes:
        raise StorageUnavailable("input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(house.objects, "get", unavailable)
        assert not courier.step()
    assert courier.step()
    assert house.states() == {"delivered": 1}


def test_what_could_not_be_read_while_it_was_sent_is_not_held_against_the_destination(house: House) -> None:
    house.analysed_study(kinds=("sr",))

    def unread(parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
        reason = "its stored object cannot be read now"
        return tuple(Outcome(one.result.sop_instance_uid, "failed", reason, is_unread=True) for one in parcels)

    clock, told = Clock(), Told(unread, "failed", unread, "delivered")
    courier = courier_of(house, told, clock, failures=1)
    assert courier.step()
    assert house.events_of_kind("destination_down") == []
    clock.now += 900
    assert courier.step()
    assert courier.is_down
    clock.now += 60
    assert not courier.step()
    assert courier.is_down
    assert courier.step()
    assert house.states() == {"delivered": 1}


def test_a_dead_destination_is_left_alone_and_everything_follows_its_return(house: House) -> None:
    for _ in range(6):
        house.analysed_study(kinds=("sr",))
    clock, told = Clock(), Told("failed")
    courier = courier_of(house, told, clock, failures=3)
    while courier.step():
        pass
    assert len(told.seen) == 3
    (down,) = house.events_of_kind("destination_down")
    assert (down.severity, down.text) == ("alarm", "PACS1 is down, tried every 60 s: said failed")
    for _ in range(60):
        clock.now += 60
        assert courier.step()
        assert not courier.step()
    assert len(told.seen) == 63
    told.answers = ["delivered"]
    clock.now += 60
    while courier.step():
        pass
    assert house.states() == {"delivered": 6}
    assert len(told.seen) == 69
    assert texts(house, "destination_up") == ["PACS1 takes results again"]
    assert len(house.events_of_kind("destination_down")) == 1


def test_a_study_that_always_fails_does_not_keep_others_from_a_destination_that_lives(house: House) -> None:
    bad = house.analysed_study(kinds=("sr",))[0].result.study_instance_uid
    for _ in range(4):
        house.analysed_study(kinds=("sr",))

    def all_but_one(parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
        verdict = "failed" if parcels[0].result.study_instance_uid == bad else "delivered"
        return tuple(Outcome(one.result.sop_instance_uid, verdict, verdict) for one in parcels)  # type: ignore[arg-type]

    clock = Clock()
    courier = courier_of(house, Told(all_but_one), clock, failures=1)
    for _ in range(8):
        courier.step()
        clock.now += 60
    assert house.states() == {"delivered": 4, "waiting": 1}


def test_a_destination_that_raises_or_says_nothing_is_tried_again(house: House) -> None:
    house.analysed_study(kinds=("sr",))

    def chokes(_parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
        raise RuntimeError("a fault of ours")

    clock, told = Clock(), Told(chokes, lambda _parcels: (), "delivered")
    courier = courier_of(house, told, clock)
    for _ in range(3):
        assert courier.step()
        clock.now += 60
    assert house.states() == {"delivered": 1}
    assert "unexpected RuntimeError" in texts(house, "delivery_postponed")[0]


def test_a_large_study_goes_in_parts_that_fit_into_memory(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = house.analysed_study()
    sizes = sum(row.result.size_bytes for row in rows)
    assert sizes < MAX_BATCH_BYTES
    monkeypatch.setattr("dicom_node.courier.MAX_BATCH_BYTES", sizes - 1)
    told = Told("delivered")
    courier = courier_of(house, told, Clock())
    while courier.step():
        pass
    assert told.seen == [["seg", "sr"], ["sc"]]


def test_what_is_read_while_it_is_sent_goes_with_the_others(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is what bounds a batch; and a report must be held back where the heat map that it points to is refused."""
    rows = house.analysed_study()
    monkeypatch.setattr("dicom_node.courier.MAX_BATCH_BYTES", 1)
    monkeypatch.setattr("dicom_node.courier.MOST_HELD_BYTES", 0)
    sent: list[bytes] = []

    def keep(parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
        assert all(isinstance(one.part10, StoredFile) for one in parcels)
        sent.extend(whole(one.part10) for one in parcels)
        return tuple(Outcome(one.result.sop_instance_uid, "delivered", "stored") for one in parcels)

    assert courier_of(house, Told(keep), Clock()).step()
    assert sent == [house.objects.get(row.result.object_key) for row in rows]


def test_what_changes_between_its_sum_and_its_sending_is_never_marked_delivered(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("dicom_node.courier.MOST_HELD_BYTES", 0)
    monkeypatch.setattr("dicom_node.stored_file.PIECE_BYTES", 64)
    (row,) = house.analysed_study(kinds=("sr",))
    key, on_disk = row.result.object_key, open_store((tmp_path / "disk").as_uri())
    content = house.objects.get(key)
    on_disk.put(key, [content])
    monkeypatch.setattr(house.objects, "part", on_disk.part)

    def change_and_deliver(parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
        (tmp_path / "disk" / key).write_bytes(bytes([content[0] ^ 1]) + content[1:])
        return FolderDestination("PACS1", tmp_path / "out").deliver(parcels)

    clock = Clock()
    courier = courier_of(house, Told(change_and_deliver), clock, failures=1)
    assert courier.step()
    assert house.states() == {"waiting": 1}
    assert list((tmp_path / "out").rglob("*.dcm")) == []
    clock.now += 5.1
    assert courier.step()
    assert house.states() == {"refused": 1}
    assert "damaged: the SHA-256 differs" in texts(house, "delivery_refused")[0]
    assert house.events_of_kind("destination_down") == []


def test_a_crash_between_sending_and_writing_it_down_sends_the_same_bytes_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window that no order of the two can close: sent twice is harmless, since UID and bytes are the same."""
    house.analysed_study()
    sent: list[list[bytes]] = []

    def keep(parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
        sent.append([whole(parcel.part10) for parcel in parcels])
        return tuple(Outcome(one.result.sop_instance_uid, "delivered", "stored") for one in parcels)

    def crash(*_arguments: object, **_named: object) -> None:
        raise StorageUnavailable("the disk is gone")

    courier = courier_of(house, Told(keep), Clock())
    with monkeypatch.context() as patched:
        patched.setattr(house.outbox, "delivered", crash)
        with pytest.raises(StorageUnavailable):
            courier.step()
    assert house.states() == {"waiting": 3}
    assert courier_of(house, Told(keep), Clock()).step()
    assert house.states() == {"delivered": 3}
    assert sent[0] == sent[1]


def test_rows_for_a_destination_that_is_not_configured_raise_one_alarm_and_stay(house: House) -> None:
    house.analysed_study(destinations=("GONE", "PACS1"))
    watch = Watch(house.outbox, house.events, ["PACS1"])
    watch.look()
    watch.look()
    (event,) = house.events_of_kind("no_such_destination")
    assert event.severity == "alarm"
    assert "3 results wait for GONE, but no such destination is configured" in event.text
    assert house.states("GONE") == {"waiting": 3}
    assert no_such_destination(house.outbox.counts(), ["PACS1"]) == {"GONE": 3}
    assert no_such_destination(house.outbox.counts(), ["PACS1", "GONE"]) == {}


# With real peers and threads.

QUICK: dict[str, Any] = {
    "retry": {"first_s": 0.2, "max_s": 0.4, "for_s": 3600},
    "breaker": {"failures": 2, "pause_s": 0.3},
    "acse_timeout_s": 60,
    "dimse_timeout_s": 60,
}


def to_port(port: int, name: str = "PACS1", **more: object) -> dict[str, Any]:
    return {"name": name, "type": "dicom", "ae_title": name, "address": "127.0.0.1", "port": port, **QUICK, **more}


def delivery_to(house: House, *destinations: dict[str, Any]) -> Delivery:
    return Delivery(config.Config.model_validate({"destinations": destinations}), house)  # type: ignore[arg-type]


@pytest.fixture
def sending(house: House) -> Iterator[Callable[..., Delivery]]:
    with ExitStack() as running:

        def start(*destinations: dict[str, Any]) -> Delivery:
            delivery = delivery_to(house, *destinations)
            running.callback(delivery.stop)
            delivery.start()
            return delivery

        yield start


def stored(house: House, rows: Sequence[Row]) -> dict[str, bytes]:
    """The data sets that a peer should hold, by SOP Instance UID."""
    objects = {row.result.sop_instance_uid: house.objects.get(row.result.object_key) for row in rows}
    return {uid: data_set_bytes(file) for uid, file in objects.items()}


def test_a_pacs_that_was_down_gets_everything_once_when_it_returns(
    house: House, sending: Callable[..., Delivery]
) -> None:
    scp = AnsweringScp(free_port())
    rows = [row for _ in range(5) for row in house.analysed_study()]
    sending(to_port(scp.port))
    wait_until(lambda: house.events_of_kind("destination_down"))
    assert house.states() == {"waiting": 15}
    with scp.running():
        wait_until(lambda: house.states() == {"delivered": 15})
    assert scp.received == stored(house, rows)
    assert set(scp.times.values()) == {1}


def test_orthanc_that_was_down_and_is_stopped_in_between_holds_every_result_bit_for_bit(
    house: House, sending: Callable[..., Delivery], peer: FindPeer, tmp_path: Path
) -> None:
    orthanc = Orthanc(peer("Orthanc"), tmp_path / "orthanc")
    rows = list(house.analysed_study())
    sending(to_port(orthanc.dicom_port))
    wait_until(lambda: house.events_of_kind("destination_down"))
    with orthanc.running():
        wait_until(lambda: house.states() == {"delivered": 3})
    rows += house.analysed_study()
    with orthanc.running():
        wait_until(lambda: house.states() == {"delivered": 6})
        assert {uid: data_set_bytes(file) for uid, file in orthanc.held().items()} == stored(house, rows)


def test_orthanc_gets_results_over_tls_once_the_certificates_fit_and_the_history_says_what_was_wrong(
    house: House, sending: Callable[..., Delivery], peer: FindPeer, tmp_path: Path
) -> None:
    authority, other = Authority(tmp_path / "pki"), Authority(tmp_path / "other", "Other CA")
    pacs, node = authority.signs("pacs"), authority.signs("node")
    tls: dict[str, object] = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(pacs.certificate),
        "DicomTlsPrivateKey": str(pacs.key),
        "DicomTlsTrustedCertificates": str(authority.certificate),
        "DicomTlsRemoteCertificateRequired": True,
    }
    ca = tmp_path / "ca.pem"
    shutil.copy(other.certificate, ca)
    orthanc = Orthanc(peer("Orthanc"), tmp_path / "orthanc", more=tls)
    rows = house.analysed_study()
    wrong = "its certificate is signed by no CA of tls.ca"
    with orthanc.running():
        own = {"certificate": str(node.certificate), "key": str(node.key)}
        sending(to_port(orthanc.dicom_port, tls={"ca": str(ca), **own}))
        wait_until(lambda: house.events_of_kind("delivery_postponed"))
        (told,) = house.events_of_kind("delivery_postponed")
        assert (told.severity, wrong in told.text) == ("alarm", True)
        assert all(wrong in (row.last_error or "") for row in rows_of(house, rows))
        shutil.copy(authority.certificate, ca)  # and nothing is restarted
        wait_until(lambda: house.states() == {"delivered": 3})
        assert {uid: data_set_bytes(file) for uid, file in orthanc.held().items()} == stored(house, rows)


def test_storescp_gets_the_results_of_two_studies_bit_for_bit(
    house: House, sending: Callable[..., Delivery], peer: FindPeer, tmp_path: Path
) -> None:
    folder, port = tmp_path / "pacs", free_port()
    folder.mkdir()
    rows = [*house.analysed_study(), *house.analysed_study()]
    with storescp(peer("storescp"), folder, port):
        sending(to_port(port))
        wait_until(lambda: house.states() == {"delivered": 6})
    assert data_sets_in(folder) == stored(house, rows)


def test_a_destination_that_never_answers_delays_no_other(
    house: House, sending: Callable[..., Delivery], tmp_path: Path
) -> None:
    house.analysed_study(destinations=("DEAD", "PACS1", "OUT"))
    scp, out = AnsweringScp(free_port()), {"name": "OUT", "type": "folder", "path": str(tmp_path / "out")}
    with black_hole() as port, scp.running():
        sending(to_port(port, "DEAD", acse_timeout_s=600), to_port(scp.port), out)
        wait_until(lambda: house.states("PACS1") == {"delivered": 3} and house.states("OUT") == {"delivered": 3})
        # Its 600 s are not over: it was being waited for all the time.
        assert house.states("DEAD") == {"waiting": 3}
        assert {row.attempts for row in house.outbox.next_study("DEAD", due_at=None)} == {0}


def test_a_pacs_that_does_not_take_one_kind_gets_the_others_and_that_is_shown(
    house: House, sending: Callable[..., Delivery]
) -> None:
    scp = AnsweringScp(free_port(), statuses=[0x0122, 0x0000])
    house.analysed_study()
    with scp.running():
        sending(to_port(scp.port))
        wait_until(lambda: house.states() == {"delivered": 2, "substituted": 1})
    (text,) = texts(house, "result_substituted")
    assert text.startswith("SEG refused by PACS1: SOP class not supported (0x0122); SC, which goes there as well")


def test_a_pacs_without_room_gets_the_result_once_it_has_some(house: House, sending: Callable[..., Delivery]) -> None:
    scp = AnsweringScp(free_port(), statuses=[0xA700, 0x0000])
    house.analysed_study(kinds=("sr",))
    with scp.running():
        sending(to_port(scp.port))
        wait_until(lambda: house.states() == {"delivered": 1})
    assert texts(house, "delivered") == ["SR at PACS1 after 2 attempts"]


def test_what_is_queued_while_it_runs_is_found_and_a_restart_goes_on(
    house: House, sending: Callable[..., Delivery]
) -> None:
    scp = AnsweringScp(free_port())
    with scp.running():
        first = sending(to_port(scp.port))
        house.analysed_study()
        first.wake()
        wait_until(lambda: house.states() == {"delivered": 3})
        first.stop()
        house.analysed_study()
        sending(to_port(scp.port))
        wait_until(lambda: house.states() == {"delivered": 6})
    assert set(scp.times.values()) == {1}


def test_stopping_leaves_no_thread_behind(house: House) -> None:
    delivery = delivery_to(house, to_port(free_port()), to_port(free_port(), "PACS2"))
    delivery.start()
    delivery.stop()
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("courier-") or name == "outbox-watch"]


def test_stopping_what_was_never_started_is_no_error(house: House) -> None:
    delivery_to(house, to_port(free_port())).stop()
