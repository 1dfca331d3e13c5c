"""What a job takes of memory: a machine that runs several at a time must be able to count on it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from dicom_node.attempt import JobSpec, run_attempt
from dicom_node.phantom import chest_ct
from inference.instances import instance_of
from inference.memory import VOXELS
from inference.package import load_package
from inference.registry import Registry
from inference.series import read_instances
from storage.objects import open_store
from tests.waiting import LIMIT_S

SLICES, ROWS = 200, 512
VOLUME_BYTES = SLICES * ROWS * ROWS * 4
MOST_BYTES = 2 * VOLUME_BYTES + 500_000_000

RESULTS = {"ct_lung_density": ["seg", "sr", "sc"], "demo_seg": ["seg", "parametric_map", "sr", "sc"]}
"""Of each model, in the order in which they are made."""


def run_and_say_peak(folder: str, package_folder: str) -> None:
    """Run a job on what is in the store, as a worker does that has read a smaller series before; print the most memory that the
    process ever had, in bytes."""
    package = load_package(Path(package_folder))
    spec = JobSpec(
        study_instance_uid="2.25.1",
        series_instance_uid="2.25.2",
        revision=1,
        created_at=1_790_000_000.0,
        objects_url=Path(folder).as_uri(),
        object_keys=tuple(f"instances/{number}.dcm" for number in range(SLICES)),
        package_folder=str(package.folder),
        package_sha256=package.content_sha256,
        device="cpu",
        kinds=tuple(RESULTS[package.manifest.name]),
        report_not_analysed=True,
    )
    objects = open_store(spec.objects_url)
    read_instances([instance_of(objects.part(key)) for key in spec.object_keys[: SLICES // 2]])
    assert VOXELS.kept_bytes in (0, VOLUME_BYTES // 2)
    outcome = run_attempt(spec)
    assert [result.kind for result in outcome.results] == RESULTS[package.manifest.name], outcome
    assert not any(result.faults for result in outcome.results)
    assert VOXELS.kept_bytes in (0, VOLUME_BYTES)
    lines = Path("/proc/self/status").read_text().splitlines()
    print(outcome.results[1].object_key)
    print(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An object store that holds a CT."""
    folder = tmp_path_factory.mktemp("stored")
    objects = open_store(folder.as_uri())
    for number, path in enumerate(chest_ct(slices=SLICES, rows=ROWS).write(folder / "sent")):
        objects.put(f"instances/{number}.dcm", [path.read_bytes()])
        path.unlink()
    return folder


def second_result_and_peak(stored: Path, package_folder: Path) -> tuple[Path, int]:
    """In a process of its own: what tests before this one took must not count."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"from {__name__} import run_and_say_peak; run_and_say_peak({str(stored)!r}, {str(package_folder)!r})",
        ],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-1000:]
    key, peak_bytes = done.stdout.split()
    return stored / key, int(peak_bytes)


def test_a_job_takes_no_more_memory_than_two_volumes_and_half_a_gigabyte(stored: Path) -> None:
    _, peak_bytes = second_result_and_peak(stored, Registry().get("ct_lung_density").folder)
    assert VOLUME_BYTES < peak_bytes <= MOST_BYTES


@pytest.mark.long
def test_neither_does_one_that_sends_a_heat_map_as_large_as_the_volume(stored: Path, tmp_path: Path) -> None:
    """What else there is in memory is none of its pixels: see the tests of Parametric Maps."""
    # Here, since the process that is measured reads this file too, and a worker has nothing of these.
    from tests.inference.made_models import DENSE, HU, LUNG, NOT_INPUT, Above, torchscript, written

    content = torchscript(Above(-400.0, axes=2))
    outputs = {
        "segments": [DENSE],
        "maps": [
            {"key": "m", "label": "M", "quantity": LUNG, "unit": HU, "shown": [0.0, 1.0], "index": 1},
        ],
        "not_analysed": {"input_refused": NOT_INPUT},
    }
    made = written(
        tmp_path / "package",
        content,
        weights=[{"file": "network.pt", "sha256": hashlib.sha256(content).hexdigest()}],
        use={"mode": "slices"},
        outputs=outputs,
    )
    path, peak_bytes = second_result_and_peak(stored, made)
    heat_map = dcmread(path)
    values = np.frombuffer(heat_map.FloatPixelData, "<f4")
    assert values.nbytes == VOLUME_BYTES
    assert 0 < np.count_nonzero(values) < values.size
    assert VOLUME_BYTES < peak_bytes <= MOST_BYTES
