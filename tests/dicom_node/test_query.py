"""One C-FIND against whatever may come back: it ends in what was found or in an error that is known, never otherwise."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pynetdicom.dsutils import encode

from dicom_node.network.framing import P_DATA_TF, RELEASE_RQ, BadPdu
from dicom_node.network.query import CONTEXT, Queries, Refused
from dicom_node.network.requested import Association
from dicom_node.network.wire import Broken, Late, Wire

KEYS = {"StudyInstanceUID": "1.2.3", "NumberOfStudyRelatedInstances": ""}


class PlayedWire:
    """What the peer sends, PDU by PDU; then the connection is lost."""

    def __init__(self, pdus: Sequence[tuple[int, bytes]]) -> None:
        self.pdus = list(pdus)

    def write(self, message: Any) -> None:
        assert list(message)

    def pdu(self, deadline: float, none_yet: str) -> tuple[int, bytes]:
        if not self.pdus:
            raise Broken("connection lost")
        return self.pdus.pop(0)


def found(*pdus: tuple[int, bytes]) -> list[dict[str, str]]:
    wire = cast(Wire, PlayedWire(pdus))
    queries = Queries(Association(wire, {CONTEXT: 1}, 0), answers_within_s=60)
    return [dict(one) for one in queries.query("STUDY", KEYS)]


def pdv(value: bytes, *, is_command: bool, is_last: bool = True) -> bytes:
    return struct.pack(">LBB", len(value) + 2, 1, is_command | is_last << 1) + value


def command(status: int, *, has_data_set: bool = False, field: int = 0x8020, answers: int = 1) -> bytes:
    made = Dataset()
    made.CommandField, made.MessageIDBeingRespondedTo = field, answers
    made.CommandDataSetType = 0x0000 if has_data_set else 0x0101
    made.Status = status
    return encode(made, True, True) or b""


def identifier(**values: object) -> bytes:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return encode(made, True, True) or b""


MATCH = identifier(StudyInstanceUID="1.2.3", NumberOfStudyRelatedInstances=8, PatientName="Doe^Jane")
PENDING = pdv(command(0xFF00, has_data_set=True), is_command=True)
END = (P_DATA_TF, pdv(command(0x0000), is_command=True))


def test_of_a_match_only_what_was_asked_for_is_kept() -> None:
    assert found((P_DATA_TF, PENDING), (P_DATA_TF, pdv(MATCH, is_command=False)), END) == [
        {"StudyInstanceUID": "1.2.3", "NumberOfStudyRelatedInstances": "8"}
    ]


def test_answers_may_be_cut_and_joined_as_the_peer_likes() -> None:
    pending, step = command(0xFF01, has_data_set=True), 7
    pieces = [
        pdv(message[at : at + step], is_command=is_command, is_last=at + step >= len(message))
        for message, is_command in ((pending, True), (MATCH, False))
        for at in range(0, len(message), step)
    ]
    as_many_pdus = [(P_DATA_TF, piece) for piece in pieces]
    in_one = (P_DATA_TF, b"".join(pieces) + END[1])
    assert found(*as_many_pdus, END) == found(in_one) != []


@pytest.mark.parametrize(
    ("pdus", "error", "words"),
    [
        ([(P_DATA_TF, pdv(command(0xA700), is_command=True))], Refused, "0xA700: out of resources"),
        ([(P_DATA_TF, pdv(command(0x0000, answers=9), is_command=True))], BadPdu, "does not belong"),
        ([(P_DATA_TF, pdv(command(0x0000, field=0x8001), is_command=True))], BadPdu, "does not belong"),
        ([(P_DATA_TF, pdv(command(0xFF00), is_command=True))], BadPdu, "without an identifier"),
        ([(P_DATA_TF, pdv(MATCH, is_command=False))], BadPdu, "mixed"),
        ([(P_DATA_TF, PENDING), END], BadPdu, "mixed"),
        ([(P_DATA_TF, pdv(b"x" * 70_000, is_command=True))], BadPdu, "more than 65536 bytes"),
        (
            [(P_DATA_TF, PENDING), (P_DATA_TF, pdv(b"\\0" * 300_000, is_command=False))],
            BadPdu,
            "more than 262144 bytes",
        ),
        ([(RELEASE_RQ, b"\\0" * 4)], Broken, "released by the peer before it answered"),
        ([(P_DATA_TF, PENDING)], Broken, "connection lost"),
    ],
)
def test_what_is_no_answer_is_told_in_words(pdus: list[tuple[int, bytes]], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        found(*pdus)


def test_answers_that_come_after_their_time_do_not_count() -> None:
    queries = Queries(Association(cast(Wire, PlayedWire([END])), {CONTEXT: 1}, 0), answers_within_s=-1)
    with pytest.raises(Late):
        list(queries.query("STUDY", KEYS))


PIECES = st.sampled_from([PENDING, pdv(MATCH, is_command=False), END[1], pdv(b"", is_command=False)])
CUT = st.builds(
    lambda piece, at, by: piece[: at % (len(piece) + 1)] + by, PIECES, st.integers(0, 200), st.binary(max_size=9)
)


@given(
    st.lists(
        st.tuples(st.sampled_from([P_DATA_TF] * 9 + [RELEASE_RQ]), PIECES | CUT | st.binary(max_size=40)), max_size=9
    )
)
def test_whatever_comes_it_ends_in_matches_or_in_an_error_that_is_known(pdus: list[tuple[int, bytes]]) -> None:
    try:
        matches = found(*pdus)
    except (Refused, Broken, Late, BadPdu):
        return
    assert all(match.keys() <= KEYS.keys() for match in matches)
