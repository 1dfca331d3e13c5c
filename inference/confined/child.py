"""The process of a model from outside. Walls first: before anything is loaded that might start a thread or read a byte.

    python -m inference.confined.child DESCRIPTOR PARENT

DESCRIPTOR is its end of a pair of sockets. It ends when the other end closes, or when the process PARENT does.
"""

from __future__ import annotations

import os
import socket
import sys

from inference.confined import walls


def main(descriptor: int, parent: int) -> None:
    missing = walls.raise_all(parent)
    from inference.confined.serving import serve

    serve(socket.socket(fileno=descriptor), missing)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
    # Threads of a library that hang must not keep what is to end.
    os._exit(0)
