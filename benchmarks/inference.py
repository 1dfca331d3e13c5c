"""A CT through a network: the node's whole job against plain MONAI with the same bundle, and what is around the forward passes.

Two networks of random weights (MONAI's SegResNet and SwinUNETR) on a made CT of 400 images of 512 x 512. Node and peer each stay
in a process, as a worker does, run once before they are timed, and take turns in each round. Then many queued studies against
one at a time, and other precisions than fp32. Run: python -m benchmarks.inference [--rounds 2] [--peers FOLDER] [--device cuda]
[--json FILE]. `make bench-inference` makes the environment that MONAI is installed in with ITK, its default reader of DICOM.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks import inference_models, inference_precisions, inference_queue, volume
from benchmarks.inference_models import NETWORKS, SEGRESNET, Sizes, dice
from benchmarks.inference_process import NODE, PEER, TUNED, Warm
from benchmarks.rounds import machine

Answers = list[Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Scale:
    """networks, sizes: those that are timed against the peer's. small: of the one whose job is run again and again. tunes:
    whether the node's networks are in the form that activation finds to be the fastest."""

    rounds: int = 2
    images: int = 400
    studies: int = 20
    tunes: bool = True
    networks: tuple[str, ...] = tuple(NETWORKS)
    sizes: Sizes = field(default_factory=lambda: Sizes(patch=64))
    small: Sizes = field(default_factory=lambda: Sizes(spacing_mm=6.0, patch=32))


@dataclass(slots=True)
class Figures:
    """runs, passes: by network and program, the answers of each round. rested: of the node's first run of each round, after a
    rest in which it gave its memory back; `runs` has the one that follows at once. of_probabilities: of a run of the peer that
    brings probabilities back to the images, and then decides. agree: Dice of the node's labels and the peer's, by network."""

    runs: dict[str, dict[str, Answers]] = field(default_factory=dict)
    rested: dict[str, Answers] = field(default_factory=dict)
    passes: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    of_probabilities: dict[str, Mapping[str, float]] = field(default_factory=dict)
    agree: dict[str, dict[str, float]] = field(default_factory=dict)
    queue: dict[str, float] = field(default_factory=dict)
    precisions: dict[str, dict[str, float]] = field(default_factory=dict)

    def around(self, network: str, program: str) -> list[float]:
        """Seconds of each round that were not the network's."""
        return [one["seconds"] - one["network"] for one in self.runs[network][program]]


@dataclass(frozen=True, slots=True)
class Bar:
    what: str
    wanted: str
    reached: float
    least: float
    most: float
    holds: bool


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=2)
    arguments.add_argument("--images", type=int, default=400)
    arguments.add_argument("--studies", type=int, default=20, help="how many are queued; 0 leaves them out")
    arguments.add_argument("--spacing", type=float, help="mm, of the grid that networks see; else each has its own")
    arguments.add_argument("--patch", type=int, default=64)
    arguments.add_argument("--network", choices=NETWORKS, help="only this one, and neither queue nor precisions")
    arguments.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments.add_argument("--peers", type=Path, help="a virtual environment with monai, itk, nibabel and einops")
    arguments.add_argument("--json", type=Path, help="a file for the figures of every round")
    given = arguments.parse_args()
    networks = (given.network,) if given.network else tuple(NETWORKS)
    scale = Scale(given.rounds, given.images, given.studies, networks=networks, sizes=Sizes(given.patch, given.spacing))
    python = str(given.peers / "bin" / "python") if given.peers else sys.executable
    console = Console(width=130)
    memory = Path("/dev/shm")  # noqa: S108 - a fresh folder is made in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        about = machine([], {"images": Path(folder)}) | {"peer": versions(python), "scale": str(scale)}
        console.print(about)
        figures = measure(Path(folder), scale, python, given.device)
    found = report(figures, console, least_around=8.0 if given.device == "cpu" else 3.0)
    if given.json:
        given.json.write_text(json.dumps({"machine": about, **asdict(figures), "bars": [asdict(one) for one in found]}))
    sys.exit(0 if all(one.holds for one in found) else 1)


def versions(python: str) -> str:
    """Of what the peer is made of, as its own environment says."""
    ask = "import torch, monai; print('torch', torch.__version__, 'MONAI', monai.__version__);"
    ask += "import itk; print('ITK', itk.Version.GetITKVersion())"
    done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
    return " ".join(done.stdout.split())


