"""What a job takes of memory: a machine that runs several at a time must be able to count on it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dicom_node.attempt import JobSpec, run_attempt
from dicom_node.phantom import chest_ct
from inference.instances import instance_of
from inference.memory import VOXELS
from inference.registry import Registry
from inference.series import read_instances
from storage.objects import open_store
from tests.waiting import LIMIT_S

SLICES, ROWS = 200, 512
VOLUME_BYTES = SLICES * ROWS * ROWS * 4
MOST_BYTES = 2 * VOLUME_BYTES + 500_000_000


def run_and_say_peak(folder: str) -> None:
    """Run a job on what is in the store, as a worker does that has read a smaller series before; print the most memory that the
    process ever had, in bytes."""
    package = Registry().get("ct_lung_density")
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
        kinds=("seg", "sr", "sc"),
        report_not_analysed=True,
    )
    objects = open_store(spec.objects_url)
    read_instances([instance_of(objects.part(key)) for key in spec.object_keys[: SLICES // 2]])
    assert VOXELS.kept_bytes in (0, VOLUME_BYTES // 2)
    outcome = run_attempt(spec)
    assert [result.kind for result in outcome.results] == ["seg", "sr", "sc"], outcome
    assert VOXELS.kept_bytes in (0, VOLUME_BYTES)
    lines = Path("/proc/self/status").read_text().splitlines()
    print(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")))


def test_a_job_takes_no_more_memory_than_two_volumes_and_half_a_gigabyte(tmp_path: Path) -> None:
    objects = open_store(tmp_path.as_uri())
    for number, path in enumerate(chest_ct(slices=SLICES, rows=ROWS).write(tmp_path / "sent")):
        objects.put(f"instances/{number}.dcm", [path.read_bytes()])
        path.unlink()
    # In a process of its own: what tests before this one took must not count.
    done = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import run_and_say_peak; run_and_say_peak({str(tmp_path)!r})"],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-1000:]
    assert VOLUME_BYTES < int(done.stdout) <= MOST_BYTES
