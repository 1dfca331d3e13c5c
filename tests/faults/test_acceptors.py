"""Several acceptor processes on one port: what one of them meets is no matter of the others, nor of what is promised."""

from __future__ import annotations

import gc
import hashlib
import signal
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dicom_node.status import status_of
from tests.acceptance.node import kill
from tests.dicom_node.acceptors import AcceptorsUnderTest
from tests.dicom_node.certificates import Authority
from tests.dicom_node.raw_scu import RawScu, associated
from tests.encoded import ct_image
from tests.faults.checks import CT, SUCCESS, assert_nothing_lost_or_torn
from tests.ports import free_port
from tests.waiting import eventually, wait_until

REJECTED_AS_TOO_MANY = (2, 3, 2)
IMAGES_EACH = 3


class Modality(threading.Thread):
    """Opens one association after the other, each for a few images of a series of its own."""

    def __init__(self, number: int, port: int) -> None:
        super().__init__()
        self.number, self.port = number, port
        self.stopping = threading.Event()
        self.sent: dict[str, bytes] = {}
        self.acknowledged: dict[str, bytes] = {}
        self.answers: Counter[int] = Counter()
        self.cut = 0
        self.turned_away = 0

    def run(self) -> None:
        while not self.stopping.is_set():
            with suppress(RuntimeError, OSError), associated(self.port, [CT]) as scu:
                if not scu.association.is_established:
                    self.turned_away += 1
                    continue
                for _ in range(IMAGES_EACH):
                    if not self._store(scu):
                        break

    def _store(self, scu: RawScu) -> bool:
        uid = f"1.2.3.4.{self.number}.{len(self.sent)}"
        payload = ct_image(uid, SeriesInstanceUID=f"1.2.3.{self.number}", InstanceNumber=len(self.sent))
        self.sent[uid] = payload
        response = scu.store(payload, CT, sop_instance_uid=uid)
        if response is None:
            self.cut += 1
            return False
        self.answers[response.Status] += 1
        if response.Status == SUCCESS:
            self.acknowledged[uid] = payload
        return True


@contextmanager
def _sending(node: AcceptorsUnderTest, count: int) -> Iterator[list[Modality]]:
    modalities = [Modality(number, node.port) for number in range(1, count + 1)]
    for modality in modalities:
        modality.start()
    try:
        yield modalities
    finally:
        for modality in modalities:
            modality.stopping.set()
        for modality in modalities:
            modality.join()


def _stored(modalities: list[Modality]) -> int:
    return sum(len(modality.acknowledged) for modality in modalities)


def test_killing_one_of_several_loses_nothing_and_disturbs_no_other(tmp_path: Path) -> None:
    node = AcceptorsUnderTest(tmp_path, 3)
    with node.running():
        with _sending(node, 5) as modalities:
            for _ in range(2):
                due = _stored(modalities) + 40
                wait_until(lambda due=due: _stored(modalities) > due, at_most_s=60)  # type: ignore[misc]
                killed = node.pid("acceptor-2")
                assert killed
                kill(killed)
                wait_until(lambda killed=killed: node.pid("acceptor-2") != killed, at_most_s=60)  # type: ignore[misc]
            back_at, due = time.time(), _stored(modalities) + 60
            wait_until(lambda: _stored(modalities) > due, at_most_s=60)
        assert eventually(lambda: all(ending for _, ending, _ in node.associations()))
        ended = node.associations()
        assert {acceptor for acceptor, ending, _ in ended if ending != "released"} <= {"acceptor-2"}
        assert {acceptor for acceptor, _, opened_at in ended if opened_at > back_at} == {
            "acceptor-1",
            "acceptor-2",
            "acceptor-3",
        }
        assert {status for modality in modalities for status in modality.answers} == {SUCCESS}
        assert node.restarts == [("acceptor-2", -signal.SIGKILL)] * 2
    acknowledged = {uid: payload for modality in modalities for uid, payload in modality.acknowledged.items()}
    sent = {uid: payload for modality in modalities for uid, payload in modality.sent.items()}
    _assert_whole(node, acknowledged, sent)


def _assert_whole(node: AcceptorsUnderTest, acknowledged: dict[str, bytes], sent: dict[str, bytes]) -> None:
    rows = {uid for uid, _ in node.rows("select sop_instance_uid, '' from instance")}
    assert set(acknowledged) <= rows
    assert node.rows("select sum(stored) from association_series") == [(len(rows),)]
    assert_nothing_lost_or_torn(node.data_folder, acknowledged, sent)


