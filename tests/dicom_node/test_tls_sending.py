"""Sending over TLS: to DCMTK, to Orthanc through a courier, and to peers that are wrong, old, rude or slow."""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from dicom_node.config_destinations import DestinationTls
from dicom_node.network.file_meta import read_file_meta
from dicom_node.network.requestor import Outgoing, Peer, echo, send
from dicom_node.network.tls_channel import ClientTls
from dicom_node.network.tls_context import TlsError, context_for
from dicom_node.network.wire import Broken, Late, Wire
from tests.dicom_node.certificates import Authority, Identity
from tests.dicom_node.peers import LONG, SHORT, AnsweringScp, data_sets_in, peer_at, served, storescp
from tests.made_rows import EXPLICIT_VR_LITTLE_ENDIAN, SOP_CLASSES, secondary_capture
from tests.ports import free_port

FindPeer = Callable[[str], str]
Serve = Callable[[socket.socket], None]
GIVEN = "as given"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"), "Other CA")


@pytest.fixture(scope="module")
def pacs(authority: Authority) -> Identity:
    return authority.signs("pacs")


@pytest.fixture(scope="module")
def node(authority: Authority) -> Identity:
    return authority.signs("node")


def made(*, side: int = 32) -> Outgoing:
    uid = generate_uid()
    part10 = secondary_capture("1.2.3", uid, sop_class_uid=SOP_CLASSES["sc"], side=side)
    return Outgoing(SOP_CLASSES["sc"], uid, EXPLICIT_VR_LITTLE_ENDIAN, part10)


def data_set_of(item: Outgoing) -> bytes:
    assert isinstance(item.part10, bytes)
    return item.part10[read_file_meta(item.part10).data_set_at :]


def settings(ca: Path, identity: Identity | None = None, **more: object) -> DestinationTls:
    own = {"certificate": identity.certificate, "key": identity.key} if identity else {}
    return DestinationTls.model_validate({"ca": ca, **own, **more})


def secured(port: int, ca: Authority, identity: Identity | None = None, **more: object) -> Peer:
    return replace(peer_at(port), tls=ClientTls(settings(ca.certificate, identity, **more)))


@contextmanager
def dcmtk(program: str, folder: Path, authority: Authority, identity: Identity, *options: str) -> Iterator[int]:
    """DCMTK's storage SCP over TLS, which wants a certificate unless it is told otherwise."""
    port = free_port()
    files = ["+tls", str(identity.key), str(identity.certificate), "+cf", str(authority.certificate)]
    with storescp(program, folder, port, *files, *options):
        yield port


def handshaking(context: ssl.SSLContext) -> Serve:
    """Goes no further than the handshake."""

    def serve(connection: socket.socket) -> None:
        context.wrap_socket(connection, server_side=True).close()

    return serve


