"""A program that stays: it answers each line with a line of JSON."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

NODE, PEER = "dicom-node", "MONAI"
TUNED = "tuned"
MODULES = {NODE: "benchmarks.inference_node", PEER: "benchmarks.inference_peer"}


class Warm:
    """`with Warm(...) as one: one.ask("run")`."""

    def __init__(self, program: str, python: str, bundle: Path, folder: Path, device: str, *more: str) -> None:
        """folder: of `benchmarks.volume.write`. more: arguments of the program alone."""
        self.program = program
        images = folder / "files" if program == PEER else folder
        self._process = subprocess.Popen(
            [python, "-m", MODULES[program], str(bundle), str(images), device, *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, words: str) -> Mapping[str, float]:
        """Raises RuntimeError where the program has ended."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{words}\n")
        self._process.stdin.flush()
        # Libraries say things on the way; an answer is an object.
        for line in self._process.stdout:
            if line.startswith("{"):
                found: Mapping[str, float] = json.loads(line)
                return found
        raise RuntimeError(f"{self.program} ended with {self._process.wait()} when it was asked: {words}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
