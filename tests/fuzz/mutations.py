"""Recorded sessions, changed as a broken or hostile sender would change them."""

from __future__ import annotations

import random
import struct

_LENGTHS = (0, 1, 2, 5, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)


def pdus(stream: bytes) -> list[bytes]:
    found, at = [], 0
    while at + 6 <= len(stream):
        (length,) = struct.unpack_from(">I", stream, at + 2)
        found.append(stream[at : at + 6 + length])
        at += 6 + length
    return found


def mutated(session: bytes, chance: random.Random) -> list[bytes]:
    """The parts to send, of which the first is to be answered before the others go out."""
    parts = pdus(session)
    for _ in range(chance.choice((1, 1, 2, 5))):
        _change(parts, chance)
    return parts


def _change(parts: list[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(parts))
    kind = chance.randrange(7)
    if kind == 0:
        parts.insert(at, parts[chance.randrange(len(parts))])
    elif kind == 1 and len(parts) > 1:
        del parts[at]
    elif kind == 2:
        other = chance.randrange(len(parts))
        parts[at], parts[other] = parts[other], parts[at]
    elif kind == 3:
        parts[at] = parts[at][: chance.randrange(len(parts[at]) + 1)]
    else:
        parts[at] = _bytes_changed(parts[at], kind, chance)


def _bytes_changed(part: bytes, kind: int, chance: random.Random) -> bytes:
    """Near the beginning, where headers, commands and the first elements are, more often than elsewhere."""
    changed = bytearray(part or b"\0")
    at = chance.randrange(min(len(changed), chance.choice((12, 64, 256, len(changed)))))
    if kind == 4:
        changed[at] = chance.randrange(256)
    elif kind == 5:
        length = struct.pack(chance.choice("<>") + "I", chance.choice(_LENGTHS))
        changed[at : at + 4] = length[: chance.choice((2, 4))]
    else:
        changed[at:at] = chance.randbytes(chance.randrange(1, 40))
    return bytes(changed)
