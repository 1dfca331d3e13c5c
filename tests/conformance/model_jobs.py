"""A small CT in an object store, and a model's job on it from first to last."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from torch import Tensor

from dicom_node.attempt import CompanionSpec, JobSpec, run_attempt
from dicom_node.phantom import chest_ct
from dicom_node.results.reading import segments_of
from inference.package import Package
from inference.series import read_series
from inference.volume import Volume
from storage.objects import open_store
from tests.conformance.validators import dciodvfy_errors

SCALED = {"intensity": [{"kind": "scale", "low": -1024.0, "high": 1024.0}]}
"""What every network here is given: voxels from 0 to 1, on the grid as acquired."""


@dataclass(frozen=True)
class Stored:
    """A series in a store. volume: as a model sees it."""

    folder: Path
    keys: tuple[str, ...]
    volume: Volume

    @property
    def image(self) -> Tensor:
        """float32 (1, 1, slices, rows, columns), as SCALED."""
        voxels = torch.from_numpy(self.volume.voxels)[None, None]
        return ((voxels + 1024) / 2048).clamp(0, 1)


def stored_chest(folder: Path, slices: int = 16, rows: int = 32, identity: str = "kinds") -> Stored:
    objects = open_store(folder.as_uri())
    phantom = chest_ct(slices=slices, rows=rows, identity=identity)
    keys = []
    for number, path in enumerate(phantom.write(folder / "sent" / identity)):
        keys.append(f"instances/{identity}-{number}.dcm")
        objects.put(keys[-1], [path.read_bytes()])
    return Stored(folder, tuple(keys), read_series(list(phantom.datasets)).volumes[0])


def spec_of(stored: Stored, package: Package, kinds: tuple[str, ...] = ("seg", "sr"), **companions: Stored) -> JobSpec:
    return JobSpec(
        study_instance_uid=stored.volume.study_instance_uid,
        series_instance_uid=stored.volume.series_instance_uid,
        revision=1,
        created_at=1_790_000_000.0,
        objects_url=stored.folder.as_uri(),
        object_keys=stored.keys,
        package_folder=str(package.folder),
        package_sha256=package.content_sha256,
        device="cpu",
        kinds=kinds,
        report_not_analysed=True,
        companions=tuple(CompanionSpec(name, 1, other.keys) for name, other in companions.items()),
    )


@dataclass(frozen=True)
class Results:
    """What a job left: a data set for each kind of result, and the errors that dciodvfy finds in it."""

    datasets: dict[str, list[Dataset]]
    errors: dict[str, list[str]]

    def mask(self, stored: Stored, number: int = 0) -> NDArray[np.bool_]:
        """Of a segment, read back from the SEG onto the volume's grid."""
        (seg,) = self.datasets["seg"]
        return segments_of(seg, stored.volume).segments[number].mask

    @property
    def report(self) -> Dataset:
        (report,) = self.datasets["sr"]
        return report


def run(spec: JobSpec, dciodvfy: str) -> Results:
    """The job, which must end without an error and leave what was ordered; and what the validator says of it."""
    outcome = run_attempt(spec)
    assert outcome.error is None, outcome.error
    assert outcome.not_analysed is None, outcome.not_analysed
    assert outcome.not_made == {}
    objects = open_store(spec.objects_url)
    datasets: dict[str, list[Dataset]] = {}
    errors: dict[str, list[str]] = {}
    for number, result in enumerate(outcome.results):
        assert result.faults == ()
        content = objects.get(result.object_key)
        path = Path(spec.package_folder).parent / f"result-{number}.dcm"
        path.write_bytes(content)
        if found := dciodvfy_errors(dciodvfy, path):
            errors[result.kind] = found
        datasets.setdefault(result.kind, []).append(dcmread(BytesIO(content)))
    return Results(datasets, errors)
