"""A model process that is killed while it computes, seen from the job: the attempt ends in words, the job is tried again, then
reported; the worker and the next job of the same model go on."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
import torch
from pydicom import dcmread
from torch import Tensor, nn

from dicom_node.attempt import JobSpec, run_attempt
from dicom_node.engine import Key
from dicom_node.phantom import chest_ct
from dicom_node.results.reading import comments_of
from inference.confined import pool
from inference.package import Package
from storage.objects import open_store
from storage.records.jobs import Job
from tests.dicom_node.test_dispatch import STUDY, Bench, FakeEngine
from tests.inference.made_models import package, torchscript
from tests.inference.test_model_process import cpu_ticks
from tests.waiting import eventually

ROWS, SMALL, LARGE = 64, 10, 14
SPOILT, SOUND = "demo_seg@1.0.0", "other@1.0.0"


class EndlessOnLarge(nn.Module):
    """Computes for ever on more voxels than the small study has; else what is above 0 HU is dense."""

    def forward(self, image: Tensor) -> Tensor:
        told = torch.cat([torch.zeros_like(image), image], dim=1)
        if image.numel() > 12 * 64 * 64:
            while float(told.sum()) != float("inf"):
                told = told * 1.0
        return told


class Here(FakeEngine):
    """A worker that is this process: an attempt has ended when it was submitted."""

    def submit(self, key: Key, spec: JobSpec) -> None:
        super().submit(key, spec)
        self.end("done", run_attempt(spec))


class WorkerBench(Bench):
    """Jobs on studies of two sizes, run by a worker in this process."""

    def __init__(self, folder: Path, made: Package) -> None:
        self._url, self._made = (folder / "objects").as_uri(), made
        self._keys = {SPOILT: self._stored(LARGE), SOUND: self._stored(SMALL)}
        super().__init__(folder)
        self.engine = Here()
        self.dispatch = self.new_dispatch(attempts=2)

    def _stored(self, slices: int) -> tuple[str, ...]:
        objects, keys = open_store(self._url), [f"instances/{slices}-{number}" for number in range(slices)]
        for key, dataset in zip(keys, chest_ct(slices=slices, rows=ROWS).datasets, strict=True):
            content = BytesIO()
            dataset.save_as(content, enforce_file_format=True)
            objects.put(key, [content.getvalue()])
        return tuple(keys)

    def _spec(self, job: Job) -> JobSpec:
        return replace(
            super()._spec(job),
            objects_url=self._url,
            object_keys=self._keys[job.model],
            package_folder=str(self._made.folder),
            package_sha256=self._made.content_sha256,
            kinds=("seg", "sr"),
        )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[WorkerBench]:
    pool.POOL.end()  # processes that tests before this one left are not to be taken for those that compute
    made = WorkerBench(tmp_path, package(tmp_path / "model", torchscript(EndlessOnLarge())))
    yield made
    made.database.close()
    pool.POOL.end()


@contextmanager
def killing(signals: Sequence[signal.Signals]) -> Iterator[list[int]]:
    """Kills the model process of this process while it computes, and the one that comes after it, with these signals. Gives
    the numbers of those that it killed."""
    killed: list[int] = []

    def loaded() -> int | None:
        found = [item.pid for item in list(pool.POOL._processes.values()) if item.device and item.pid not in killed]
        return found[0] if found else None

    def kill_each() -> None:
        for number in signals:
            eventually(loaded)
            pid = loaded()
            assert pid
            before = cpu_ticks(pid)
            eventually(lambda pid=pid, before=before: cpu_ticks(pid) > before + 30)
            killed.append(pid)
            os.kill(pid, number)

    thread = threading.Thread(target=kill_each)
    thread.start()
    yield killed
    thread.join()


def test_a_model_process_that_is_killed_twice_costs_that_job_alone(bench: WorkerBench) -> None:
    spoilt = bench.queue(SPOILT)
    with killing([signal.SIGKILL, signal.SIGSEGV]) as killed:
        for _ in range(3):
            bench.dispatch.step(0)
        assert len(set(killed)) == 2
    first, second, _ = bench.jobs.attempts(spoilt.job_id)
    assert (first.outcome, second.outcome) == ("killed", "killed")
    assert first.reason == (
        "the model process ended by signal 9 (SIGKILL, as the system does when memory runs out) while it ran demo_seg@1.0.0"
    )
    why = "the model process ended by signal 11 (SIGSEGV) while it ran demo_seg@1.0.0, 2 times"
    bench.dispatch.step(0)
    failed = bench.job(spoilt)
    assert (failed.state, failed.reason) == ("failed", why)
    (row, *others) = [item for item in bench.outbox.of_study(STUDY) if item.job_id == spoilt.job_id]
    assert {item.result.kind for item in (row, *others)} == {"sr"}
    report = dcmread(BytesIO(open_store(bench._url).get(row.result.object_key)))
    assert any(why in comment for comment in comments_of(report))

    sound = bench.queue(SOUND)
    for _ in range(2):
        bench.dispatch.step(0)
    assert bench.job(sound).state == "done", bench.job(sound).reason
    made = [item.result.kind for item in bench.outbox.of_study(STUDY) if item.job_id == sound.job_id]
    assert set(made) == {"seg", "sr"}
    assert [item.outcome for item in bench.jobs.attempts(sound.job_id)] == ["done"]
