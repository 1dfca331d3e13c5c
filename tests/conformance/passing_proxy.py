"""A proxy on loopback that remembers what a sender sent and what it was answered, whoever the sender is."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from dicom_node.network.file_meta import read_file_meta
from storage.objects.file import FileStore
from tests.dicom_node.peers import served

_P_DATA_TF, _ASSOCIATE_AC = 4, 2
_C_STORE_RQ, _C_STORE_RSP = 0x0001, 0x8001
_AFFECTED_SOP_CLASS, _FIELD, _STATUS, _AFFECTED_SOP_INSTANCE = 0x0002, 0x0100, 0x0900, 0x1000


@dataclass(frozen=True)
class Sent:
    """One C-STORE: what it said, the data set as it went over the line, and its answer (None: there was none)."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: bytes
    status: int | None


class PassingProxy:
    def __init__(self, acceptor_port: int) -> None:
        self._acceptor_port = acceptor_port
        self._lines: list[tuple[bytearray, bytearray]] = []
        self.port = 0

    @contextmanager
    def running(self) -> Iterator[PassingProxy]:
        with served(self._serve) as self.port:
            yield self

    def sent(self) -> list[Sent]:
        return [one for there, back in self._lines for one in _stores(bytes(there), bytes(back))]

    def _serve(self, sender: socket.socket) -> None:
        there, back = bytearray(), bytearray()
        self._lines.append((there, back))
        with socket.create_connection(("127.0.0.1", self._acceptor_port)) as acceptor:
            for one in (sender, acceptor):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            backwards = threading.Thread(target=_pass_on, args=(acceptor, sender, back))
            backwards.start()
            _pass_on(sender, acceptor, there)
            backwards.join()


def _pass_on(origin: socket.socket, target: socket.socket, passed: bytearray) -> None:
    with suppress(OSError):
        while data := origin.recv(1 << 18):
            passed += data
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _stores(there: bytes, back: bytes) -> list[Sent]:
    syntaxes = _accepted_syntaxes(back)
    statuses = [
        struct.unpack("<H", command[_STATUS])[0]
        for _, command, _ in _messages(back)
        if command[_FIELD] == _C_STORE_RSP.to_bytes(2, "little")
    ]
    requests = [
        (context, command, data_set)
        for context, command, data_set in _messages(there)
        if command[_FIELD] == _C_STORE_RQ.to_bytes(2, "little")
    ]
    return [
        Sent(
            _uid(command[_AFFECTED_SOP_CLASS]),
            _uid(command[_AFFECTED_SOP_INSTANCE]),
            syntaxes[context],
            data_set,
            statuses[number] if number < len(statuses) else None,
        )
        for number, (context, command, data_set) in enumerate(requests)
    ]


def _messages(stream: bytes) -> Iterator[tuple[int, dict[int, bytes], bytes]]:
    """Context ID, command elements and data set of each DIMSE message (PS3.8 annex E)."""
    commands: list[tuple[int, dict[int, bytes]]] = []
    data_sets: list[bytes] = []
    command, data_set = b"", b""
    for kind, body in _pdus(stream):
        at = 0
        while kind == _P_DATA_TF and at < len(body):
            length, context, control = struct.unpack_from(">IBB", body, at)
            value = body[at + 6 : at + 4 + length]
            at += 4 + length
            if control & 1:
                command += value
                if control & 2:
                    commands.append((context, _elements(command)))
                    data_sets.append(b"")
                    command = b""
            else:
                data_set += value
                if control & 2:
                    data_sets[-1], data_set = data_set, b""
    for (context, elements), payload in zip(commands, data_sets, strict=True):
        yield context, elements, payload


def _pdus(stream: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 6 <= len(stream):
        kind, length = struct.unpack_from(">BxI", stream, at)
        yield kind, stream[at + 6 : at + 6 + length]
        at += 6 + length


def _elements(command: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at < len(command):
        _, number, length = struct.unpack_from("<HHI", command, at)
        found[number] = command[at + 8 : at + 8 + length]
        at += 8 + length
    return found


def _accepted_syntaxes(back: bytes) -> dict[int, str]:
    """Of the A-ASSOCIATE-AC, by presentation context ID (PS3.8 9.3.3)."""
    accepted: dict[int, str] = {}
    for kind, body in _pdus(back):
        at = 68
        while kind == _ASSOCIATE_AC and at < len(body):
            item, length = struct.unpack_from(">BxH", body, at)
            content = body[at + 4 : at + 4 + length]
            if item == 0x21 and content[2] == 0:
                accepted[content[0]] = _uid(content[8:])
            at += 4 + length
    return accepted


def _uid(raw: bytes) -> str:
    return raw.rstrip(b"\0 ").decode("ascii")


def stored_data_sets(objects: FileStore) -> dict[tuple[str, str], set[bytes]]:
    """By SOP Instance UID and transfer syntax."""
    found: dict[tuple[str, str], set[bytes]] = {}
    for key in objects.keys():  # noqa: SIM118 - no dict
        file = objects.get(key)
        meta = read_file_meta(file)
        found.setdefault((meta.sop_instance_uid, meta.transfer_syntax_uid), set()).add(file[meta.data_set_at :])
    return found
