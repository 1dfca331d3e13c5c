"""Association requests, and acceptances as no acceptor should write them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_RQ

from dicom_node.network.connecting import NoAssociation, connected
from dicom_node.network.framing import BadPdu
from dicom_node.network.requested import Association, Context, _accepted, _request, associated
from dicom_node.network.requestor import echo, send
from dicom_node.network.wire import Wire
from dicom_node.part10 import IMPLEMENTATION_CLASS_UID
from tests.dicom_node.peers import SHORT, peer_at, served
from tests.dicom_node.test_wire import made

EXPLICIT, IMPLICIT, CT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.5.1.4.1.1.2"
PROPOSED: list[Context] = [(CT, EXPLICIT), (CT, IMPLICIT)]
RELEASE_RP = bytes([6, 0, 0, 0, 0, 4, 0, 0, 0, 0])


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def result(context_id: int, syntax: str, reason: int = 0) -> bytes:
    return item(0x21, struct.pack(">BxBx", context_id, reason) + item(0x40, syntax.encode()))


def acceptance(*results: bytes, max_pdu_bytes: int = 16_384, more: bytes = b"") -> bytes:
    """What follows the six bytes of an A-ASSOCIATE-AC (PS3.8 section 9.3.3)."""
    user = item(0x51, struct.pack(">L", max_pdu_bytes)) + item(0x52, b"1.2.3.4") + more
    names = b"PACS1".ljust(16) + b"DICOM-NODE".ljust(16)
    parts = (item(0x10, b"1.2.840.10008.3.1.1.1"), *results, item(0x50, user))
    return struct.pack(">Hxx", 1) + names + bytes(32) + b"".join(parts)


def read(answer: bytes) -> Association:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        return _accepted(Wire(ours, 1), PROPOSED, answer)


def ac(answer: bytes) -> bytes:
    return struct.pack(">BxL", 2, len(answer)) + answer


@contextmanager
def answered(*answers: bytes) -> Iterator[int]:
    """A peer that says one of these for each request, whatever the request is; yields its port."""

    def serve(connection: socket.socket) -> None:
        for answer in answers:
            connection.recv(65536)
            connection.sendall(answer)
        while connection.recv(65536):
            continue

    with served(serve) as port:
        yield port


def test_the_request_names_the_node_and_proposes_each_syntax_by_itself() -> None:
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(_request(peer_at(104), PROPOSED))
    request = pdu.to_primitive()
    contexts = request.presentation_context_definition_list
    assert [(one.context_id, str(one.abstract_syntax), [*map(str, one.transfer_syntax)]) for one in contexts] == [
        (1, CT, [EXPLICIT]),
        (3, CT, [IMPLICIT]),
    ]
    assert (request.calling_ae_title, request.called_ae_title) == ("DICOM-NODE", "PACS1")
    assert request.maximum_length_received == 128 * 1024
    assert request.implementation_class_uid == IMPLEMENTATION_CLASS_UID


def test_what_is_accepted_is_known_by_its_number() -> None:
    association = read(acceptance(result(1, EXPLICIT), result(3, IMPLICIT, 4), max_pdu_bytes=32_768))
    assert (association.accepted, association.max_pdu_bytes) == ({(CT, EXPLICIT): 1}, 32_768)


@pytest.mark.parametrize(
    "more",
    [
        item(0x5A, b"a later edition of the standard"),
        item(0x55, b"A PACS OF ANOTHER AGE"),  # implementation version name, of 16 characters at most
        item(0x55, "Röntgen".encode("latin-1")),
        item(0x52, b"no UID"),
    ],
)
def test_what_the_node_does_not_go_by_stands_in_nobodys_way(more: bytes) -> None:
    association = read(acceptance(item(0x99, b"?"), result(1, EXPLICIT), more=more))
    assert (association.accepted, association.max_pdu_bytes) == ({(CT, EXPLICIT): 1}, 16_384)


@pytest.mark.parametrize(
    "results",
    [[], [result(5, EXPLICIT)], [result(1, IMPLICIT)], [result(1, EXPLICIT, 9)]],
)
def test_what_was_not_proposed_is_not_accepted(results: list[bytes]) -> None:
    assert read(acceptance(*results)).accepted == {}


def test_an_acceptance_that_is_far_too_long_is_refused_unread() -> None:
    with pytest.raises(BadPdu, match="an association acceptance of"):
        read(acceptance(*[result(1, EXPLICIT)] * 5000))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_an_acceptance_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    whole = bytearray(acceptance(result(1, EXPLICIT), result(3, IMPLICIT)))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    except BadPdu:
        return


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (struct.pack(">BxL", 2, 2**32 - 1), "a PDU of 4294967295 bytes"),
        (ac(b"\0" * 10), "an association acceptance of 10 bytes"),
        (ac(acceptance(item(0x21, b"\1"))), "an association acceptance that cannot be read"),
        (bytes([3, 0, 0, 0, 0, 2, 0, 1]), "a PDU of type 0x03"),
        (bytes([7, 0, 0, 0, 0, 4, 0, 0, 2, 0]), "aborted by the peer"),
        (bytes([4, 0, 0, 0, 0, 0]), "a PDU of type 0x04"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "a PDU of"),
    ],
)
def test_an_answer_that_is_none_is_told_in_words(said: bytes, words: str) -> None:
    with answered(said) as port, pytest.raises(NoAssociation, match=words), associated(peer_at(port), PROPOSED):
        pass


@pytest.mark.parametrize(("given", "needs"), [((1, 1, 7), True), ((2, 3, 2), False), ((0, 255, 255), False)])
def test_a_rejection_is_told_in_words_whatever_numbers_it_has(given: tuple[int, int, int], needs: bool) -> None:
    with (
        answered(bytes([3, 0, 0, 0, 0, 4, 0, *given])) as port,
        pytest.raises(NoAssociation) as told,
        associated(peer_at(port), PROPOSED),
    ):
        pass
    assert "association rejected" in str(told.value)
    assert told.value.needs_a_person is needs


def test_an_association_on_which_nothing_is_accepted_is_released() -> None:
    heard = bytearray()

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(ac(acceptance()))
        heard.extend(connection.recv(65536))
        connection.sendall(RELEASE_RP)

    with served(serve) as port:
        (outcome,) = send(peer_at(port), [made()])
    assert outcome.verdict == "refused"
    assert heard[:1] == b"\5"


@pytest.mark.parametrize("status", [b"\0", b"\0\0\0\0", b""])
def test_a_status_that_is_no_number_of_two_bytes_is_no_answer(status: bytes) -> None:
    elements = b"".join(
        struct.pack("<HHL", 0, element, len(value)) + value
        for element, value in ((0x0100, b"\1\x80"), (0x0120, b"\1\0"), (0x0900, status))
    )
    answer = struct.pack(">BxLLBB", 4, len(elements) + 6, len(elements) + 2, 1, 3) + elements
    one = made()
    accepts = ac(acceptance(item(0x21, b"\1\0\0\0" + item(0x40, EXPLICIT.encode()))))
    with answered(accepts, answer) as port:
        (outcome,) = send(peer_at(port, timeouts=SHORT), [one])
    assert (outcome.verdict, outcome.reason) == ("failed", "an answer that does not belong to the C-STORE")


def test_every_address_of_a_host_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a host with an IPv6 address that nothing listens on, and an IPv4 one."""
    with served(lambda connection: connection.recv(1)) as port, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        real: Callable[..., object] = socket.getaddrinfo
        both = [
            *real("127.0.0.1", closed.getsockname()[1], type=socket.SOCK_STREAM),  # type: ignore[misc]
            *real("127.0.0.1", port, type=socket.SOCK_STREAM),  # type: ignore[misc]
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: both)
        with connected(peer_at(port)) as wire:
            assert wire._connection.getpeername()[1] == port


