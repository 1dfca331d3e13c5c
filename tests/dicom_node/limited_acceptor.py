"""An acceptor as a process of its own: `python -m tests.dicom_node.limited_acceptor FOLDER NODE`, NODE in JSON.

Prints the port and serves until standard input ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dicom_node.config_node import Node
from tests.dicom_node.serving import serving
from tests.processes import exit_status


@dataclass
class AcceptorProcess:
    port: int
    pid: int

    def memory_bytes(self) -> int:
        """Resident now."""
        return self._status("VmRSS")

    def peak_bytes(self) -> int:
        """Most that was resident since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")

    def threads(self) -> int:
        return self._status("Threads", unit=1)

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def _status(self, field: str, unit: int = 1024) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * unit


@contextmanager
def acceptor_process(folder: Path, node: str) -> Iterator[AcceptorProcess]:
    command = [sys.executable, "-m", "tests.dicom_node.limited_acceptor", str(folder), node]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield AcceptorProcess(int(process.stdout.readline()), process.pid)
        finally:
            status = exit_status(process)
    assert status == 0


def main() -> None:
    folder, node = sys.argv[1:]
    with serving(Path(folder), Node.model_validate(json.loads(node))) as served:
        print(served.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
