"""Compiles and drives wire.c: a sender and receivers that cost next to nothing."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO

_SOURCE = Path(__file__).with_name("wire.c")
# Other digits in each round of each run, as an acceptor that lives longer would know the UIDs again.
_rounds = count(secrets.randbelow(8 * 10**9) + 10**9)


class NoCompiler(Exception):
    """A C compiler (gcc or cc) is needed for the programs at the other end"""


@dataclass(frozen=True, slots=True)
class Sent:
    seconds: float
    instances: int
    succeeded: int  # answered with status 0x0000
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class Wire:
    program: Path

    def send(self, port: int, replay: Path, *, connections: int = 1, each: bool = False) -> Sent:
        """Replay instances as C-STORE requests. each: an association for each instance. Time begins after the first."""
        return self._sent(["send", str(port), str(replay), str(connections), str(int(each))])

    def send_raw(self, port: int, replay: Path, *, connections: int = 1) -> Sent:
        """The same bytes to `receiving_raw`."""
        return self._sent(["raw-send", str(port), str(replay), str(connections)])

    @contextmanager
    def sink(self, port: int, max_pdu_bytes: int) -> Iterator[IO[str]]:
        """A storage SCP that keeps nothing. Yields what it says at each association's end: its seconds and bytes."""
        with self._receiving(["sink", str(port), str(max_pdu_bytes)]) as said:
            yield said

    @contextmanager
    def receiving_raw(self, port: int, folder: Path) -> Iterator[IO[str]]:
        """A program that copies from the socket to a file for each message."""
        with self._receiving(["raw-receive", str(port), str(folder)]) as said:
            yield said

    def _sent(self, arguments: list[str]) -> Sent:
        with subprocess.Popen(
            [self.program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin
            assert process.stdout
            assert process.stdout.readline() == "ready\n", "the sender found no acceptor"
            process.stdin.write(f"{next(_rounds):010d}\n")
            process.stdin.flush()
            said = process.stdout.readline().split()
        assert len(said) == 4, "the sender was cut off"
        return Sent(float(said[0]), *(int(one) for one in said[1:]))

    @contextmanager
    def _receiving(self, arguments: list[str]) -> Iterator[IO[str]]:
        with subprocess.Popen([self.program, *arguments], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            try:
                assert process.stdout.readline() == "ready\n"
                yield process.stdout
            finally:
                process.kill()


def compiled(folder: Path) -> Wire:
    """wire.c as a program in the folder. Raises NoCompiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise NoCompiler("wire.c needs a C compiler: install gcc")
    program = folder / "wire"
    subprocess.run([compiler, "-O2", "-pthread", "-o", str(program), str(_SOURCE)], check=True)
    return Wire(program)
