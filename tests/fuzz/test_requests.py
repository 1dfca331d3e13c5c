"""Association requests that the library cannot negotiate: they are aborted, and nothing of them stays."""

from __future__ import annotations

import socket
import struct
import threading
from pathlib import Path

import pytest

from tests.dicom_node.serving import eventually, serving
from tests.encoded import CT_IMAGE_STORAGE, EXPLICIT_LITTLE
from tests.fuzz.stores import _item, request_of

ABORT = 7
_CT = _item(0x30, CT_IMAGE_STORAGE.encode())
_EXPLICIT = _item(0x40, EXPLICIT_LITTLE.encode())
_ID = struct.pack(">B3x", 1)


@pytest.mark.parametrize(
    "context",
    [_ID + _EXPLICIT, _ID + _CT, _ID, _ID + _item(0x30, b"") + _EXPLICIT, _ID + _CT + _item(0x40, b"")],
    ids=["no abstract syntax", "no transfer syntax", "neither", "empty abstract syntax", "empty transfer syntax"],
)
def test_a_context_that_lacks_a_part_costs_its_peer_the_association_and_the_node_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: bytes
) -> None:
    died: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda told: died.append(told.exc_value))
    good = _item(0x20, struct.pack(">B3x", 3) + _CT + _EXPLICIT)
    with serving(tmp_path) as served:
        threads = threading.active_count()
        for contexts in (_item(0x20, context), good + _item(0x20, context)):
            with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
                connection.sendall(request_of(contexts))
                answer = connection.recv(1000)
                assert answer
                if answer[0] == ABORT:
                    assert connection.recv(1000) == b""
        assert eventually(lambda: not served.acceptor._active())
        assert eventually(lambda: threading.active_count() <= threads)
    assert died == []
