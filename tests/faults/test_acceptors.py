"""Several acceptor processes on one port: what one of them meets is no matter of the others, nor of what is promised."""

from __future__ import annotations

import hashlib
import socket
import sqlite3
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.acceptance.node import NodeUnderTest, configuration, kill
from tests.dicom_node.certificates import Authority
from tests.dicom_node.peers import free_port, wait_until
from tests.dicom_node.raw_scu import RawScu, associated
from tests.dicom_node.serving import eventually
from tests.encoded import ct_image
from tests.faults.checks import CT, SUCCESS, assert_nothing_lost_or_torn

REJECTED_AS_TOO_MANY = (2, 3, 2)
IMAGES_EACH = 3


def _node(folder: Path, acceptors: int, **node: object) -> NodeUnderTest:
    keys = {"port": free_port(), "data_folder": "data", "acceptors": acceptors, **node}
    return NodeUnderTest(folder, configuration(node=keys, models=[], routes=[], destinations=[]))


@contextmanager
def _database(node: NodeUnderTest) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(node.config.node.data_folder / "node.sqlite3", timeout=30)
    try:
        yield connection
    finally:
        connection.close()


def _associations(node: NodeUnderTest) -> list[tuple[str, str | None, float]]:
    """Of each: the acceptor that served it, how it ended, and when it was opened."""
    with _database(node) as database:
        return database.execute("select acceptor, ending, opened_at from association").fetchall()


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
def _sending(node: NodeUnderTest, count: int) -> Iterator[list[Modality]]:
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
    node = _node(tmp_path, 3)
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
        assert eventually(lambda: all(ending for _, ending, _ in _associations(node)))
        ended = _associations(node)
        assert {acceptor for acceptor, ending, _ in ended if ending != "released"} <= {"acceptor-2"}
        assert {acceptor for acceptor, _, opened_at in ended if opened_at > back_at} == {
            "acceptor-1",
            "acceptor-2",
            "acceptor-3",
        }
        assert {status for modality in modalities for status in modality.answers} == {SUCCESS}
        assert "is busy" not in node.log()
        assert "locked" not in node.log()
    acknowledged = {uid: payload for modality in modalities for uid, payload in modality.acknowledged.items()}
    sent = {uid: payload for modality in modalities for uid, payload in modality.sent.items()}
    _assert_whole(node, acknowledged, sent)


def _assert_whole(node: NodeUnderTest, acknowledged: dict[str, bytes], sent: dict[str, bytes]) -> None:
    with _database(node) as database:
        rows = {uid for (uid,) in database.execute("select sop_instance_uid from instance")}
        stored = database.execute("select sum(stored) from association_series").fetchone()[0]
    assert set(acknowledged) <= rows
    assert stored == len(rows)
    assert_nothing_lost_or_torn(node.config.node.data_folder, acknowledged, sent)


def test_connections_share_themselves_among_the_processes(tmp_path: Path) -> None:
    node = _node(tmp_path, 3)
    with node.running():
        with ExitStack() as held:
            for number in range(9):
                scu = held.enter_context(associated(node.port, [CT]))
                response = scu.store(ct_image(f"1.2.9.{number}"), CT, sop_instance_uid=f"1.2.9.{number}")
                assert response
                assert response.Status == SUCCESS
            assert eventually(lambda: len(_associations(node)) == 9)
        served = Counter(acceptor for acceptor, _, _ in _associations(node))
        assert set(served) == set(node.acceptors)
        assert "acceptor-3" in node.cli("status").stdout


def test_the_limits_of_the_node_hold_for_its_processes_together(tmp_path: Path) -> None:
    node = _node(tmp_path, 2, max_associations=3, limits={"connections_per_address": 5})
    with node.running():
        with ExitStack() as held:
            for _ in range(3):
                assert held.enter_context(associated(node.port, [CT])).association.is_established
            for _ in range(4):
                with suppress(RuntimeError), associated(node.port, [CT]) as scu:
                    assert not scu.association.is_established
                    answer = scu.association.acceptor.primitive
                    assert (answer.result, answer.result_source, answer.diagnostic) == REJECTED_AS_TOO_MANY
            idle = [socket.create_connection(("127.0.0.1", node.port), timeout=10) for _ in range(2)]
            for _ in range(4):
                with socket.create_connection(("127.0.0.1", node.port), timeout=10) as more:
                    assert more.recv(1) == b""
            for connection in idle:
                connection.close()
        assert eventually(lambda: _is_established(node))


def _is_established(node: NodeUnderTest) -> bool:
    with suppress(RuntimeError), associated(node.port, [CT]) as scu:
        return scu.association.is_established
    return False


def test_who_comes_while_the_only_process_is_started_again_waits_and_is_served(tmp_path: Path) -> None:
    node = _node(tmp_path, 1)
    with node.running():
        killed = node.pid("acceptor-1")
        assert killed
        kill(killed)
        assert _is_established(node)
        assert node.pid("acceptor-1") != killed


def test_what_more_processes_left_open_is_closed_and_indexed_by_fewer(tmp_path: Path) -> None:
    first, acknowledged = _node(tmp_path, 3), dict[str, bytes]()
    first.start()
    with ExitStack() as held:
        for number in range(6):
            scu, uid = held.enter_context(associated(first.port, [CT])), f"1.2.9.{number}"
            acknowledged[uid] = ct_image(uid)
            response = scu.store(acknowledged[uid], CT, sop_instance_uid=uid)
            assert response
            assert response.Status == SUCCESS
        assert eventually(lambda: {one[0] for one in _associations(first)} == set(first.acceptors))
        last = ct_image("1.2.9.99")
        assert scu.store(last, CT, sop_instance_uid="1.2.9.99")
        first.kill_all()
    second = _node(tmp_path, 1)
    with second.running():
        assert {ending for _, ending, _ in _associations(second)} == {"lost"}
        assert second.acceptors == ("acceptor-1",)
    _assert_whole(second, acknowledged | {"1.2.9.99": last}, acknowledged | {"1.2.9.99": last})


def test_each_process_meets_peers_with_a_certificate_that_was_exchanged(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    now, then = authority.signs("node", file="now"), authority.signs("node", file="then")
    certificate, key = tmp_path / "node.crt", tmp_path / "node.key"
    certificate.write_bytes(now.certificate.read_bytes())
    key.write_bytes(now.key.read_bytes())
    tls = {"port": free_port(), "certificate": str(certificate), "key": str(key), "require_certificate": False}
    node = _node(tmp_path, 3, tls=tls)
    with node.running():
        assert {_met_with(int(str(tls["port"]))) for _ in range(6)} == {now.sha256}
        certificate.write_bytes(then.certificate.read_bytes())
        key.write_bytes(then.key.read_bytes())
        assert {_met_with(int(str(tls["port"]))) for _ in range(9)} == {then.sha256}
        assert node.log().count("certificates were changed") == 3


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


def test_the_port_is_free_as_soon_as_the_node_is_told_to_stop(tmp_path: Path) -> None:
    node = _node(tmp_path, 2)
    node.start()
    with associated(node.port, [CT]):
        assert node.process
        node.process.terminate()
        assert eventually(lambda: not _connects(node.port), limit_s=5)
        assert node.process.poll() is None  # the association has some seconds to end
    node.stop()


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True
