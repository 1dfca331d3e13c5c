"""An acceptor as a process of its own: `python -m tests.fuzz.acceptor_process FOLDER`.

Prints the port and serves until standard input ends. Exceptions that nothing caught go to FOLDER/uncaught, in whatever
thread they were raised.
"""

from __future__ import annotations

import sys
import threading
import traceback
from pathlib import Path

from dicom_node.config_node import Node
from tests.dicom_node.serving import serving


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "uncaught").open("w", encoding="utf-8") as uncaught:

        def record(what: threading.ExceptHookArgs) -> None:
            traceback.print_exception(what.exc_type, what.exc_value, what.exc_traceback, file=uncaught)
            uncaught.flush()

        threading.excepthook = record
        with serving(folder / "node", Node(port=0)) as served:
            print(served.port, flush=True)
            sys.stdin.read()


if __name__ == "__main__":
    main()
