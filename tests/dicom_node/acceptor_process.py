"""An acceptor as a process of its own: `python -m tests.dicom_node.acceptor_process FOLDER [SABOTAGE]`.

Prints the port and serves until standard input ends. SABOTAGE takes one step of durability away, to show that the tests
would notice.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from storage.objects import file
from tests.dicom_node.serving import serving


def _nothing(*_args: object) -> None:
    return


def _without_file_sync() -> None:
    os.fdatasync = _nothing


def _without_folder_sync() -> None:
    file.sync_folder = _nothing


def _head_after_the_sync() -> None:
    """Sync the object and only then say that it is whole, as one does who never had a power cut."""
    real_write, real_sync = os.pwrite, os.fdatasync
    heads: list[tuple[int, bytes, int]] = []

    def pwrite(descriptor: int, data: bytes | memoryview, at: int) -> int:
        if bytes(data[:8]) == b"DNPACK2+":
            heads.append((descriptor, bytes(data), at))
            return len(data)
        return real_write(descriptor, data, at)

    def fdatasync(descriptor: int) -> None:
        real_sync(descriptor)
        while heads:
            real_write(*heads.pop())

    os.pwrite, os.fdatasync = pwrite, fdatasync  # type: ignore[assignment]


SABOTAGE: Mapping[str, Callable[[], None]] = {
    "no file sync": _without_file_sync,
    "no folder sync": _without_folder_sync,
    "head after the sync": _head_after_the_sync,
}


def main() -> None:
    folder, *sabotage = sys.argv[1:]
    with serving(Path(folder)) as served:
        for name in sabotage:  # now, as the database refuses to start without its syncs
            SABOTAGE[name]()
        print(served.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
