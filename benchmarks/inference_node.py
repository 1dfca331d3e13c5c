"""The node's worker, as a job runs in it, in a process that stays: the counterpart of `inference_peer`.

python -m benchmarks.inference_node PACKAGE FOLDER DEVICE answers each line of its input with a line of JSON: `run` from the packs
that images were received into to results that are put; `pass` one forward pass; `labels FILE` predict, the labels kept.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.volume_readers import KEYS, STORE
from dicom_node.attempt import JobOutcome, JobSpec, run_attempt
from inference.confined.pool import predict
from inference.devices import chosen_device
from inference.findings import Labelled
from inference.instances import instance_of
from inference.network import network_of
from inference.package import Package, load_package
from inference.passes import PASSES
from inference.series import read_instances
from storage.objects import open_store


def spec_of(package: Package, folder: Path, device: str, study: int = 0) -> JobSpec:
    """study: number of the study that it stands for; results of each have UIDs of their own."""
    return JobSpec(
        study_instance_uid=f"2.25.1{study}",
        series_instance_uid=f"2.25.2{study}",
        revision=1,
        created_at=1_790_000_000.0,
        objects_url=(folder / STORE).as_uri(),
        object_keys=tuple((folder / KEYS).read_text().split()),
        package_folder=str(package.folder),
        package_sha256=package.content_sha256,
        device="cuda" if device == "cuda" else "cpu",
        kinds=("seg", "sr"),
        report_not_analysed=True,
    )


def run(package: Package, folder: Path, device: str) -> Mapping[str, float]:
    """Seconds by stage and of all; `network` is what forward passes took."""
    started = time.perf_counter()
    outcome = run_attempt(spec_of(package, folder, device))
    seconds = time.perf_counter() - started
    assert_made(outcome)
    return {**outcome.stage_s, "seconds": seconds}


def assert_made(outcome: JobOutcome) -> None:
    assert [result.kind for result in outcome.results] == ["seg", "sr"], outcome


def one_pass(package: Package, device: str, times: int = 3) -> float:
    """The median seconds of a forward pass, of the same window of noise as the peer's."""
    where, use = chosen_device(device), package.manifest.use
    network = network_of(package, where)
    assert use is not None
    assert use.patch is not None
    window = torch.rand((1, 1, *use.patch), generator=torch.Generator().manual_seed(1)).to(where)
    taken = []
    with torch.inference_mode():
        network(window)
        PASSES.taken()
        for _ in range(times):
            network(window)
            taken.append(PASSES.taken().seconds)
    return statistics.median(taken)


def labels(package: Package, folder: Path, device: str) -> tuple[Mapping[str, float], NDArray[np.unsignedinteger]]:
    """Seconds of predict and of its network, and the labels (slices, rows, columns)."""
    objects = open_store((folder / STORE).as_uri())
    volume = read_instances([instance_of(objects.part(key)) for key in (folder / KEYS).read_text().split()]).volumes[0]
    PASSES.taken()
    started = time.perf_counter()
    findings = predict(volume, package, "cuda" if device == "cuda" else "cpu")
    seconds = time.perf_counter() - started
    region = findings.segments[0].region
    assert isinstance(region, Labelled)
    return {"seconds": seconds, "network": PASSES.taken().seconds}, region.labels


def main() -> None:
    package, folder, device = load_package(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "pass":
            answer: Mapping[str, float] = {"seconds": one_pass(package, device)}
        elif word == "labels":
            answer, found = labels(package, folder, device)
            np.save(rest, found)
        else:
            answer = run(package, folder, device)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