def measure(folder: Path, scale: Scale, python: str, device: str) -> Figures:
    """python: that of the peer. The images stay in the folder, which should be in memory: what is measured is not a disk."""
    volume.write(folder, scale.images, None)
    for name, sizes in (("models", scale.sizes), ("small", scale.small)):
        inference_models.make(python, folder / name, sizes)
    figures = Figures()
    for network in scale.networks:
        bundle = inference_models.folder_of(folder / "models", network)
        with (
            Warm(NODE, sys.executable, bundle, folder, device, *([TUNED] if scale.tunes else [])) as node,
            Warm(PEER, python, bundle, folder, device) as peer,
        ):
            contend(network, (node, peer), folder, scale.rounds, figures)
    if len(scale.networks) < len(NETWORKS):
        return figures
    small = inference_models.folder_of(folder / "small", SEGRESNET)
    if scale.studies:
        figures.queue = inference_queue.measure(small, folder, device, scale.studies)
    figures.precisions = inference_precisions.measure(small, folder, device)
    return figures


def contend(network: str, programs: tuple[Warm, Warm], folder: Path, rounds: int, figures: Figures) -> None:
    """Node and peer in turn; the first run of each is not timed, and what it found is held against the other's."""
    node, peer = programs
    runs: dict[str, Answers] = {NODE: [], PEER: []}
    passes: dict[str, list[float]] = {NODE: [], PEER: []}
    kept = [folder / f"{one.program}.npy" for one in (node, peer)]
    node.ask("run")
    for one, path in zip((node, peer), kept, strict=True):
        one.ask(f"labels {path}")
    figures.agree[network] = dice(np.load(kept[0]), on_slices(np.load(kept[1])))
    rested: Answers = []
    for number in range(rounds):
        for one in (node, peer) if number % 2 == 0 else (peer, node):
            if one is node:
                rested.append(one.ask("run"))
            runs[one.program].append(one.ask("run"))
        for one in (node, peer, peer, node):
            passes[one.program].append(one.ask("pass")["seconds"])
    if network == SEGRESNET:  # what follows its network is the same for each
        figures.of_probabilities[network] = peer.ask("probabilities")
    figures.runs[network], figures.rested[network], figures.passes[network] = runs, rested, passes


def on_slices(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """MONAI's axes of a series that it read, columns, rows and slices, in the order of ours."""
    return labels.transpose(2, 1, 0)


def bars(figures: Figures, least_around: float) -> list[Bar]:
    found = []
    for network in figures.runs:
        ours, theirs = figures.around(network, NODE), figures.around(network, PEER)
        found.append(at_least(f"{network}: around the passes, times as fast", least_around, ratios(theirs, ours)))
        whole = [one["seconds"] / one["network"] for one in figures.runs[network][NODE]]
        reached = statistics.median(whole)
        found.append(
            Bar(f"{network}: whole to passes", "at most 1.1", reached, min(whole), max(whole), holds=reached <= 1.1)
        )
        one_pass = ratios(figures.passes[network][PEER], figures.passes[network][NODE])
        found.append(at_least(f"{network}: one pass, times as fast", 1.0, one_pass))
    return found


def ratios(theirs: Sequence[float], ours: Sequence[float]) -> list[float]:
    """Round by round."""
    return [slow / quick for quick, slow in zip(ours, theirs, strict=True)]


def at_least(what: str, wanted: float, reached: Sequence[float]) -> Bar:
    median = statistics.median(reached)
    return Bar(what, f"at least {wanted:g}", median, min(reached), max(reached), holds=median >= wanted)


def report(figures: Figures, console: Console, least_around: float) -> list[Bar]:
    parts = Table("network", "program", "part", "median s", "least", "most", title="a job, part by part")
    for network, programs in figures.runs.items():
        for program, answers in {**programs, f"{NODE}, after a rest": figures.rested[network]}.items():
            for part in answers[0]:
                seconds = [one[part] for one in answers]
                shown = (f"{value:.2f}" for value in (statistics.median(seconds), min(seconds), max(seconds)))
                parts.add_row(network, program, part, *shown)
        if network in figures.of_probabilities:
            after = figures.of_probabilities[network]["after"]
            parts.add_row(network, f"{PEER}, probabilities", "after", f"{after:.2f}")
    others = Table("figure", "value", title="queue, precisions, agreement with the peer (Dice)")
    for group in ({"queue": figures.queue}, figures.precisions, figures.agree):
        for name, values in group.items():
            for key, value in values.items():
                others.add_row(f"{name}: {key}", f"{value:.4g}")
    found = bars(figures, least_around)
    verdicts = Table("bar", "wanted", "median", "least", "most", "")
    for one in found:
        shown = (f"{value:.2f}" for value in (one.reached, one.least, one.most))
        verdicts.add_row(one.what, one.wanted, *shown, "[green]pass" if one.holds else "[red]fail")
    console.print(parts, others, verdicts)
    return found


if __name__ == "__main__":
    main()
