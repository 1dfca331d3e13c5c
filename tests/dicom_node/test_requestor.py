"""The requestor against peers that take, refuse, abort, stall and vanish."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import generate_uid
from pynetdicom.dsutils import decode

from dicom_node.network.connecting import Peer, connected
from dicom_node.network.file_meta import NotPart10, read_file_meta
from dicom_node.network.requestor import MAX_CONTEXTS, Outgoing, echo, send
from dicom_node.network.store_status import meaning_of, rejection_in_words
from tests.dicom_node.peers import (
    LONG,
    SHORT,
    AnsweringScp,
    black_hole,
    data_set_bytes,
    data_sets_in,
    drip_an_acceptance,
    forward_slowly,
    peer_at,
    served,
    storescp,
)
from tests.made_rows import EXPLICIT_VR_LITTLE_ENDIAN, SOP_CLASSES, secondary_capture
from tests.ports import free_port
from tests.waiting import wait_until

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
FindPeer = Callable[[str], str]
ABORT = 0x10000


def made(kind: str = "sc", *, side: int = 32) -> Outgoing:
    uid = generate_uid()
    part10 = secondary_capture("1.2.3", uid, sop_class_uid=SOP_CLASSES[kind], side=side)
    return Outgoing(SOP_CLASSES[kind], uid, EXPLICIT_VR_LITTLE_ENDIAN, part10)


def data_set_of(item: Outgoing) -> bytes:
    assert isinstance(item.part10, bytes)
    return data_set_bytes(item.part10)


def test_storescp_receives_the_data_sets_bit_for_bit(peer: FindPeer, tmp_path: Path) -> None:
    items, port = [made("seg", side=512), made("sr"), made("sc")], free_port()
    with storescp(peer("storescp"), tmp_path, port):
        outcomes = list(send(peer_at(port), items))
    assert [(one.verdict, one.status) for one in outcomes] == [("delivered", 0)] * 3
    assert data_sets_in(tmp_path) == {item.sop_instance_uid: data_set_of(item) for item in items}


def test_all_go_on_one_association_that_proposes_what_is_sent_and_the_default_transfer_syntax() -> None:
    scp, items = AnsweringScp(free_port()), [made("seg"), made("sr"), made("sr")]
    with scp.running():
        assert [one.sop_instance_uid for one in send(peer_at(scp.port), items)] == [
            one.sop_instance_uid for one in items
        ]
    syntaxes = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
    assert scp.contexts == [[(SOP_CLASSES[kind], [syntax]) for kind in ("seg", "sr") for syntax in syntaxes]]
    assert scp.calling == ["DICOM-NODE"]


def test_each_status_has_its_meaning() -> None:
    expected = {
        0x0000: "delivered",
        0xB000: "delivered",
        0xB006: "delivered",
        0xB007: "delivered",
        0x0111: "delivered",
        0xA700: "failed",
        0xA7FF: "failed",
        0x0110: "failed",
        0x0999: "failed",
        0x0122: "refused",
        0x0124: "refused",
        0xA900: "refused",
        0xC000: "refused",
        0xCFFF: "refused",
    }
    scp = AnsweringScp(free_port(), statuses=list(expected))
    with scp.running():
        outcomes = list(send(peer_at(scp.port), [made() for _ in expected]))
    assert {one.status: one.verdict for one in outcomes} == expected
    assert all(f"(0x{one.status:04X})" in one.reason for one in outcomes if one.status)


def test_what_the_peer_comments_is_kept_apart_from_our_own_words() -> None:
    scp = AnsweringScp(free_port(), statuses=[0xC000], comment="Row 7 is odd")
    with scp.running():
        (outcome,) = send(peer_at(scp.port), [made()])
    assert (outcome.comment, outcome.reason) == ("Row 7 is odd", "cannot understand the data set (0xC000)")


@given(st.integers(0, 0xFFFF))
def test_every_status_has_words_and_only_success_and_warnings_mean_delivered(status: int) -> None:
    meaning = meaning_of(status)
    assert meaning.words
    documented = status in {0x0000, 0x0001, 0x0107, 0x0111, 0x0116} or 0xB000 <= status <= 0xBFFF
    assert (meaning.verdict == "delivered") == documented


def test_one_refused_instance_does_not_keep_the_others_from_being_stored() -> None:
    scp = AnsweringScp(free_port(), statuses=[0x0000, 0xC000, 0x0000])
    with scp.running():
        outcomes = list(send(peer_at(scp.port), [made(), made(), made()]))
    assert [one.verdict for one in outcomes] == ["delivered", "refused", "delivered"]
    assert len(scp.contexts) == 1


def test_a_peer_that_knows_the_default_transfer_syntax_alone_gets_the_same_content_in_it() -> None:
    scp, item = AnsweringScp(free_port()), made("seg")
    with scp.running(transfer_syntaxes=[IMPLICIT_VR_LITTLE_ENDIAN]):
        (outcome,) = send(peer_at(scp.port), [item])
    assert outcome.verdict == "delivered"
    assert isinstance(item.part10, bytes)
    original = dcmread(BytesIO(item.part10))
    arrived = decode(BytesIO(scp.received[item.sop_instance_uid]), is_implicit_vr=True, is_little_endian=True)
    assert [(one.tag, one.value) for one in arrived] == [(one.tag, one.value) for one in original]


def test_a_sop_class_that_the_peer_does_not_accept_is_refused_by_name_and_the_rest_is_stored() -> None:
    scp = AnsweringScp(free_port())
    with scp.running(abstract_syntaxes=[SOP_CLASSES["sr"]]):
        seg, sr = send(peer_at(scp.port), [made("seg"), made("sr")])
    assert (seg.verdict, sr.verdict) == ("refused", "delivered")
    assert "PACS1 does not accept Segmentation Storage" in seg.reason


def test_a_peer_that_accepts_no_context_at_all_refuses_each_instance() -> None:
    scp = AnsweringScp(free_port())
    with scp.running(abstract_syntaxes=[SOP_CLASSES["sr"]]):
        outcomes = list(send(peer_at(scp.port), [made("seg"), made("sc")]))
    assert [one.verdict for one in outcomes] == ["refused", "refused"]


def test_a_rejected_association_is_tried_again_but_asks_for_a_person() -> None:
    scp = AnsweringScp(free_port())
    with scp.running(called="OTHER"):
        (outcome,) = send(peer_at(scp.port), [made()])
    assert outcome.verdict == "failed"
    assert outcome.needs_a_person
    assert "association rejected (permanent): called AE title not recognised" in outcome.reason


def test_a_transient_rejection_is_told_as_such() -> None:
    assert rejection_in_words(2, 3, 1) == "association rejected (transient): temporary congestion"
    assert rejection_in_words(1, 1, 9) == "association rejected (permanent): source 1, reason 9"


def test_nobody_listening_is_a_failure_that_names_the_address() -> None:
    port = free_port()
    (outcome,) = send(peer_at(port), [made()])
    assert outcome.verdict == "failed"
    assert f"no connection to 127.0.0.1:{port}" in outcome.reason
    assert not outcome.needs_a_person


def test_an_unknown_host_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_arguments: object, **_named: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # some networks answer for every name
    (outcome,) = send(Peer("PACS1", "no.such.host.invalid", 104, "DICOM-NODE"), [made()])
    assert outcome.verdict == "failed"
    assert "no connection to no.such.host.invalid:104" in outcome.reason


def test_a_peer_that_never_answers_ends_in_a_failure() -> None:
    with black_hole() as port:
        (outcome,) = send(peer_at(port, timeouts=SHORT), [made()])
        answer = echo(peer_at(port, timeouts=SHORT))
    assert outcome.verdict == "failed"
    assert "no answer to the association request within 1 s" in outcome.reason
    assert not answer.ok


def test_a_peer_that_drips_its_answer_does_not_hold_the_sender() -> None:
    with served(drip_an_acceptance) as port:
        (outcome,) = send(peer_at(port, timeouts=SHORT), [made()])
    assert outcome.verdict == "failed"


def test_a_peer_that_freezes_while_it_receives_does_not_hold_the_sender(peer: FindPeer, tmp_path: Path) -> None:
    port, frozen = free_port(), False
    process = subprocess.Popen([peer("storescp"), "+B", "-od", str(tmp_path), str(port)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: echo(peer_at(port)).ok)
        outcomes = []
        stalled = replace(LONG, network_s=1)
        # 64 MB: more than the buffers of both sockets hold.
        for outcome in send(peer_at(port, timeouts=stalled), [made(), made(side=8192)]):
            outcomes.append(outcome.verdict)
            if not frozen:
                os.kill(process.pid, signal.SIGSTOP)
                frozen = True
    finally:
        process.kill()
        process.wait()
    assert outcomes == ["delivered", "failed"]


def test_a_peer_that_vanishes_fails_what_it_did_not_answer_for() -> None:
    with served(lambda connection: connection.recv(10)) as port:
        outcomes = list(send(peer_at(port, timeouts=SHORT), [made(), made()]))
    assert [one.verdict for one in outcomes] == ["failed", "failed"]


def test_an_instance_under_which_the_peer_aborts_does_not_take_the_others_with_it() -> None:
    scp = AnsweringScp(free_port(), statuses=[0x0000, ABORT, 0x0000])
    items = [made(), made(), made(), made()]
    with scp.running():
        outcomes = list(send(peer_at(scp.port), items))
    assert [one.verdict for one in outcomes] == ["delivered", "failed", "delivered", "delivered"]
    assert [one.sop_instance_uid for one in outcomes] == [one.sop_instance_uid for one in items]
    assert len(scp.contexts) == 2


def test_the_time_to_answer_counts_from_the_last_byte_sent() -> None:
    """16 MB at 4 MB/s take longer than the timeout of 3 s; the peer answers as soon as it has them."""
    scp, item = AnsweringScp(free_port()), made(side=4096)
    with (
        scp.running(),
        served(forward_slowly(scp.port, bytes_per_s=4 * 1024**2), receive_buffer_bytes=128 * 1024) as port,
    ):
        (outcome,) = send(peer_at(port, timeouts=replace(LONG, dimse_s=3)), [item])
    assert outcome.verdict == "delivered"
    assert scp.received == {item.sop_instance_uid: data_set_of(item)}


def test_what_cannot_be_read_fails_alone() -> None:
    def vanished() -> bytes:
        raise FileNotFoundError(2, "No such file or directory")

    scp = AnsweringScp(free_port())
    gone = Outgoing(SOP_CLASSES["sc"], "1.2.3", EXPLICIT_VR_LITTLE_ENDIAN, vanished)
    cut = Outgoing(SOP_CLASSES["sc"], "1.2.4", EXPLICIT_VR_LITTLE_ENDIAN, b"no DICOM")
    with scp.running():
        outcomes = list(send(peer_at(scp.port), [gone, cut, made()]))
    assert [one.verdict for one in outcomes] == ["failed", "refused", "delivered"]


def test_more_presentation_contexts_than_an_association_holds_are_refused_before_anything_is_sent() -> None:
    # Each needs two: as stored, and in the default transfer syntax.
    items = [Outgoing(f"1.2.{number}", "1", EXPLICIT_VR_LITTLE_ENDIAN, b"") for number in range(MAX_CONTEXTS // 2 + 1)]
    with pytest.raises(ValueError, match="128 presentation contexts"):
        list(send(peer_at(1), items))


def test_the_socket_sends_without_delay() -> None:
    with black_hole() as port, connected(peer_at(port)) as wire:
        assert wire._connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_echo_tells_whether_the_peer_answers_and_knows_us() -> None:
    scp = AnsweringScp(free_port())
    with scp.running(called="OTHER"):
        known, unknown = echo(peer_at(scp.port, ae_title="OTHER")), echo(peer_at(scp.port))
    assert (known.ok, known.detail) == (True, "C-ECHO answered")
    assert not unknown.ok
    assert "called AE title not recognised" in unknown.detail
    assert not echo(peer_at(scp.port)).ok


def test_the_data_set_is_found_whatever_the_group_length_says() -> None:
    item = made()
    assert isinstance(item.part10, bytes)
    # (0002,0000) is the first element: its value stands 8 bytes after the prefix.
    wrong = item.part10[:140] + bytes(4) + item.part10[144:]
    assert read_file_meta(wrong) == read_file_meta(item.part10)
    assert read_file_meta(wrong).sop_instance_uid == item.sop_instance_uid


@given(st.integers(0, 400))
def test_a_meta_header_that_is_cut_is_no_dicom_file(length: int) -> None:
    item = made()
    assert isinstance(item.part10, bytes)
    named_at = item.part10.index(EXPLICIT_VR_LITTLE_ENDIAN.encode()) + len(EXPLICIT_VR_LITTLE_ENDIAN)
    if length < named_at:
        with pytest.raises(NotPart10):
            read_file_meta(item.part10[:length])