def server(identity: Identity, *, clients: Authority | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    if clients:
        context.load_verify_locations(clients.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def refused(peer: Peer) -> tuple[str, bool]:
    """Why nothing was sent, as the outbox and `check --connect` have it, and whether a person is asked for."""
    (outcome,) = send(peer, [made()])
    assert outcome.verdict == "failed"  # and so it is tried again
    assert not echo(peer).ok
    return outcome.reason, outcome.needs_a_person


# --- DCMTK --------------------------------------------------------------------------------------------------------


def test_storescp_that_wants_a_certificate_receives_the_data_sets_bit_for_bit(
    peer: FindPeer, authority: Authority, pacs: Identity, node: Identity, tmp_path: Path
) -> None:
    items = [made(side=2048), made(), made(side=512)]
    with dcmtk(peer("storescp"), tmp_path, authority, pacs) as port:
        to = secured(port, authority, node)
        assert [one.verdict for one in send(to, items)] == ["delivered"] * 3
        assert echo(to).ok
    assert data_sets_in(tmp_path) == {item.sop_instance_uid: data_set_of(item) for item in items}


def test_storescp_that_wants_none_gets_none(
    peer: FindPeer, authority: Authority, pacs: Identity, tmp_path: Path
) -> None:
    with dcmtk(peer("storescp"), tmp_path, authority, pacs, "-ic") as port:
        (outcome,) = send(secured(port, authority), [made()])
    assert outcome.verdict == "delivered"


def test_storescp_that_wants_a_certificate_and_gets_none_is_understood(
    peer: FindPeer, authority: Authority, pacs: Identity, tmp_path: Path
) -> None:
    with dcmtk(peer("storescp"), tmp_path, authority, pacs) as port:
        reason, needs_a_person = refused(secured(port, authority))
    assert "it wants a certificate of this node: name tls.certificate and tls.key" in reason
    assert needs_a_person


def test_storescp_that_does_not_trust_the_nodes_ca_is_understood(
    peer: FindPeer, authority: Authority, stranger: Authority, pacs: Identity, tmp_path: Path
) -> None:
    with dcmtk(peer("storescp"), tmp_path, authority, pacs) as port:
        reason, needs_a_person = refused(secured(port, authority, stranger.signs("node")))
    assert "it refuses the certificate of this node: it does not trust the CA that signed it" in reason
    assert needs_a_person


def test_storescp_tells_that_the_nodes_certificate_has_expired(
    peer: FindPeer, authority: Authority, pacs: Identity, tmp_path: Path
) -> None:
    with dcmtk(peer("storescp"), tmp_path, authority, pacs) as port:
        reason, _ = refused(secured(port, authority, authority.signs("old", to_days=-1)))
    assert "it refuses the certificate of this node: expired" in reason


def test_a_destination_of_another_ca_gets_nothing(
    peer: FindPeer, authority: Authority, stranger: Authority, pacs: Identity, tmp_path: Path
) -> None:
    with dcmtk(peer("storescp"), tmp_path, authority, pacs, "-ic") as port:
        reason, needs_a_person = refused(secured(port, stranger))
    assert reason == f"no TLS connection to 127.0.0.1:{port}: its certificate is signed by no CA of tls.ca"
    assert needs_a_person
    assert list(tmp_path.iterdir()) == []


def test_a_destination_whose_certificate_has_expired_gets_nothing(
    peer: FindPeer, authority: Authority, node: Identity, tmp_path: Path
) -> None:
    with dcmtk(peer("storescp"), tmp_path, authority, authority.signs("expired", to_days=-1)) as port:
        reason, _ = refused(secured(port, authority, node))
    assert "its certificate, or that of its CA, has expired" in reason
    assert list(tmp_path.iterdir()) == []


def test_a_plain_peer_on_the_port_is_never_spoken_to_in_plain(authority: Authority) -> None:
    scp = AnsweringScp(free_port())
    with scp.running():
        to = secured(scp.port, authority)
        reason, _ = refused(replace(to, timeouts=SHORT))
    assert "TLS" in reason
    assert scp.received == {}
    assert scp.calling == []


def test_a_plain_sender_on_a_tls_port_is_told_what_listens_there(
    peer: FindPeer, authority: Authority, pacs: Identity, tmp_path: Path
) -> None:
    with dcmtk(peer("storescp"), tmp_path, authority, pacs) as port:
        reason, _ = refused(peer_at(port, timeouts=SHORT))
    assert reason == f"no association with 127.0.0.1:{port}: connection lost; does that port want TLS?"


def test_an_alert_of_tls_in_answer_to_a_plain_request_is_known_for_what_it_is() -> None:
    def alert(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"\x15\3\1\0\2\2\x46")

    with served(alert) as port:
        reason, _ = refused(peer_at(port, timeouts=SHORT))
    assert "that port speaks TLS, name tls" in reason


# --- the name -----------------------------------------------------------------------------------------------------


def test_a_certificate_for_another_host_is_refused_unless_that_name_is_given_or_none_is_asked(
    authority: Authority,
) -> None:
    elsewhere = authority.signs("elsewhere", hosts=("pacs.example.org",))
    scp = AnsweringScp(free_port())
    with scp.running(tls=server(elsewhere)):
        reason, needs_a_person = refused(secured(scp.port, authority))
        assert "its certificate is not for 127.0.0.1: name in tls.host_name whom it is for" in reason
        assert needs_a_person
        assert "not for other.example.org" in refused(secured(scp.port, authority, host_name="other.example.org"))[0]
        assert echo(secured(scp.port, authority, host_name="pacs.example.org")).ok
        assert echo(secured(scp.port, authority, check_host_name=False)).ok


def test_without_the_name_the_ca_still_counts(authority: Authority, stranger: Authority) -> None:
    scp = AnsweringScp(free_port())
    with scp.running(tls=server(stranger.signs("pacs"))):
        assert "signed by no CA" in refused(secured(scp.port, authority, check_host_name=False))[0]


def test_a_peers_own_certificate_may_be_trusted_instead_of_its_ca(authority: Authority, pacs: Identity) -> None:
    other = authority.signs("another")
    scp = AnsweringScp(free_port())
    with scp.running(tls=server(pacs)):
        assert echo(replace(peer_at(scp.port), tls=ClientTls(settings(pacs.certificate)))).ok
        assert not echo(replace(peer_at(scp.port), tls=ClientTls(settings(other.certificate)))).ok


# --- versions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2])
def test_tls_1_3_is_preferred_and_1_2_is_possible(
    authority: Authority, pacs: Identity, node: Identity, version: ssl.TLSVersion
) -> None:
    context = server(pacs, clients=authority)
    context.maximum_version = version
    scp, item = AnsweringScp(free_port()), made(side=512)
    with scp.running(tls=context):
        (outcome,) = send(secured(scp.port, authority, node), [item])
    assert outcome.verdict == "delivered"
    assert scp.received == {item.sop_instance_uid: data_set_of(item)}
    assert scp.tls_versions == [version.name.replace("_", ".")]


def test_a_tls_1_2_peer_that_wants_a_certificate_is_understood(authority: Authority, pacs: Identity) -> None:
    context = server(pacs, clients=authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with served(handshaking(context)) as port:
        assert "it wants a certificate of this node" in refused(secured(port, authority))[0]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_a_peer_without_tls_1_2_is_refused(authority: Authority, pacs: Identity) -> None:
    context = server(pacs)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with served(handshaking(context)) as port:
        assert "it has no TLS 1.2 or newer" in refused(secured(port, authority))[0]


# --- peers that break off -----------------------------------------------------------------------------------------


def test_a_peer_that_closes_in_the_handshake_is_a_failure(authority: Authority) -> None:
    with served(lambda connection: connection.recv(100)) as port:
        reason, needs_a_person = refused(secured(port, authority))
    assert "closed the connection in the TLS handshake" in reason
    assert not needs_a_person


def test_a_peer_that_drips_its_handshake_does_not_hold_the_sender(authority: Authority) -> None:
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"\x16\x03\x03\x40\x00\x02")
        while not stop.wait(0.1):
            connection.sendall(b"\0")

    hurried = replace(SHORT, connect_s=0.5)
    with served(drip) as port:
        reason, _ = refused(replace(secured(port, authority), timeouts=hurried))
        stop.set()
    assert "the TLS handshake took too long" in reason


def test_a_peer_that_says_nothing_within_tls_again_and_again_does_not_hold_the_sender(
    authority: Authority, pacs: Identity
) -> None:
    """Records of TLS with nothing for DICOM in them: what comes is never empty, and never an answer."""
    with wired(authority, pacs) as (wire, other):
        other.setblocking(False)
        wire._channel = Silent(wire._channel)  # type: ignore[assignment]
        stop = threading.Event()

        def flood() -> None:
            while not stop.is_set():
                with suppress(OSError):
                    other.send(bytes(10_000))

        thread = threading.Thread(target=flood)
        thread.start()
        with pytest.raises(Late, match="nothing yet"):
            wire.pdu(time.monotonic() + 0.1, "nothing yet")
        stop.set()
        thread.join()


class Silent:
    """A channel through which nothing comes, whatever is read from the network."""

    def __init__(self, channel: object) -> None:
        self._channel = channel

    def open(self, _chunk: bytes, _into: bytearray) -> None:
        return


def test_what_is_no_tls_is_named(authority: Authority) -> None:
    def abort(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(bytes([7, 0, 0, 0, 0, 4, 0, 0, 2, 0]))

    with served(abort) as port:
        assert "what listens there speaks no TLS" in refused(secured(port, authority))[0]


def test_a_handshake_leaves_no_connection_and_no_thread_behind(authority: Authority, pacs: Identity) -> None:
    before = threading.active_count()
    with served(lambda connection: connection.recv(100)) as port:
        for _ in range(20):
            assert not echo(secured(port, authority)).ok
    assert threading.active_count() <= before + 1


# --- both directions at once --------------------------------------------------------------------------------------


@contextmanager
def wired(authority: Authority, pacs: Identity, network_s: float = 10) -> Iterator[tuple[Wire, ssl.SSLSocket]]:
    ours, theirs = socket.socketpair()
    accepted: list[ssl.SSLSocket] = []
    context = server(pacs)

    def accept() -> None:
        accepted.append(context.wrap_socket(theirs, server_side=True))

    thread = threading.Thread(target=accept)
    thread.start()
    with ours:
        tls = ClientTls(settings(authority.certificate))
        channel = tls.secure(ours, "127.0.0.1", time.monotonic() + 10)
        thread.join()
        with accepted[0] as other:
            yield Wire(ours, network_s, channel), other


def p_data(command: bytes) -> bytes:
    size = len(command)
    return b"\4\0" + (size + 6).to_bytes(4, "big") + (size + 2).to_bytes(4, "big") + b"\1\3" + command


def test_large_messages_pass_in_both_directions_at_once(authority: Authority, pacs: Identity) -> None:
    """The peer writes 60 kB of answers for every 4 MB that it reads, while it is still written to."""
    sent = [bytes([number]) * (1 << 20) for number in range(32)]
    answers = [bytes([number]) * 60_000 for number in range(8)]
    received = bytearray()

    def answer() -> None:
        for number in range(8):
            goal = (number + 1) << 22
            while len(received) < goal:
                received.extend(other.recv(1 << 16))
            other.sendall(p_data(answers[number]))

    with wired(authority, pacs) as (wire, other):
        thread = threading.Thread(target=answer)
        thread.start()
        wire.write([sent])
        got = [wire.command(time.monotonic() + 10, "none") for _ in answers]
        thread.join()
    assert got == answers
    assert bytes(received) == b"".join(sent)


def test_a_message_of_many_small_pieces_arrives_as_it_was(authority: Authority, pacs: Identity) -> None:
    pieces = [bytes([number % 251]) * (number % 700) for number in range(3000)]
    received = bytearray()
    with wired(authority, pacs) as (wire, other):

        def read() -> None:
            while len(received) < sum(map(len, pieces)):
                received.extend(other.recv(1 << 16))

        thread = threading.Thread(target=read)
        thread.start()
        wire.write([pieces])
        thread.join()
    assert bytes(received) == b"".join(pieces)


def test_an_abort_and_the_end_of_tls_that_come_together_are_an_abort(authority: Authority, pacs: Identity) -> None:
    with wired(authority, pacs) as (wire, other):
        other.sendall(bytes([7, 0, 0, 0, 0, 4, 0, 0, 2, 0]))
        with suppress(OSError):
            other.setblocking(False)
            other.unwrap()
        with pytest.raises(Broken, match="aborted by the peer"):
            wire.command(time.monotonic() + 5, "none")


def test_a_peer_that_ends_tls_and_keeps_the_connection_is_gone_at_once(authority: Authority, pacs: Identity) -> None:
    with wired(authority, pacs) as (wire, other):
        with suppress(OSError):
            other.setblocking(False)
            other.unwrap()
        with pytest.raises(Broken, match="connection lost"):
            wire.command(time.monotonic() + 60, "none")


BAD_RECORD = b"\x17\3\3\0\x20" + bytes(32)


def test_a_bad_record_while_the_peer_is_written_to_breaks_the_association(authority: Authority, pacs: Identity) -> None:
    with wired(authority, pacs) as (wire, other):

        def say_and_read_on() -> None:
            socket.socket.sendall(other, BAD_RECORD)
            time.sleep(1.5)  # by then the write was interrupted for nothing at all, and the record seen
            with suppress(OSError):
                while socket.socket.recv(other, 1 << 20):
                    pass

        thread = threading.Thread(target=say_and_read_on)
        thread.start()
        with pytest.raises(Broken, match="no TLS: "):
            wire.write([[bytes(1 << 20)] * 32])
        other.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_an_answer_counts_that_came_before_a_bad_record_and_the_next_message_is_not_written(
    authority: Authority, pacs: Identity
) -> None:
    with wired(authority, pacs) as (wire, other):
        other.sendall(p_data(b"answer"))
        socket.socket.sendall(other, BAD_RECORD)
        assert wire.command(time.monotonic() + 5, "none") == b"answer"
        with pytest.raises(Broken, match="no TLS: "):
            wire.write([[b"next"]])


def test_a_release_says_good_bye_to_tls_too(authority: Authority, pacs: Identity) -> None:
    with wired(authority, pacs) as (wire, other):
        other.sendall(bytes([6, 0, 0, 0, 0, 4, 0, 0, 0, 0]))
        wire.release(5)
        assert other.recv(100) == bytes([5, 0, 0, 0, 0, 4, 0, 0, 0, 0])
        assert other.recv(100) == b""  # close_notify: without it this would wait


def test_an_instance_under_which_the_peer_aborts_does_not_take_the_others_with_it(
    authority: Authority, pacs: Identity
) -> None:
    scp = AnsweringScp(free_port(), statuses=[0x0000, 0x10000, 0x0000])
    with scp.running(tls=server(pacs)):
        outcomes = list(send(secured(scp.port, authority), [made(), made(), made()]))
    assert [one.verdict for one in outcomes] == ["delivered", "failed", "delivered"]


# --- files that change --------------------------------------------------------------------------------------------


def test_renewed_files_are_used_by_the_next_association(
    authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    shutil.copy(stranger.certificate, ca)
    expired, renewed = authority.signs("was", to_days=-1), authority.signs("is")
    own = Identity(tmp_path / "node.crt", tmp_path / "node.key")
    shutil.copy(expired.certificate, own.certificate)
    shutil.copy(expired.key, own.key)
    scp = AnsweringScp(free_port())
    to = replace(peer_at(0), tls=ClientTls(settings(ca, own)))
    pacs = authority.signs("pacs-renewed")
    with scp.running(tls=server(pacs, clients=authority)):
        to = replace(to, port=scp.port)
        assert "signed by no CA" in echo(to).detail
        shutil.copy(authority.certificate, ca)
        assert "expired" in echo(to).detail
        shutil.copy(renewed.certificate, own.certificate)
        assert "expired" in echo(to).detail  # half renewed, they do not fit: the old ones serve on
        shutil.copy(renewed.key, own.key)
        assert echo(to).ok


def test_files_that_cannot_be_used_are_a_failure_in_words_and_mended_without_a_restart(
    authority: Authority, pacs: Identity, tmp_path: Path
) -> None:
    scp = AnsweringScp(free_port())
    to = replace(peer_at(0), timeouts=LONG, tls=ClientTls(settings(tmp_path / "ca.pem")))
    with scp.running(tls=server(pacs)):
        to = replace(to, port=scp.port)
        reason, needs_a_person = refused(to)
        assert f"tls.ca: {tmp_path / 'ca.pem'} cannot be read: No such file or directory" in reason
        assert needs_a_person
        shutil.copy(authority.certificate, tmp_path / "ca.pem")
        assert echo(to).ok


def test_a_key_may_be_protected_by_a_password(authority: Authority) -> None:
    protected = authority.signs("protected", password=GIVEN.encode())
    assert context_for(settings(authority.certificate, protected, key_password=GIVEN))
    with pytest.raises(TlsError, match=r"tls\.key_password: does not open .*protected\.key"):
        context_for(settings(authority.certificate, protected, key_password=GIVEN[:-1]))
    with pytest.raises(TlsError, match=r"tls\.key: .* is protected by a password: name key_password"):
        context_for(settings(authority.certificate, protected))
