"""What a peer may cost, held up to a real acceptor process."""

from __future__ import annotations

import json
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from pynetdicom import AE

from dicom_node.config_node import Limits, Node
from dicom_node.network.guard import Breach, Gate, Gone, Late, Pace, read_pdu
from dicom_node.network.occupancy import Occupancy, new_table
from dicom_node.network.store_message import data_pdu
from tests.dicom_node.limited_acceptor import AcceptorProcess, acceptor_process
from tests.dicom_node.serving import serving
from tests.dicom_node.test_receive import ECHO, STORE, _association_request, store_command
from tests.waiting import LIMIT_S, eventually

LEGITIMATE = "127.0.0.2"
ABORT, ACCEPT, REJECT = 7, 2, 3
MOST_GROWTH_BYTES = 10_000_000
QUICK = {"acse_timeout_s": 3, "network_timeout_s": 3}


@contextmanager
def _process(folder: Path, **node: object) -> Iterator[AcceptorProcess]:
    with acceptor_process(folder, json.dumps({"port": 0, **node})) as running:
        assert _echo(running.port)
        yield running


def _gate(limits: Limits) -> Gate:
    table = new_table(processes=1, connections=limits.connections)
    return Gate(limits, Occupancy(table, row=0, processes=1, connections=limits.connections))


def _echo(port: int, answer_in_s: float = LIMIT_S) -> bool:
    """Of a peer that means well, from an address of its own."""
    entity = AE("MONITOR")
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = answer_in_s
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate("127.0.0.1", port, bind_address=(LEGITIMATE, 0))
    try:
        return association.is_established and association.send_c_echo().get("Status") == 0
    finally:
        association.release()


@contextmanager
def _connected(port: int, source: str = "127.0.0.1", *, associated: bool = False) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S, source_address=(source, 0)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if associated:
            connection.sendall(_association_request())
            assert _next_pdu(connection)[0] == ACCEPT
        yield connection


def _next_pdu(connection: socket.socket) -> bytes:
    return read_pdu(connection, 1 << 20, time.monotonic() + LIMIT_S)


def _ends(connection: socket.socket) -> bytes:
    """What the peer says until it closes; b"" too where it resets the connection."""
    said = b""
    with suppress(ConnectionError):
        while more := connection.recv(1000):
            said += more
    return said


# --- many ---------------------------------------------------------------------------------------------------------


def _drip(connection: socket.socket, data: bytes, stop: threading.Event) -> None:
    with suppress(OSError):
        for at in range(len(data)):
            if stop.wait(0.2):
                return
            connection.sendall(data[at : at + 1])


@pytest.mark.parametrize("held", ["most are closed at once", "all are let in"])
def test_beside_200_idle_and_20_dripping_peers_an_echo_is_answered_within_2_s(tmp_path: Path, held: str) -> None:
    limits = {} if held == "most are closed at once" else {"connections_per_address": 512}
    stop = threading.Event()
    slow = data_pdu(ECHO, bytes(2000), is_command=True, is_last=False)
    with _process(tmp_path, limits=limits) as node, ExitStack() as stack:
        before = node.memory_bytes()
        dripping = [stack.enter_context(_connected(node.port, "127.0.0.3", associated=half < 10)) for half in range(20)]
        for position, connection in enumerate(dripping):
            data = slow if position < 10 else _association_request()
            threading.Thread(target=_drip, args=(connection, data, stop), daemon=True).start()
        for _ in range(200):
            stack.enter_context(_connected(node.port))
        try:
            for _ in range(25):
                assert _echo(node.port, answer_in_s=2)
                time.sleep(0.1)
            # Where all are let in, 220 threads sleep: 40 kB each.
            assert node.memory_bytes() - before < MOST_GROWTH_BYTES * (1 if not limits else 2)
        finally:
            stop.set()


def test_an_idle_connection_is_closed_at_its_deadline_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with _process(tmp_path, **QUICK) as node:
        assert eventually(lambda: node.threads() <= 5)
        threads, descriptors = node.threads(), node.descriptors()
        with ExitStack() as stack:
            waiting = [stack.enter_context(_connected(node.port)) for _ in range(30)]
            assert [_ends(connection) for connection in waiting] == [b""] * 30
        assert eventually(lambda: node.threads() <= threads)
        assert eventually(lambda: node.descriptors() <= descriptors)


