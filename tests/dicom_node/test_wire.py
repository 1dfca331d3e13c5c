"""The requestor against peers that answer in pieces, early, late, or not at all, and that end things their own way."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from dicom_node.network import wire as wire_module
from dicom_node.network.framing import BadPdu
from dicom_node.network.requestor import Outgoing, SendOutcome, send
from dicom_node.network.wire import Broken, Late, Wire
from tests.dicom_node.peers import AnsweringScp, peer_at, served
from tests.made_rows import EXPLICIT_VR_LITTLE_ENDIAN, SOP_CLASSES, secondary_capture
from tests.ports import free_port
from tests.waiting import LIMIT_S

ABORT = bytes([7, 0, 0, 0, 0, 4, 0, 0, 2, 0])
RELEASE_RQ, RELEASE_RP = bytes([5, 0, 0, 0, 0, 4, 0, 0, 0, 0]), bytes([6, 0, 0, 0, 0, 4, 0, 0, 0, 0])
# More than the buffers of both sockets hold.
LONG = [[bytes(1 << 20)] * 32]


def p_data(command: bytes, control: int = 3) -> bytes:
    return struct.pack(">BxLLBB", 4, len(command) + 6, len(command) + 2, 1, control) + command


@contextmanager
def wired(network_s: float = 5.0) -> Iterator[tuple[Wire, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Wire(ours, network_s), theirs


def soon() -> float:
    return time.monotonic() + LIMIT_S


def test_an_answer_in_single_bytes_is_read_whole() -> None:
    def drip() -> None:
        for byte in p_data(b"\0\0abcd", 1) + p_data(b"efgh"):
            peer.send(bytes([byte]))

    with wired() as (wire, peer):
        threading.Thread(target=drip, daemon=True).start()
        assert wire.command(soon(), "") == b"\0\0abcdefgh"


def test_two_answers_that_come_at_once_are_read_one_after_the_other() -> None:
    with wired() as (wire, peer):
        peer.sendall(p_data(b"first!") + p_data(b"second"))
        assert [wire.command(soon(), ""), wire.command(soon(), "")] == [b"first!", b"second"]


def test_an_answer_that_drips_past_its_time_is_late() -> None:
    stop = threading.Event()

    def drip() -> None:
        for byte in p_data(bytes(1000)):
            peer.send(bytes([byte]))
            if stop.wait(0.05):
                return

    with wired() as (wire, peer):
        dripping = threading.Thread(target=drip)
        dripping.start()
        with pytest.raises(Late, match="no answer yet"):
            wire.command(time.monotonic() + 0.3, "no answer yet")
        stop.set()
        dripping.join()


def test_an_answer_that_is_there_counts_though_the_time_is_over() -> None:
    """The next file was slow to read: the peer is not to blame."""
    with wired() as (wire, peer):
        peer.sendall(p_data(b"answer"))
        assert wire.command(time.monotonic() - 10, "") == b"answer"


def test_an_abort_is_heard_while_the_peer_reads_nothing_more() -> None:
    with wired(network_s=30) as (wire, peer):
        peer.sendall(ABORT)
        with pytest.raises(Broken, match="aborted by the peer"):
            wire.write(LONG)


def test_a_peer_that_reads_nothing_is_late() -> None:
    with wired(network_s=0.2) as (wire, _peer), pytest.raises(Late, match=r"read nothing for 0\.2 s"):
        wire.write(LONG)


def test_a_peer_that_reads_slowly_is_not_late() -> None:
    received = 0

    def read() -> None:
        nonlocal received
        while chunk := peer.recv(1 << 20):
            received += len(chunk)
            time.sleep(len(chunk) / (12 << 20))

    with wired(network_s=2) as (wire, peer):
        reading = threading.Thread(target=read)
        reading.start()
        began = time.monotonic()
        try:
            wire.write(LONG)
            # It took longer than the peer may read nothing, or this would show nothing.
            assert time.monotonic() - began > 2
        finally:
            wire.abort()
            reading.join()
    assert received == 32 * (1 << 20) + len(ABORT)


def test_an_early_answer_waits_for_its_turn() -> None:
    with wired(network_s=10) as (wire, peer):
        peer.sendall(p_data(b"early!"))

        def read() -> None:
            time.sleep(0.8)  # by then the write was interrupted, and the answer seen
            while peer.recv(1 << 20):
                pass

        reading = threading.Thread(target=read)
        reading.start()
        wire.write(LONG)
        assert wire.command(soon(), "") == b"early!"
        wire.abort()
        reading.join()


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (ABORT, "aborted by the peer"),
        (RELEASE_RQ, "released by the peer"),
        (b"", "connection lost"),
        (b"\4\0", "connection lost"),
    ],
)
def test_the_way_in_which_the_association_ended_is_told(said: bytes, error: str) -> None:
    with wired() as (wire, peer):
        peer.sendall(said)
        peer.shutdown(socket.SHUT_WR)
        with pytest.raises(Broken, match=error):
            wire.command(soon(), "")


@pytest.mark.parametrize("said", [struct.pack(">BxL", 4, 2**32 - 1), b"\x09\0\0\0\0\0", p_data(bytes(60_000), 1) * 2])
def test_what_no_peer_may_say_is_refused_before_it_takes_memory(said: bytes) -> None:
    with wired() as (wire, peer):
        peer.sendall(said)
        with pytest.raises(BadPdu):
            wire.command(soon(), "")


def endless(peer: socket.socket, said: bytes) -> threading.Thread:
    """Says it again and again, until nobody listens."""

    def flood() -> None:
        with suppress(OSError):
            while True:
                peer.sendall(said)

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    "said", [p_data(b"", 1), p_data(bytes(1000), 0), p_data(bytes(1000), 2), struct.pack(">BxL", 4, 0)]
)
def test_an_answer_that_never_ends_is_refused(said: bytes) -> None:
    """Fragments of commands that are empty, and of data sets that no answer has: neither makes a command longer."""
    with wired() as (wire, peer):
        thread = endless(peer, said * 100)
        with pytest.raises(BadPdu, match="an answer of more than 1048576 bytes"):
            wire.command(time.monotonic() + 600, "")
        wire.abort()
        peer.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_peer_that_floods_instead_of_answering_a_release_is_left() -> None:
    with wired() as (wire, peer):
        thread = endless(peer, p_data(bytes(1000), 0))
        wire.release(0.1)
        peer.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_what_comes_when_the_time_is_over_does_not_hold_the_sender() -> None:
    """A PDU of 1 MiB, without its end, and more of the like behind it."""
    with wired() as (wire, peer):
        thread = endless(peer, struct.pack(">BxL", 4, 1 << 20) + bytes((1 << 20) - 1))
        with pytest.raises((Late, BadPdu)):
            wire.command(time.monotonic() - 1, "late")
        peer.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_what_a_peer_says_while_it_reads_nothing_takes_no_more_than_a_bound_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire_module, "_MOST_UNREAD_BYTES", 100_000)
    with wired(network_s=30) as (wire, peer):
        thread = endless(peer, p_data(bytes(1000), 0))
        with pytest.raises(BadPdu, match="that nothing asked for"):
            wire.write(LONG)
        wire.abort()
        peer.shutdown(socket.SHUT_RDWR)
        thread.join()


class Trickling(socket.socket):
    """Takes a byte of what is written, now and then."""

    def sendmsg(self, *_: object) -> int:  # type: ignore[override]
        time.sleep(0.01)
        return 1


def test_a_peer_that_takes_a_byte_now_and_then_is_late() -> None:
    ours, theirs = socket.socketpair()
    with theirs, Trickling(fileno=ours.detach()) as trickling:
        wire = Wire(trickling, network_s=0.2)
        with pytest.raises(Late, match=r"read next to nothing for 0\.2 s"):
            wire.write(LONG)


def test_a_release_is_answered_and_both_may_ask_at_once() -> None:
    with wired() as (wire, peer):
        peer.sendall(RELEASE_RQ + RELEASE_RP)
        wire.release(5)
        assert peer.recv(100) == RELEASE_RQ + RELEASE_RP


def test_a_peer_that_answers_no_release_is_left() -> None:
    with wired() as (wire, peer):
        wire.release(0.1)
        assert peer.recv(100) == RELEASE_RQ


def test_what_was_aborted_is_not_released() -> None:
    with wired() as (wire, peer):
        wire.abort()
        wire.release(5)
        assert peer.recv(100)[:6] == ABORT[:6]


def test_a_connection_that_is_closed_already_is_lost() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    ours.close()
    with pytest.raises(Broken, match="connection lost"):
        Wire(ours, 1).write([[b"x"]])


def made() -> Outgoing:
    uid = f"1.2.3.{time.monotonic_ns()}"
    part10 = secondary_capture("1.2.3", uid, sop_class_uid=SOP_CLASSES["sc"])
    return Outgoing(SOP_CLASSES["sc"], uid, EXPLICIT_VR_LITTLE_ENDIAN, part10)


def test_no_thread_is_left_when_a_sender_stops_in_the_middle() -> None:
    scp, before = AnsweringScp(free_port()), {*threading.enumerate()}
    with scp.running():
        outcomes: Iterator[SendOutcome] = send(peer_at(scp.port), [made(), made(), made()])
        assert next(outcomes).verdict == "delivered"
        # The acceptor has its own three: the listener, and two for the association.
        assert len({*threading.enumerate()} - before) <= 3
        outcomes.close()  # type: ignore[attr-defined]
    assert len(scp.received) == 1


def relay(port: int, answer: Callable[[bytes], bytes]) -> Callable[[socket.socket], None]:
    """Passes everything on, and what comes back as `answer` changes it."""

    def serve(connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port)) as onward:
            threading.Thread(target=_pass_on, args=[connection, onward], daemon=True).start()
            while chunk := onward.recv(65536):
                connection.sendall(answer(chunk))

    return serve


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while chunk := source.recv(65536):
            target.sendall(chunk)
    except OSError:
        return


def test_an_answer_to_another_request_is_no_answer() -> None:
    """Message ID 1 becomes 9 in what comes back."""
    scp, answered_id = AnsweringScp(free_port()), struct.pack("<HHL", 0, 0x0120, 2)

    def changed(chunk: bytes) -> bytes:
        return chunk.replace(answered_id + b"\1\0", answered_id + b"\x09\0")

    with scp.running(), served(relay(scp.port, changed)) as port:
        outcomes = list(send(peer_at(port), [made()]))
    assert [(one.verdict, one.reason) for one in outcomes] == [
        ("failed", "an answer that does not belong to the C-STORE")
    ]
