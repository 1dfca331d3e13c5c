"""A sender's stream ends at any byte: of what came in part nothing is visible and nothing stays."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from dicom_node.network.store_message import data_pdu
from tests.dicom_node.raw_scu import read_pdu
from tests.dicom_node.serving import eventually, serving
from tests.dicom_node.test_receive import RELEASE, STORE, _association_request, store_command
from tests.faults.checks import assert_nothing_lost_or_torn, image

INSTANCES = 3
FRAGMENT_BYTES = 3000
SUCCESS = struct.pack("<HHIH", 0, 0x0900, 2, 0)


class Stream:
    """What a requestor sends: association request, instances of their own UIDs, and release."""

    def __init__(self, first_number: int) -> None:
        images = [image(first_number + offset) for offset in range(INSTANCES)]
        self.images = dict(images)
        self.parts = [_association_request(), *(_message(*one) for one in images), RELEASE]
        self.length = sum(map(len, self.parts))

    def send(self, port: int, cut_at: int, *, is_reset: bool) -> dict[str, bytes]:
        """Each part once the one before it is answered, up to the byte where it is cut; what was acknowledged."""
        acknowledged: dict[str, bytes] = {}
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            left = cut_at
            for part, told in zip(self.parts, [None, *self.images, None], strict=True):
                connection.sendall(part[:left])
                left -= len(part)
                if left < 0:
                    break
                answer = read_pdu(connection)
                if told is not None:
                    assert SUCCESS in answer
                    acknowledged[told] = self.images[told]
                if not left:
                    break
            if is_reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return acknowledged


def _message(sop_instance_uid: str, payload: bytes) -> bytes:
    """A C-STORE request in several P-DATA-TF PDUs."""
    cuts = range(0, len(payload), FRAGMENT_BYTES)
    fragments = [
        data_pdu(STORE, payload[at : at + FRAGMENT_BYTES], is_command=False, is_last=at == cuts[-1]) for at in cuts
    ]
    return data_pdu(STORE, store_command(sop_instance_uid), is_command=True, is_last=True) + b"".join(fragments)


def _offsets(count: int, seed: int) -> list[int]:
    """The first and last bytes of each part and of its PDU and value headers, and others by chance."""
    stream, edges, at = Stream(0), {1, 5, 6}, 0
    for part in stream.parts:
        at += len(part)
        edges |= {at - 1, at, at + 1, at + 6, at + 7, at + 11, at + 12, at + 13}
    edges = {edge for edge in edges if 0 < edge <= stream.length}
    rest = sorted(set(range(1, stream.length)) - edges)
    return sorted(edges | set(random.Random(seed).sample(rest, count - len(edges))))


def _cut_at(folder: Path, offsets: list[int]) -> None:
    sent: dict[str, bytes] = {}
    acknowledged: dict[str, bytes] = {}
    with serving(folder) as served:
        for number, offset in enumerate(offsets):
            stream = Stream(INSTANCES * number)
            whole = stream.send(served.port, offset, is_reset=bool(number % 2))
            sent |= stream.images
            acknowledged |= whole
        assert len(acknowledged) > len(offsets) // 2
        assert eventually(lambda: _is_visible_only(served.data_sets, sent, acknowledged))
    assert_nothing_lost_or_torn(folder, acknowledged, sent)


def _is_visible_only(
    data_sets: Callable[[], dict[str, list[bytes]]], sent: dict[str, bytes], acknowledged: dict[str, bytes]
) -> bool:
    """While the acceptor runs: what is visible is whole, and all that was acknowledged is visible."""
    visible = data_sets()
    return visible.keys() >= acknowledged.keys() and all(visible[uid] == [sent[uid]] for uid in visible)


def test_a_stream_cut_at_any_byte_leaves_what_was_acknowledged_and_nothing_else(tmp_path: Path) -> None:
    _cut_at(tmp_path, _offsets(60, seed=1))


@pytest.mark.long
def test_a_stream_cut_at_five_hundred_bytes_leaves_what_was_acknowledged(tmp_path: Path) -> None:
    _cut_at(tmp_path, _offsets(500, seed=2))