def test_one_address_may_hold_so_many_connections_and_others_still_come_in(tmp_path: Path) -> None:
    with serving(tmp_path, Node(port=0, limits=Limits(connections_per_address=3))) as served:
        with ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(_connected(served.port, associated=True))
            with _connected(served.port) as fourth:
                assert _ends(fourth) == b""
            assert _echo(served.port)
        assert eventually(lambda: served.events("connection_refused"))
        assert "node.limits.connections_per_address (3)" in served.events("connection_refused")[0].text
        assert eventually(lambda: _is_let_in(served.port))


def _is_let_in(port: int) -> bool:
    with _connected(port) as connection:
        connection.sendall(_association_request())
        with suppress(OSError, Gone):
            return _next_pdu(connection)[0] == ACCEPT
    return False


def test_there_are_so_many_connections_in_all(tmp_path: Path) -> None:
    with serving(tmp_path, Node(port=0, limits=Limits(connections=2))) as served, ExitStack() as stack:
        for address in ("127.0.0.3", "127.0.0.4"):
            stack.enter_context(_connected(served.port, address, associated=True))
        with _connected(served.port, "127.0.0.5") as third:
            assert _ends(third) == b""


def test_one_association_too_many_is_rejected_as_transient_for_a_local_limit(tmp_path: Path) -> None:
    with (
        serving(tmp_path, Node(port=0, max_associations=1)) as served,
        _connected(served.port, associated=True),
        _connected(served.port) as second,
    ):
        second.sendall(_association_request())
        assert _next_pdu(second) == bytes([REJECT, 0, 0, 0, 0, 4, 0, 2, 3, 2])


# --- large --------------------------------------------------------------------------------------------------------

_HUGE = {
    "association request": (False, struct.pack(">BxI", 1, 2**32 - 1)),
    "data first": (False, struct.pack(">BxI", 4, 2**32 - 1)),
    "unknown type": (False, struct.pack(">BxI", 0x47, 2**32 - 1)),
    "data": (True, struct.pack(">BxI", 4, 2**32 - 1)),
    "data value": (True, struct.pack(">BxIIBB", 4, 2**20, 2**32 - 1, STORE, 2)),
    "second association request": (True, struct.pack(">BxI", 1, 2**32 - 1)),
    "release": (True, struct.pack(">BxI", 5, 2**32 - 1)),
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcceptorProcess]:
    limits = {"message_bytes": 8 * 1024**2, "pdu_timeout_s": 1, "min_bytes_per_s": 10_000}
    with _process(tmp_path_factory.mktemp("node"), **QUICK, limits=limits) as running:
        yield running


@pytest.mark.parametrize("case", _HUGE)
def test_a_pdu_that_claims_4_gib_is_aborted_at_its_header(node: AcceptorProcess, case: str) -> None:
    associated, header = _HUGE[case]
    node.forget_peak()
    before = node.memory_bytes()
    with _connected(node.port, associated=associated) as connection:
        connection.sendall(header)
        said = _ends(connection)
        assert (said[0], len(said)) == (ABORT, 10)
    assert _echo(node.port, answer_in_s=2)
    assert node.peak_bytes() - before < MOST_GROWTH_BYTES


@pytest.mark.parametrize("associated", [False, True])
def test_a_peer_that_goes_on_sending_what_was_refused_costs_no_memory(node: AcceptorProcess, associated: bool) -> None:
    node.forget_peak()
    before, chunk = node.memory_bytes(), bytes(1 << 20)
    with _connected(node.port, associated=associated) as connection, suppress(OSError):
        connection.sendall(struct.pack(">BxI", 4 if associated else 1, 2**32 - 1))
        for _ in range(500):
            connection.sendall(chunk)
    assert _echo(node.port, answer_in_s=2)
    assert node.peak_bytes() - before < MOST_GROWTH_BYTES


def test_a_stream_of_fragments_without_end_is_aborted_at_the_largest_message(node: AcceptorProcess) -> None:
    """10 GB in fragments of 128 KiB, none of them the last."""
    fragment = data_pdu(STORE, bytes(128 * 1024), is_command=False, is_last=False)
    node.forget_peak()
    before, sent = node.memory_bytes(), 0
    with _connected(node.port, associated=True) as connection:
        connection.sendall(data_pdu(STORE, store_command("1.2.3"), is_command=True, is_last=True))
        with suppress(ConnectionError):
            while sent < 10 * 1024**3:
                connection.sendall(fragment)
                sent += len(fragment)
                if sent % (2 << 20) < len(fragment):
                    assert _echo(node.port, answer_in_s=2)
    assert sent < 50 * 1024**2
    assert node.peak_bytes() - before < MOST_GROWTH_BYTES


