"""Acknowledging at once what came: whoever sends with Nagle's algorithm on waits for it.

DCMTK's tools hold the end of each message back until the rest is acknowledged, which a kernel may delay by 40 ms. The
option falls back by itself, so it is set anew each time.
"""

from __future__ import annotations

import socket
from contextlib import suppress

# Linux alone has it; elsewhere the peer waits for the delayed acknowledgement, as with any other program.
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


def acknowledge_now(connection: socket.socket) -> None:
    """Nothing where the connection is closed: whoever reads from it next finds out."""
    if _QUICKACK is not None:
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
