"""The node's worker, as a job runs in it, in a process that stays: the counterpart of `inference_peer`.

python -m benchmarks.inference_node PACKAGE FOLDER DEVICE [tuned] takes up the package as `models activate` does, and answers each
line of its input with a line of JSON: `run` from the packs that images were received into to results that are put; `pass` one
forward pass; `labels FILE` predict, the labels kept. tuned: the network in the form that is found to be the fastest.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from benchmarks.inference_process import TUNED
from benchmarks.volume_readers import KEYS, STORE
from dicom_node.attempt import JobOutcome, JobSpec, run_attempt
from inference.confined.pool import Device, predict, room_for, tuned
from inference.findings import Labelled
from inference.instances import instance_of
from inference.package import Package, load_package
from inference.passes import PASSES
from inference.series import read_instances
from inference.version_store import VersionStore
from inference.volume import SourceFrame, Volume
from storage.objects import open_store


def spec_of(package: Package, folder: Path, device: Device, study: int = 0) -> JobSpec:
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
        device=device,
        kinds=("seg", "sr"),
        report_not_analysed=True,
    )


def run(package: Package, folder: Path, device: Device) -> Mapping[str, float]:
    """Seconds by stage and of all; `network` is what forward passes took."""
    started = time.perf_counter()
    outcome = run_attempt(spec_of(package, folder, device))
    seconds = time.perf_counter() - started
    assert_made(outcome)
    return {**outcome.stage_s, "seconds": seconds}


def device_of(word: str) -> Device:
    return "cuda" if word == "cuda" else "cpu"


def assert_made(outcome: JobOutcome) -> None:
    assert [result.kind for result in outcome.results] == ["seg", "sr"], outcome


def activated(folder: Path, device: Device, *, is_tuned: bool) -> Package:
    """As the version that jobs run: in a store of versions beside its folder."""
    package = VersionStore(folder.parent / f"{folder.name}-versions").add(load_package(folder))
    if is_tuned:
        tuned(package, device)
    return package


def one_pass(package: Package, device: Device, times: int = 3) -> float:
    """The median seconds of a forward pass in the model's process, of a volume of noise that is one window."""
    use, preprocessing = package.manifest.use, package.manifest.preprocessing
    assert use is not None
    assert use.patch is not None
    assert preprocessing is not None
    assert preprocessing.spacing_mm is not None
    voxels = np.random.default_rng(1).normal(0.0, 300.0, use.patch).astype(np.float32)
    header = Dataset()
    header.Modality = "CT"
    sources = tuple(SourceFrame(CTImageStorage, f"2.25.4{number}") for number in range(len(voxels)))
    affine = np.diag([*preprocessing.spacing_mm, 1.0])
    volume = Volume(voxels, affine, "2.25.1", "2.25.2", "2.25.3", sources, header)
    taken = []
    for _ in range(1 + times):
        assert not predict(volume, package, device).not_analysed
        passes = PASSES.taken()
        assert passes.count == 1
        taken.append(passes.seconds)
    return statistics.median(taken[1:])


def labels(package: Package, folder: Path, device: Device) -> tuple[Mapping[str, float], NDArray[np.unsignedinteger]]:
    """Seconds of predict and of its network, and the labels (slices, rows, columns)."""
    objects = open_store((folder / STORE).as_uri())
    with room_for(package):
        volume = read_instances(
            [instance_of(objects.part(key)) for key in (folder / KEYS).read_text().split()]
        ).volumes[0]
    PASSES.taken()
    started = time.perf_counter()
    findings = predict(volume, package, device)
    seconds = time.perf_counter() - started
    region = findings.segments[0].region
    assert isinstance(region, Labelled)
    return {"seconds": seconds, "network": PASSES.taken().seconds}, region.labels


def main() -> None:
    folder, device = Path(sys.argv[2]), device_of(sys.argv[3])
    package = activated(Path(sys.argv[1]), device, is_tuned=sys.argv[4:] == [TUNED])
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