def test_connections_share_themselves_among_the_processes(tmp_path: Path) -> None:
    node = AcceptorsUnderTest(tmp_path, 3)
    with node.running():
        with ExitStack() as held:
            for number in range(9):
                scu = held.enter_context(associated(node.port, [CT]))
                response = scu.store(ct_image(f"1.2.9.{number}"), CT, sop_instance_uid=f"1.2.9.{number}")
                assert response
                assert response.Status == SUCCESS
            assert eventually(lambda: len(node.associations()) == 9)
        served = Counter(acceptor for acceptor, _, _ in node.associations())
        assert set(served) == set(node.names)
        shown = {process.name: process.alive for process in status_of(node.config, node.stores).processes}
        assert shown == dict.fromkeys(node.names, True)


def test_the_limits_of_the_node_hold_for_its_processes_together(tmp_path: Path) -> None:
    node = AcceptorsUnderTest(tmp_path, 2, max_associations=3, limits={"connections_per_address": 5})
    with node.running():
        with ExitStack() as held:
            for _ in range(3):
                assert held.enter_context(associated(node.port, [CT])).association.is_established
            for _ in range(4):
                with suppress(RuntimeError), associated(node.port, [CT]) as scu:
                    assert not scu.association.is_established
                    answer = scu.association.acceptor.primitive
                    assert (answer.result, answer.result_source, answer.diagnostic) == REJECTED_AS_TOO_MANY
            idle = [_held_open(node.port) for _ in range(2)]
            for _ in range(4):
                with socket.create_connection(("127.0.0.1", node.port), timeout=10) as more:
                    assert more.recv(1) == b""
            for connection in idle:
                connection.close()
        assert eventually(lambda: _is_established(node))


def _held_open(port: int) -> socket.socket:
    """A connection that the node keeps; those that were rejected a moment ago may still count for the first ones."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        connection = socket.create_connection(("127.0.0.1", port), timeout=1)
        try:
            connection.recv(1)
        except TimeoutError:
            return connection
        connection.close()
    raise AssertionError("the node keeps no connection")


def _is_established(node: AcceptorsUnderTest) -> bool:
    with suppress(RuntimeError), associated(node.port, [CT]) as scu:
        return scu.association.is_established
    return False


def test_a_peer_that_nobody_answers_leaves_no_socket_open() -> None:
    port = free_port()
    before = len(list(Path("/proc/self/fd").iterdir()))
    gc.disable()  # so that nobody else closes what was left
    try:
        with suppress(RuntimeError), associated(port, [CT]) as scu:
            assert not scu.association.is_established
        assert len(list(Path("/proc/self/fd").iterdir())) == before
    finally:
        gc.enable()


def test_who_comes_while_the_only_process_is_started_again_waits_and_is_served(tmp_path: Path) -> None:
    node = AcceptorsUnderTest(tmp_path, 1)
    with node.running():
        killed = node.pid("acceptor-1")
        assert killed
        kill(killed)
        assert _is_established(node)
        assert node.pid("acceptor-1") != killed


def test_what_more_processes_left_is_closed_as_lost_and_indexed_by_fewer(tmp_path: Path) -> None:
    more, acknowledged = AcceptorsUnderTest(tmp_path, 3), dict[str, bytes]()

    def store(scu: RawScu) -> None:
        uid = f"1.2.9.{len(acknowledged)}"
        acknowledged[uid] = ct_image(uid)
        response = scu.store(acknowledged[uid], CT, sop_instance_uid=uid)
        assert response
        assert response.Status == SUCCESS

    with more.running(), ExitStack() as held:
        open_ones = [held.enter_context(associated(more.port, [CT])) for _ in range(6)]
        for scu in open_ones:
            store(scu)
        assert eventually(lambda: {one[0] for one in more.associations()} == set(more.names))
        for scu in open_ones:
            store(scu)
        more.kill_all()
        wait_until(lambda: all(scu.association.acse.is_aborted() for scu in open_ones))
    fewer = AcceptorsUnderTest(tmp_path, 1)
    with fewer.running():
        assert fewer.names == ("acceptor-1",)
        assert {ending for _, ending, _ in fewer.associations()} == {"lost"}
    _assert_whole(fewer, acknowledged, acknowledged)


def test_each_process_meets_peers_with_a_certificate_that_was_exchanged(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    now, then = authority.signs("node", file="now"), authority.signs("node", file="then")
    certificate, key = tmp_path / "node.crt", tmp_path / "node.key"
    certificate.write_bytes(now.certificate.read_bytes())
    key.write_bytes(now.key.read_bytes())
    tls = {"port": 0, "certificate": str(certificate), "key": str(key), "require_certificate": False}
    node = AcceptorsUnderTest(tmp_path, 2, tls=tls)
    with node.running():
        assert {_met_with(node.tls_port) for _ in range(4)} == {now.sha256}
        certificate.write_bytes(then.certificate.read_bytes())
        key.write_bytes(then.key.read_bytes())
        assert {_met_with(node.tls_port) for _ in range(6)} == {then.sha256}


def _met_with(port: int) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain) as connection,
    ):
        certificate = connection.getpeercert(binary_form=True)
        assert certificate
        return hashlib.sha256(certificate).hexdigest()
