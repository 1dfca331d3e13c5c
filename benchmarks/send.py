"""Sending CT images of 0.5 MB: the node against dcmsend and plain pynetdicom, over maximum PDU lengths, in turn.

The acceptors are a C program that reads and keeps nothing, and DCMTK's storescp. What is timed is the association as the
acceptor sees it, so that no program's start, and no reading of headers before it connects, counts for or against it.
Run: python -m benchmarks.send [--rounds 5] [--instances 400] [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from queue import Queue

from rich.console import Console

from benchmarks.instances import made, write_files
from benchmarks.rounds import Bar, Rounds, machine
from benchmarks.wire import Wire, compiled
from tests.conftest import find_peer
from tests.ports import free_port

PDU_BYTES = (16384, 65536, 131072)
_WIDEST = "131072"
OURS, DCMSEND, PYNETDICOM = "dicom-node send", "dcmsend", "pynetdicom"
SINK, STORESCP = "sink", "storescp"
BARS = (
    *(
        Bar(
            f"to the {SINK}, PDUs of {size}, against {DCMSEND}",
            (OURS, SINK, f"{size}"),
            (DCMSEND, SINK, f"{size}"),
            1.0,
        )
        for size in PDU_BYTES
    ),
    Bar(f"to the {SINK}, against plain {PYNETDICOM}", (OURS, SINK, _WIDEST), (PYNETDICOM, SINK, _WIDEST), 10.0),
    Bar(f"to {STORESCP}, against {DCMSEND}", (OURS, STORESCP, _WIDEST), (DCMSEND, STORESCP, _WIDEST), 1.0),
)
_FOLDER_SENT_S = 300.0
_TRIES = 6
# Now and then one of its threads takes the answer that the other waits for, the more often the more it sends.
_MOST_BY_PYNETDICOM = 60
# DCMTK's tools at their best: as they come, Nagle's algorithm and delayed acknowledgements hold them at 20 to 30 images a second.
_NO_NAGLE = os.environ | {"TCP_NODELAY": "1"}
Sender = Callable[[int, Path], list[str]]
# Yields the association's seconds.
Timed = Callable[[], float]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--instances", type=int, default=400)
    arguments.add_argument("--quick", action="store_true", help="60 instances, 3 rounds")
    arguments.add_argument("--json", type=Path, help="a file for the figures of every round")
    given = arguments.parse_args()
    rounds, instances = (3, 60) if given.quick else (given.rounds, given.instances)
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        on = machine([find_peer(name) for name in ("dcmsend", "storescp")], {"images": Path(folder)})
        measured = measure(Path(folder), rounds, instances)
    console = Console(width=130)
    console.print(on)
    judged = measured.report(
        f"{instances} CT images, {rounds} rounds", ("sender", "acceptor", "maximum PDU bytes"), BARS, console
    )
    if given.json:
        measured.write(given.json, judged, on)


def measure(folder: Path, rounds: int, instances: int) -> Rounds:
    """The folder should be in memory: what is measured is not a disk."""
    images = folder / "images"
    write_files(images, made("ct", instances))
    image_bytes = sum(path.stat().st_size for path in images.iterdir()) // instances
    wire, measured = compiled(folder), Rounds()
    senders: dict[str, Sender] = {OURS: _ours, DCMSEND: _dcmsend, PYNETDICOM: _pynetdicom}
    for _ in range(rounds):
        for pdu_bytes in PDU_BYTES:
            for acceptor, opened in {SINK: _sink, STORESCP: _storescp}.items():
                for name, command in senders.items():
                    # Slow enough to be measured once.
                    if name == PYNETDICOM and (acceptor, str(pdu_bytes)) != (SINK, _WIDEST):
                        continue
                    seconds = _seconds(command, partial(opened, wire, folder, pdu_bytes=pdu_bytes), images)
                    count = min(instances, _MOST_BY_PYNETDICOM) if name == PYNETDICOM else instances
                    measured.add((name, acceptor, str(pdu_bytes)), count, seconds, count * image_bytes)
    return measured


def _seconds(command: Sender, opened: Callable[[int], AbstractContextManager[Timed]], images: Path) -> float:
    """Of an association that went well; plain pynetdicom may need several."""
    for _ in range(_TRIES):
        port = free_port()
        with opened(port) as seconds:
            sent = subprocess.run(
                command(port, images),
                capture_output=True,
                text=True,
                timeout=_FOLDER_SENT_S,
                env=_NO_NAGLE,
                check=False,
            )
            if sent.returncode == 0:
                return seconds()
    raise AssertionError(f"{command(port, images)} failed {_TRIES} times: {sent.stderr[-500:]}")


def _ours(port: int, images: Path) -> list[str]:
    settings = images.parent / "send.yaml"
    settings.write_text("node: {}\n")
    to = f"SINK@127.0.0.1:{port}"
    return [sys.executable, "-m", "dicom_node", "send", str(images), "--to", to, "--config", str(settings)]


def _dcmsend(port: int, images: Path) -> list[str]:
    return [find_peer("dcmsend"), "-aec", "SINK", "+sd", "127.0.0.1", str(port), str(images)]


def _pynetdicom(port: int, images: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "benchmarks.plain_pynetdicom",
        "send",
        str(port),
        str(images),
        str(_MOST_BY_PYNETDICOM),
    ]


@contextmanager
def _sink(wire: Wire, _folder: Path, port: int, pdu_bytes: int) -> Iterator[Timed]:
    with wire.sink(port, pdu_bytes) as said:
        yield lambda: float(said.readline().split()[0])


@contextmanager
def _storescp(_wire: Wire, folder: Path, port: int, pdu_bytes: int) -> Iterator[Timed]:
    """Tells by what it logs when an association begins and ends."""
    into = folder / "storescp"
    into.mkdir(exist_ok=True)
    times: Queue[float] = Queue()
    command = [find_peer("storescp"), "-v", "+B", "-pdu", str(pdu_bytes), "-od", str(into), str(port)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=_NO_NAGLE
    ) as process:
        assert process.stderr
        threading.Thread(target=_note_times, args=[process.stderr, times], daemon=True).start()
        try:
            time.sleep(0.3)  # a connection to see whether it listens would count as an association
            yield lambda: -times.get(timeout=10) + times.get(timeout=10)
        finally:
            process.kill()


def _note_times(lines: Iterator[str], times: Queue[float]) -> None:
    for line in lines:
        if "Association Received" in line or "Association Release" in line:
            times.put(time.monotonic())


def _memory() -> str | None:
    shared_memory = Path("/dev/shm")  # noqa: S108 - a fresh folder is made in it
    return str(shared_memory) if shared_memory.is_dir() else None


if __name__ == "__main__":
    main()
