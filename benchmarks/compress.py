"""Bytes and seconds of results that are compressed for a destination, against DCMTK and pydicom, on the same objects.

Seconds are those of the processor, of a program's own process where it is one. What the node does includes decompressing again
and comparing; the others do not. DCMTK's programs read and write files in memory.

Run: python -m benchmarks.compress [--rounds 3] [--slices 400]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import dcmread
from rich.console import Console
from rich.table import Table

from benchmarks import encode_seg
from dicom_node.compression import compressed
from dicom_node.lossless import TRANSFER_SYNTAXES, Method
from dicom_node.results.encode import encode
from inference.findings import Findings
from tests.conftest import find_peer

FORMS: tuple[tuple[str, Method], ...] = (
    ("seg", "deflated"),
    ("seg_fractional", "rle"),
    ("seg_fractional", "jpeg2000"),
    ("seg_fractional", "deflated"),
    ("seg_labelmap", "rle"),
    ("seg_labelmap", "jpeg2000"),
    ("seg_labelmap", "deflated"),
    ("sc", "rle"),
    ("sc", "jpeg2000"),
)
_OF_DCMTK: dict[Method, tuple[str, ...]] = {"rle": ("dcmcrle",), "deflated": ("dcmconv", "+td")}


def objects(folder: Path, slices: int) -> dict[str, bytes]:
    """A CT with five organs, one after the other in each slice: as masks, as probabilities, as a label map, as a picture."""
    encode_seg.SLICES = slices
    encode_seg.prepare(folder)
    report = encode_seg.report_of("SEG, 5 segments", encode_seg.labels_of(5), encode_seg.headers(folder))
    soft = tuple(replace(one, region=softened(one.mask)) for one in report.findings.segments)
    made = encode(replace(report, kinds=frozenset({"seg", "seg_labelmap", "sc"})))
    made += encode(replace(report, findings=Findings(soft), kinds=frozenset({"seg_fractional"})))
    assert not any(one.faults for one in made), [one.faults for one in made]
    return {one.kind: one.payload for one in made}


def softened(mask: np.ndarray) -> np.ndarray:
    """Probabilities that fall off over three rows, which compress as borders of real ones do."""
    values = mask.astype(np.float32)
    for step in (1, 2):
        values += np.roll(mask, step, axis=1) + np.roll(mask, -step, axis=1)
    return np.asarray(values / 5, np.float32)


def peer(method: Method, payload: bytes, folder: Path) -> tuple[str, Callable[[], object]]:
    """Who else compresses so, and what does it."""
    if method == "jpeg2000":
        return "pydicom", lambda: dcmread(BytesIO(payload)).compress(
            TRANSFER_SYNTAXES[method], encoding_plugin="pylibjpeg", generate_instance_uid=False
        )
    program, *options = _OF_DCMTK[method]
    plain, packed = folder / "plain.dcm", folder / "packed.dcm"
    plain.write_bytes(payload)
    command = [find_peer(program), *options, str(plain), str(packed)]
    return "DCMTK", lambda: subprocess.run(command, check=True, capture_output=True)


def seconds_of(doing: Callable[[], object]) -> float:
    """Of the processor, here and in processes that have ended."""
    began = sum(os.times()[:4])
    doing()
    return sum(os.times()[:4]) - began


def measure(folder: Path, *, rounds: int, slices: int) -> list[tuple[str, Method, int, int, float, str, float]]:
    """By form: bytes before and after, median seconds of the node, who the peer is, and its median seconds."""
    found = []
    (folder / "objects").mkdir()
    made = objects(folder / "objects", slices)
    for kind, method in FORMS:
        payload = made[kind]
        form = compressed(payload, [method])
        assert form
        name, others = peer(method, payload, folder)
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(seconds_of(lambda: compressed(payload, [method])))  # noqa: B023 - called at once
            theirs.append(seconds_of(others))
        median = statistics.median
        found.append((kind, method, len(payload), len(form.part10), median(ours), name, median(theirs)))
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--slices", type=int, default=encode_seg.SLICES)
    given = arguments.parse_args()
    console, table = Console(), Table("object", "form", "MB", "MB compressed", "node s", "peer", "peer s")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        for kind, method, before, after, ours, name, theirs in measure(
            Path(folder), rounds=given.rounds, slices=given.slices
        ):
            sizes = f"{before / 1e6:.1f}", f"{after / 1e6:.2f}"
            table.add_row(kind, method, *sizes, f"{ours:.3f}", name, f"{theirs:.3f}")
    console.print(table)


if __name__ == "__main__":
    main()