def test_a_stream_of_empty_fragments_without_end_is_aborted_as_too_slow_or_too_large(node: AcceptorProcess) -> None:
    empty = data_pdu(STORE, b"", is_command=False, is_last=False) * 1000
    with _connected(node.port, associated=True) as connection, suppress(ConnectionError):
        connection.sendall(data_pdu(STORE, store_command("1.2.3"), is_command=True, is_last=True))
        for sent in range(100_000):
            connection.sendall(empty)
            assert sent < 10_000
    assert _echo(node.port)


def test_what_comes_before_the_request_is_answered_is_heard_after_it(node: AcceptorProcess) -> None:
    with _connected(node.port) as connection:
        echo = data_pdu(ECHO, _ECHO_COMMAND, is_command=True, is_last=True)
        connection.sendall(_association_request() + echo + b"\5\0\0\0\0\4\0\0\0\0")
        assert [_next_pdu(connection)[0] for _ in range(3)] == [ACCEPT, 4, 6]


@pytest.mark.parametrize("seed", range(4))
def test_mutated_sessions_end_no_thread_by_an_exception_and_leave_nothing(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    died: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda told: died.append(told.exc_value))
    chance = random.Random(seed)
    command = data_pdu(STORE, store_command("1.2.3"), is_command=True, is_last=True)
    session = _association_request() + command + data_pdu(STORE, bytes(50), is_command=False, is_last=True)
    with serving(tmp_path, Node.model_validate({"port": 0, **QUICK})) as served:
        for _ in range(100):
            mutated = bytearray(session + b"\5\0\0\0\0\4\0\0\0\0")
            for _ in range(chance.randint(0, 5)):
                at = chance.randrange(len(mutated))
                mutated[at : at + chance.choice((0, 1, 1, 1, 20))] = chance.randbytes(chance.choice((0, 1, 1, 1, 20)))
            with suppress(OSError), _connected(served.port) as connection:
                connection.settimeout(0.05)
                connection.sendall(mutated)
                connection.recv(1000)
        assert _echo(served.port)
        assert eventually(lambda: not served.acceptor._active())
    assert died == []


# --- slow ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", ["one pdu by bytes", "a command by pdus", "a data set by pdus", "half an association request"]
)
def test_a_peer_that_drips_is_cut_off(node: AcceptorProcess, case: str) -> None:
    command = data_pdu(STORE, store_command("1.2.3"), is_command=True, is_last=True)
    one = data_pdu(STORE, b"\0", is_command=case == "a command by pdus", is_last=False)
    first, then = {
        "one pdu by bytes": (b"", command),
        "a command by pdus": (b"", one * 60),
        "a data set by pdus": (command, one * 60),
        "half an association request": (_association_request()[:10], _association_request()[10:]),
    }[case]
    step = len(one) if "by pdus" in case else 1
    with _connected(node.port, associated=case != "half an association request") as connection:
        connection.sendall(first)
        connection.settimeout(0.2)
        for at in range(0, len(then), step):
            try:
                connection.sendall(then[at : at + step])
                said = connection.recv(100)
            except TimeoutError:
                continue
            except ConnectionError:
                said = b""
            assert said == b"" or said[0] == ABORT
            return
    raise AssertionError("it was let drip to the end")


def test_a_command_that_comes_by_bytes_is_held_to_the_time_of_a_pdu(tmp_path: Path) -> None:
    """Its header came, and each byte of it is taken as it comes; what a message may take is far off."""
    command = data_pdu(STORE, store_command("1.2.3"), is_command=True, is_last=True)
    node = Node.model_validate({"port": 0, "network_timeout_s": 60, "limits": {"pdu_timeout_s": 1}})
    with serving(tmp_path, node) as served, _connected(served.port, associated=True) as connection:
        connection.settimeout(0.1)
        for at in range(len(command) - 1):
            try:
                connection.sendall(command[at : at + 1])
                said = connection.recv(100)
            except TimeoutError:
                continue
            except ConnectionError:
                said = b""
            assert said == b"" or said[0] == ABORT
            return
    raise AssertionError("it was let drip to the end")


