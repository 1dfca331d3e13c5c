"""C-STORE requests as PDUs, read back by rules written out here and by pynetdicom, and answers as peers cut them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from io import BytesIO
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.dsutils import decode
from pynetdicom.pdu import P_DATA_TF

from dicom_node.network.framing import (
    LARGEST_PDU_BYTES,
    PIECES_AT_ONCE,
    BadPdu,
    Piece,
    Response,
    command_fragments,
    echo_command,
    echo_response,
    fragment_bytes,
    framed,
    store_command,
    store_response,
)

MAXIMA = st.one_of(st.integers(8, 64), st.integers(65, 300_000), st.sampled_from([0, 16_384, 131_072, 2**32 - 1]))


def pdvs(pdu: bytes) -> list[tuple[int, int, bytes]]:
    """(context ID, message control header, fragment) of each PDV, as PS3.8 tables 9-22 and 9-23 have them."""
    found, at = [], 6
    while at < len(pdu):
        (length,) = struct.unpack_from(">L", pdu, at)
        found.append((pdu[at + 4], pdu[at + 5], pdu[at + 6 : at + 4 + length]))
        at += 4 + length
    assert at == len(pdu)
    return found


def pdus(pieces: Sequence[Piece]) -> list[bytes]:
    stream, at, found = b"".join(bytes(piece) for piece in pieces), 0, []
    while at < len(stream):
        kind, reserved, length = struct.unpack_from(">BBL", stream, at)
        assert (kind, reserved) == (0x04, 0)
        found.append(stream[at : at + 6 + length])
        assert len(found[-1]) == 6 + length
        at += 6 + length
    return found


@given(st.integers(1, 20_000).map(lambda half: 2 * half), MAXIMA, st.integers(0, 127).map(lambda one: 2 * one + 1))
def test_every_message_comes_out_as_it_went_in_and_no_pdu_exceeds_the_maximum(
    size: int, max_pdu_bytes: int, context_id: int
) -> None:
    data_set = bytes(number * 31 % 251 for number in range(size))
    command = store_command(7, "1.2.840.10008.5.1.4.1.1.2", "1.2.3")
    batches = list(framed(context_id, command, memoryview(data_set), max_pdu_bytes))
    assert all(len(batch) <= PIECES_AT_ONCE for batch in batches)
    sent = pdus([piece for batch in batches for piece in batch])
    assert all(len(pdu) - 6 <= (max_pdu_bytes or LARGEST_PDU_BYTES) for pdu in sent)
    parts = [one for pdu in sent for one in pdvs(pdu)]
    assert {context for context, _, _ in parts} == {context_id}
    controls = [control for _, control, _ in parts]
    commands = controls.index(0x03) + 1
    assert controls == [0x01] * (commands - 1) + [0x03] + [0x00] * (len(parts) - commands - 1) + [0x02]
    assert b"".join(fragment for _, _, fragment in parts[:commands]) == command
    assert b"".join(fragment for _, _, fragment in parts[commands:]) == data_set
    assert all(fragment and len(fragment) % 2 == 0 for _, _, fragment in parts)


@pytest.mark.parametrize("beyond", [-2, 0, 2])
def test_a_data_set_that_just_fills_its_pdus_has_no_empty_one_behind_it(beyond: int) -> None:
    most = fragment_bytes(16_384)
    (pieces,) = framed(1, store_command(1, "1.2", "1.3"), memoryview(bytes(3 * most + beyond)), 16_384)
    sizes = [len(fragment) for pdu in pdus(pieces)[1:] for _, _, fragment in pdvs(pdu)]
    assert sizes == [most] * 3 + [2] if beyond > 0 else [most, most, most + beyond]


@given(MAXIMA)
def test_pynetdicom_reads_the_request(max_pdu_bytes: int) -> None:
    data_set = bytes(range(256)) * 4
    message, is_whole = C_STORE_RQ(), False
    command = store_command(65_535, "1.2.840.10008.5.1.4.1.1.2", "1.2.826.0.1.3680043.1")
    for batch in framed(3, command, memoryview(data_set), max_pdu_bytes):
        for one in pdus(batch):
            pdu = P_DATA_TF()
            pdu.decode(one)
            is_whole = message.decode_msg(pdu.to_primitive())
    assert is_whole
    request = message.message_to_primitive()
    assert isinstance(request, C_STORE)
    assert request.is_valid_request
    assert (request.MessageID, request.AffectedSOPClassUID) == (65_535, "1.2.840.10008.5.1.4.1.1.2")
    assert request.AffectedSOPInstanceUID == "1.2.826.0.1.3680043.1"
    assert request.DataSet is not None
    assert request.DataSet.getvalue() == data_set


def test_the_command_is_implicit_vr_little_endian_with_its_group_length_first() -> None:
    command = store_command(1, "1.2", "1.2.3")
    decoded = decode(BytesIO(command), is_implicit_vr=True, is_little_endian=True)
    assert [element.tag.element for element in decoded] == [0x0000, 0x0002, 0x0100, 0x0110, 0x0700, 0x0800, 0x1000]
    assert decoded.CommandGroupLength == len(command) - 12


@pytest.mark.parametrize("maximum", [1, 6, 7])
def test_a_maximum_length_without_room_for_data_is_refused(maximum: int) -> None:
    with pytest.raises(BadPdu, match=f"maximum length of {maximum} bytes"):
        list(framed(1, b"ab", memoryview(b"ab"), maximum))


def response(status: int = 0, comment: str = "") -> bytes:
    """A C-STORE response as pynetdicom encodes it."""
    answer = C_STORE()
    answer.MessageIDBeingRespondedTo = 7
    answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID = "1.2", "1.2.3"
    answer.Status = status
    if comment:
        answer.ErrorComment = comment
    message = C_STORE_RSP()
    message.primitive_to_message(answer)
    parts = [value for data in message.encode_msg(1, 0) for _, value in data.presentation_data_value_list]
    return b"".join(part[1:] for part in parts)


def test_an_answer_of_pynetdicom_is_read() -> None:
    assert store_response(response(0xA900, "Rows is odd")) == Response(7, 0xA900, "Rows is odd")


@given(st.lists(st.integers(1, 200), max_size=6), st.data())
def test_a_command_is_found_in_whatever_pdvs_it_comes(cuts: list[int], data: st.DataObject) -> None:
    """Fragments of any size, and fragments of a data set between them, which are none of the command."""
    command = response(0xB000, "coerced")
    edges = sorted({0, len(command), *(cut for cut in cuts if cut < len(command))})
    field, expected = b"", []
    for begin, end in pairwise(edges):
        if data.draw(st.booleans()):
            field += struct.pack(">LBB", 4, 1, 0x00) + b"xy"
        is_last = end == len(command)
        field += struct.pack(">LBB", end - begin + 2, 1, 0x03 if is_last else 0x01) + command[begin:end]
        expected.append((command[begin:end], is_last))
    assert list(command_fragments(memoryview(field))) == expected


@given(st.binary(max_size=200))
def test_bytes_from_a_peer_are_read_or_refused_and_nothing_else(field: bytes) -> None:
    try:
        for fragment, _ in command_fragments(memoryview(field)):
            assert fragment in field
        store_response(field)
    except BadPdu:
        return


def test_an_answer_that_is_cut_before_its_status_ends_is_no_answer() -> None:
    whole = response()
    status_ends_at = whole.index(struct.pack("<HHL", 0, 0x0900, 2)) + 10
    for length in range(status_ends_at):
        try:
            assert store_response(whole[:length]) is None
        except BadPdu:
            continue


def test_what_a_peer_comments_is_cut_to_what_the_standard_allows_and_to_what_prints() -> None:
    comment = b"Row 7\x1b[2J\r\n is odd" + b"!" * 200
    elements = b"".join(
        struct.pack("<HHL", 0, element, len(value)) + value
        for element, value in ((0x0100, b"\1\x80"), (0x0120, b"\7\0"), (0x0900, b"\0\xc0"), (0x0902, comment))
    )
    answer = store_response(elements)
    assert answer is not None
    assert answer.comment == ("Row 7[2J is odd" + "!" * 200)[:64]


def test_another_command_is_no_c_store_response() -> None:
    assert store_response(store_command(7, "1.2", "1.2.3")) is None
    assert store_response(echo_command(7)) is None
    assert echo_response(response()) is None


def test_pynetdicom_reads_an_echo() -> None:
    message = C_ECHO_RQ()
    ((pieces),) = framed(1, echo_command(7), None, 16_384)
    (one,) = pdus(pieces)
    pdu = P_DATA_TF()
    pdu.decode(one)
    assert message.decode_msg(pdu.to_primitive())
    request = message.message_to_primitive()
    assert isinstance(request, C_ECHO)
    assert (request.MessageID, request.AffectedSOPClassUID) == (7, "1.2.840.10008.1.1")
