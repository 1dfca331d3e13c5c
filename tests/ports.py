"""TCP ports for programs that must be told theirs before they listen."""

from __future__ import annotations

import errno
import secrets
import socket
from pathlib import Path

# Below those that the kernel takes for outgoing connections (32768 and up): none of these ends up on a port handed out.
_FIRST, _COUNT = 20_000, 12_000
_TRIES = 1_000
_LISTEN = "0A"  # TCP_LISTEN, as /proc/net/tcp writes it
# What this process has claimed; the kernel lets go of it when the process ends, however it ends.
_claims: list[socket.socket] = []


def free_port() -> int:
    """A TCP port that nobody listens on, and that no other process of the tests is given while this one lives.

    A port that is only looked up may be another's by the time a program listens on it.
    """
    for _ in range(_TRIES):
        port = _FIRST + secrets.randbelow(_COUNT)
        if _claim(port) and _is_unused(port):
            return port
    raise RuntimeError(f"no free port was found between {_FIRST} and {_FIRST + _COUNT} in {_TRIES} tries")


def _claim(port: int) -> bool:
    """Whether the port is ours now, by a name that one socket on a machine can have (unix(7), abstract)."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0dicom-node tests, port {port}")
    except OSError as error:
        claim.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    _claims.append(claim)
    return True


def _is_unused(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def listens(port: int) -> bool:
    """Whether a program listens on the port, by the kernel's table: a connection that says nothing would be served."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text(encoding="ascii").splitlines()[1:] if Path(table).exists() else []:
            _, local, _, state, *_ = line.split()
            if state == _LISTEN and local.endswith(f":{port:04X}"):
                return True
    return False
