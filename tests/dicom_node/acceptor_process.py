"""An acceptor as a process of its own: `python -m tests.dicom_node.acceptor_process FOLDER [SABOTAGE]`.

Prints the port and serves until standard input ends. SABOTAGE takes one step of durability away, to show that the tests
would notice.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.pool import Pool

from storage.objects import file
from tests.dicom_node.serving import serving


def _nothing(*_args: object) -> None:
    return


def _without_file_sync() -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if not Path(f"/proc/self/fd/{descriptor}").resolve().is_file():
            real(descriptor)

    os.fsync = fsync  # type: ignore[assignment]


def _without_folder_sync() -> None:
    file._sync = _nothing


def _without_commit_sync() -> None:
    event.listen(Pool, "checkout", lambda connection, *_: connection.execute("PRAGMA synchronous=OFF"))


def _in_place() -> None:
    """Write under the final name at once, as one does who never had a power cut."""

    def put(self: file.FileStore, key: str, chunks: list[bytes | memoryview]) -> None:
        path = self._path(key)
        self._make_durable(path.parent)
        self._write(path, chunks)
        file._sync(path.parent)

    file.FileStore.put = put  # type: ignore[method-assign, assignment]


SABOTAGE: Mapping[str, Callable[[], None]] = {
    "no file sync": _without_file_sync,
    "no folder sync": _without_folder_sync,
    "no commit sync": _without_commit_sync,
    "no rename": _in_place,
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
