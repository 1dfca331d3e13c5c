"""Receiving: the node against Orthanc, DCMTK's storescp, plain pynetdicom, and a program that copies socket to file.

The same sender replays the same instances, under UIDs that are new in each round, to each of them in turn: on a file system
in memory and on a disk; CT images of 0.5 MB and small ones of 9 kB; on 1, 2 and 4 associations. Every instance must be
answered with status 0x0000. Only the node and Orthanc have what they answered for on the disk by then.
Run: python -m benchmarks.receive [--rounds 5] [--quick] [--medium tmpfs|disk] [--disk FOLDER] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.instances import Instance, made, write_files, write_replay
from benchmarks.peers import NAMES, ORTHANC, OURS, PYNETDICOM, RAW, STORESCP, Acceptor, one_of
from benchmarks.rounds import Bar, Case, Rounds, file_system, machine
from benchmarks.wire import Wire, compiled
from tests.conftest import find_peer
from tests.waiting import wait_until

TMPFS, DISK = "tmpfs", "disk"
APPEND = "append + fdatasync"
CT, SMALL = "CT 0.5 MB", "small 9 kB"
LONG = "CT, far more than was made ready for"
EACH, STOCK = "small, an association each", "CT, stock storescu"
CONNECTIONS = (1, 2, 4)
_WARM_UP_INSTANCES = 5
# An association for each instance takes time enough for it to be asked of fewer.
_EACH_OF = 20
_EACH_OF_THEM = (OURS, STORESCP, PYNETDICOM)
_LONG_TO = (OURS, ORTHANC, STORESCP)
_STOCK_TO = (OURS, ORTHANC, STORESCP)


@dataclass(frozen=True, slots=True)
class Scale:
    rounds: int
    ct: int
    small: int
    long: int  # CT images in a row, in one association


@dataclass(frozen=True, slots=True)
class Material:
    """Where the instances lie: as replayed by kind, and the CT images as files."""

    wire: Wire
    replays: Mapping[str, Path]
    sizes: Mapping[str, int]  # bytes of one data set
    files: Path


def case(kind: str, connections: int, acceptor: str, medium: str) -> Case:
    return kind, f"{connections}", acceptor, medium


def bars() -> list[Bar]:
    """What the node is to reach, against whom."""

    def against(kind: str, connections: int, other: str, medium: str, at_least: float) -> Bar:
        what = f"{kind}, {connections} association{'s' * (connections > 1)}, {medium}: against {other}"
        ours, theirs = (case(kind, connections, one, medium) for one in (OURS, other))
        return Bar(what, ours, theirs, at_least)

    return [
        against(CT, 1, STORESCP, TMPFS, 1.0),
        against(CT, 1, ORTHANC, TMPFS, 4.0),
        against(CT, 1, ORTHANC, DISK, 2.5),
        against(CT, 1, APPEND, DISK, 0.8),
        against(CT, 4, ORTHANC, DISK, 2.5),
        Bar(f"{CT}, {DISK}: 4 associations against 1", case(CT, 4, OURS, DISK), case(CT, 1, OURS, DISK), 1.0),
        against(SMALL, 1, STORESCP, TMPFS, 1.0),
        against(STOCK, 1, ORTHANC, TMPFS, 20.0),
        against(STOCK, 1, STORESCP, TMPFS, 20.0),
        *(
            Bar(f"{EACH}, {medium}: associations a second", case(EACH, 1, OURS, medium), None, 100.0)
            for medium in (TMPFS, DISK)
        ),
    ]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--quick", action="store_true", help="few instances, 3 rounds")
    arguments.add_argument("--medium", choices=[TMPFS, DISK], help="one of the two alone")
    arguments.add_argument("--disk", type=Path, default=Path(".cache"), help="a folder on the disk to measure")
    arguments.add_argument("--json", type=Path, help="a file for the figures of every round")
    given = arguments.parse_args()
    scale = Scale(3, 40, 200, 0) if given.quick else Scale(given.rounds, 200, 1000, 1200)
    console = Console(width=130)
    disk = given.disk.resolve()
    disk.mkdir(exist_ok=True)
    with ExitStack() as folders:
        places = {
            medium: Path(folders.enter_context(tempfile.TemporaryDirectory(dir=parent, prefix=".receive-")))
            for medium, parent in ((TMPFS, Path("/dev/shm")), (DISK, disk))  # noqa: S108 - fresh folders in it
            if given.medium in {None, medium}
        }
        on = machine([find_peer(name) for name in ("Orthanc", "storescp")], places)
        console.print(on)
        measured = measure(places, scale)
    title = f"{scale.rounds} rounds; {scale.ct} CT images, {scale.small} small ones"
    judged = measured.report(title, ("instances", "associations", "acceptor", "medium"), bars(), console)
    if given.json:
        measured.write(given.json, judged, on)


def measure(places: Mapping[str, Path], scale: Scale) -> Rounds:
    """places: an empty folder for each medium. Raises AssertionError where one is not the medium that it stands for."""
    measured = Rounds()
    for medium, place in places.items():
        assert file_system(place).startswith("tmpfs") == (medium == TMPFS), f"{place} is no {medium}"
        # In memory, whatever is received goes to: the sender is no part of what is measured.
        with tempfile.TemporaryDirectory(dir=places.get(TMPFS)) as folder:
            material = prepared(Path(folder), scale)
            _measure_medium(measured, medium, place, material, scale)
    return measured


def prepared(folder: Path, scale: Scale) -> Material:
    ct, small = made("ct", scale.ct), made("small", scale.small)
    replays = {
        CT: ct,
        SMALL: small,
        EACH: small[: max(2, scale.small // _EACH_OF)],
        "warm up": small[:_WARM_UP_INSTANCES],
    }
    if scale.long:
        replays[LONG] = made("ct", scale.long)
    for number, instances in enumerate(replays.values()):
        write_replay(folder / f"{number}.replay", instances)
    paths = {name: folder / f"{number}.replay" for number, name in enumerate(replays)}
    write_files(folder / "files", ct)
    return Material(compiled(folder), paths, {kind: _size(one) for kind, one in replays.items()}, folder / "files")


def _size(instances: Sequence[Instance]) -> int:
    return len(instances[0].data_set)


def _measure_medium(measured: Rounds, medium: str, place: Path, material: Material, scale: Scale) -> None:
    with ExitStack() as running:
        acceptors = [running.enter_context(one_of(name, place, material.wire)) for name in NAMES]
        for acceptor in acceptors:
            _replay(material, acceptor, "warm up", 1)
        for number in range(scale.rounds):
            # Another one begins each time, as each meets what the one before it left the machine to do.
            turn = number % len(acceptors)
            order = [*acceptors[turn:], *acceptors[:turn]]
            _one_round(measured, medium, order, material)
            if medium == DISK:
                for kind, count in ((CT, scale.ct), (SMALL, scale.small)):
                    seconds = append_and_sync(place / "appended", count, material.sizes[kind])
                    measured.add(case(kind, 1, APPEND, medium), count, seconds, count * material.sizes[kind])


def _one_round(measured: Rounds, medium: str, acceptors: Sequence[Acceptor], material: Material) -> None:
    for kind, connections in _kinds():
        for acceptor in acceptors:
            if kind == EACH and acceptor.name not in _EACH_OF_THEM:
                continue
            _settle(medium, acceptors)
            sent = _replay(material, acceptor, kind, connections)
            measured.add(case(kind, connections, acceptor.name, medium), *sent)
            acceptor.tidy()
    for acceptor in acceptors if medium == DISK and LONG in material.replays else ():
        if acceptor.name in _LONG_TO:
            _settle(medium, acceptors)
            measured.add(case(LONG, 1, acceptor.name, medium), *_replay(material, acceptor, LONG, 1))
            acceptor.tidy()
    for acceptor in acceptors if medium == TMPFS else ():
        if acceptor.name in _STOCK_TO:
            _settle(medium, acceptors)
            count = len(list(material.files.iterdir()))
            measured.add(case(STOCK, 1, acceptor.name, medium), count, stock_storescu(acceptor.port, material.files))
            acceptor.tidy()


def _kinds() -> Iterator[tuple[str, int]]:
    for kind in (CT, SMALL):
        for connections in CONNECTIONS:
            yield kind, connections
    yield EACH, 1


def _replay(material: Material, acceptor: Acceptor, kind: str, connections: int) -> tuple[int, float, int]:
    """Instances, seconds and bytes. Raises AssertionError where one of them was not stored."""
    port = acceptor.port if connections == 1 else acceptor.port_for_many
    if acceptor.name == RAW:
        sent = material.wire.send_raw(port, material.replays[kind], connections=connections)
    else:
        sent = material.wire.send(port, material.replays[kind], connections=connections, each=kind == EACH)
    assert sent.succeeded == sent.instances, f"{acceptor.name} stored {sent.succeeded} of {sent.instances} instances"
    return sent.instances, sent.seconds, sent.sent_bytes


def stock_storescu(port: int, files: Path) -> float:
    """Seconds of DCMTK's storescu as it comes, Nagle's algorithm on, in the PDUs that it takes itself; its start counts."""
    command = [find_peer("storescu"), "-aec", "DICOM-NODE", "--max-send-pdu", "16384", "+II", "+sd"]
    environment = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    began = time.monotonic()
    subprocess.run([*command, "127.0.0.1", str(port), str(files)], check=True, capture_output=True, env=environment)
    return time.monotonic() - began


def append_and_sync(path: Path, count: int, size: int) -> float:
    """Seconds in which the disk alone takes as many pieces, one file growing by a synced piece at a time."""
    piece = os.urandom(size)
    _settle(DISK)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        began = time.monotonic()
        for _ in range(count):
            os.write(file, piece)
            os.fdatasync(file)
        return time.monotonic() - began
    finally:
        os.close(file)
        path.unlink()


def _settle(medium: str, acceptors: Sequence[Acceptor] = ()) -> None:
    """What one acceptor left unwritten, or does when nothing comes, is not the next one's to wait for."""
    wait_until(lambda: all(acceptor.rests() for acceptor in acceptors))
    if medium == DISK:
        os.sync()


if __name__ == "__main__":
    main()
