"""Made data sets in well-formed C-STORE requests: each of them is answered, and what is taken in stays as it was sent."""

from __future__ import annotations

import hashlib
import random
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field

from tests.dicom_node.raw_scu import read_pdu
from tests.dicom_node.test_receive import RELEASE, store_command
from tests.encoded import CT_IMAGE_STORAGE
from tests.fuzz.data_sets import SYNTAXES, made

# What a data set may be answered with (PS3.4 B.2.3): stored, not as commanded or not identified, not understood.
ANSWERS = frozenset((0x0000, 0xA900, 0xC000))
_PDU_BYTES = 16384
_ACCEPTED, _RELEASED = 2, 6
CONTEXTS = {uid: 1 + 2 * number for number, uid in enumerate(SYNTAXES)}


@dataclass
class Told:
    """Digests of what was acknowledged, by SOP Instance UID; how many got which answer; what went wrong."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    answers: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def association_request() -> bytes:
    """Each transfer syntax in a presentation context of its own."""
    contexts = b"".join(
        _item(0x20, struct.pack(">B3x", number) + _item(0x30, CT_IMAGE_STORAGE.encode()) + _item(0x40, uid.encode()))
        for uid, number in CONTEXTS.items()
    )
    return request_of(contexts)


def request_of(contexts: bytes) -> bytes:
    """An A-ASSOCIATE-RQ with these presentation context items (PS3.8 9.3.2)."""
    user = _item(0x50, _item(0x51, struct.pack(">I", _PDU_BYTES)) + _item(0x52, b"1.2.3.4"))
    names = b"DICOM-NODE".ljust(16) + b"GRAMMAR".ljust(16) + bytes(32)
    body = struct.pack(">HH", 1, 0) + names + _item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + user
    return struct.pack(">BxI", 1, len(body)) + body


def play(port: int, name: str, chance: random.Random, told: Told) -> None:
    """One association with a few data sets."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(association_request())
        if read_pdu(connection)[0] != _ACCEPTED:
            told.wrong.append(f"{name}: not accepted")
            return
        for number in range(chance.choice((1, 1, 2, 4))):
            uid = f"9.{name}.{number}"
            syntax = chance.choice(SYNTAXES)
            payload = made(uid, syntax, chance)
            connection.sendall(_request(uid, syntax, payload, chance))
            status = _status(read_pdu(connection))
            with told.lock:
                told.answers[status] += 1
                if status == 0:
                    told.acknowledged[uid] = digest(payload)
                elif status not in ANSWERS:
                    told.wrong.append(f"{uid}: {status:04X} to {payload!r} in {syntax}")
        connection.sendall(RELEASE)
        if read_pdu(connection)[0] != _RELEASED:
            told.wrong.append(f"{name}: not released")


def digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()


def _request(uid: str, syntax: str, payload: bytes, chance: random.Random) -> bytes:
    fragment_bytes = chance.choice((100, 1000, 16000))
    cuts = range(0, max(1, len(payload)), fragment_bytes)
    values = [(True, True, store_command(uid))]
    values += [(False, at == cuts[-1], payload[at : at + fragment_bytes]) for at in cuts]
    return b"".join(
        struct.pack(">BxIIBB", 4, len(part) + 6, len(part) + 2, CONTEXTS[syntax], is_command | is_last << 1) + part
        for is_command, is_last, part in values
    )


def _status(pdu: bytes) -> int:
    """Of a C-STORE response; -1 where it is none."""
    command, at = pdu[12:], 0
    while pdu[0] == 4 and at + 8 <= len(command):
        _, element, length = struct.unpack_from("<HHI", command, at)
        if element == 0x0900:
            return int(struct.unpack_from("<H", command, at + 8)[0])
        at += 8 + length
    return -1


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content