def test_a_peer_that_is_silent_between_its_messages_is_not_held_to_a_rate(node: AcceptorProcess) -> None:
    with _connected(node.port, associated=True) as connection:
        echo = data_pdu(ECHO, _ECHO_COMMAND, is_command=True, is_last=True)
        for _ in range(3):
            connection.sendall(echo)
            assert _next_pdu(connection)[0] == 4
            time.sleep(1.5)  # longer than a PDU may take, and far below the least rate


_ECHO_COMMAND = b"".join(
    struct.pack("<HHI", 0, number, len(value)) + value
    for number, value in (
        (0x0002, b"1.2.840.10008.1.1\0"),
        (0x0100, b"\x30\0"),
        (0x0110, b"\1\0"),
        (0x0800, b"\1\1"),
    )
)


# --- in parts -----------------------------------------------------------------------------------------------------


def _limits(**given: object) -> Limits:
    return Limits.model_validate({"pdu_timeout_s": 10, "message_timeout_s": 100, "min_bytes_per_s": 1000, **given})


def test_a_message_is_judged_by_its_rate_only_after_the_grace() -> None:
    pace = Pace(_limits(), grace_s=30)
    pace.waited(0, 10, in_pdu=False, in_message=False)
    for _ in range(5):
        pace.waited(6, 100, in_pdu=False, in_message=True)
    with pytest.raises(Late, match="min_bytes_per_s"):
        pace.waited(6, 100, in_pdu=False, in_message=True)


def test_a_message_that_comes_fast_enough_ends_at_its_deadline_only() -> None:
    pace = Pace(_limits(), grace_s=30)
    for _ in range(20):
        pace.waited(5, 10_000, in_pdu=False, in_message=True)
    with pytest.raises(Late, match="message_timeout_s"):
        pace.waited(5, 10_000, in_pdu=False, in_message=True)


def test_each_message_has_its_own_time_and_size_even_without_a_pause_between_them() -> None:
    pace = Pace(_limits(message_bytes=2**20), grace_s=30)
    for _ in range(50):
        pace.waited(5, 2**19, in_pdu=True, in_message=True)
        pace.pdu(10)
        pace.message_ended()


def test_a_message_beyond_the_largest_is_a_breach() -> None:
    pace = Pace(_limits(message_bytes=2**20), grace_s=30)
    pace.waited(0, 2**20, in_pdu=False, in_message=True)
    with pytest.raises(Breach, match="message_bytes"):
        pace.waited(0, 1, in_pdu=False, in_message=True)


def test_the_time_of_a_pdu_begins_with_its_first_byte() -> None:
    pace = Pace(_limits(), grace_s=30)
    pace.waited(1000, 3, in_pdu=False, in_message=False)
    pace.waited(9, 3, in_pdu=True, in_message=False)
    with pytest.raises(Late, match="pdu_timeout_s"):
        pace.waited(2, 1, in_pdu=True, in_message=False)


def test_a_closed_connection_counts_no_more() -> None:
    gate = _gate(Limits(connections_per_address=1, connections=1))
    first, second = socket.socket(), socket.socket()
    assert gate.admit("192.0.2.1", first) is None
    assert "connections_per_address" in (gate.admit("::ffff:192.0.2.1", second) or "")
    assert "node.limits.connections (1)" in (gate.admit("192.0.2.2", second) or "")
    first.close()
    assert gate.admit("192.0.2.1", second) is None
    second.close()


def test_an_ipv6_host_is_counted_by_its_network() -> None:
    gate = _gate(Limits(connections_per_address=1))
    with socket.socket() as first, socket.socket() as second:
        assert gate.admit("2001:db8::1", first) is None
        assert gate.admit("2001:db8::ffff:2", second)
        assert gate.admit("2001:db8:1::1", second) is None


def test_a_pdu_is_read_whole_or_not_at_all() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"\5\0\0\0\0\4\0\0\0\0\5\0")
        assert read_pdu(ours, 100, time.monotonic() + 5) == b"\5\0\0\0\0\4\0\0\0\0"
        with pytest.raises(Late):
            read_pdu(ours, 100, time.monotonic() + 0.05)
        theirs.close()
        with pytest.raises(Gone) as gone:
            read_pdu(ours, 100, time.monotonic() + 5)
        assert not gone.value.began