def test_an_address_that_does_not_answer_leaves_time_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one of a family that this machine does not have takes none at all."""
    with served(lambda connection: connection.recv(1)) as port, socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            tcp = socket.IPPROTO_TCP
            addresses: list[object] = [
                (9999, socket.SOCK_STREAM, tcp, "", ("nowhere", port)),
                (socket.AF_INET, socket.SOCK_STREAM, tcp, "", full.getsockname()),
                (socket.AF_INET, socket.SOCK_STREAM, tcp, "", ("127.0.0.1", port)),
            ]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: addresses)
            tried: list[float] = []
            real = socket.socket.settimeout
            monkeypatch.setattr(
                socket.socket, "settimeout", lambda self, wait_s: (tried.append(wait_s), real(self, wait_s))
            )
            with connected(peer_at(port, timeouts=replace(SHORT, connect_s=1))) as wire:
                assert wire._connection.getpeername()[1] == port
    assert 0.4 < tried[0] <= 0.5


def test_a_host_that_drops_connections_is_left_when_the_time_is_over() -> None:
    # A listener whose queue is full: a connection is neither made nor refused.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            answer = echo(peer_at(port, timeouts=replace(SHORT, connect_s=0.3)))
    assert answer.detail == f"no connection to 127.0.0.1:{port}: no answer within 0.3 s"
