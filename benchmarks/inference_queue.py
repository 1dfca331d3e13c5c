"""Studies that are queued at once, against as many times one study alone: how much the stages of successive ones overlap."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.inference_node import assert_made, spec_of
from dicom_node.attempt import JobOutcome, JobSpec, run_attempt
from dicom_node.engine import Engine, EngineSettings
from inference.package import load_package

ALONE = 5
_LIMIT_S = 600.0


def measure(bundle: Path, folder: Path, device: str, studies: int) -> dict[str, float]:
    """Seconds of a study alone (the median of some), and of all that are queued; their ratio is `gain`."""
    package = load_package(bundle)
    with engine() as one:
        specs = [spec_of(package, folder, device, study=number) for number in range(studies)]
        through(one, specs[:1])
        alone = [through(one, specs[:1])[0] for _ in range(min(ALONE, studies))]
        all_s, outcomes = through(one, specs)
    seconds = statistics.median(alone)
    idle = idle_s(all_s, outcomes)
    return {
        "one study, s": seconds,
        f"{studies} queued, s": all_s,
        "gain": studies * seconds / all_s,
        "device idle between studies, s": idle / studies,
    }


def idle_s(all_s: float, outcomes: list[JobOutcome]) -> float:
    """How long no network computed."""
    return all_s - sum(outcome.stage_s["network"] for outcome in outcomes)


def through(engine: Engine, specs: Sequence[JobSpec]) -> tuple[float, list[JobOutcome]]:
    """As dispatch does it: submitted as workers can take them."""
    started, left, outcomes = time.perf_counter(), list(enumerate(specs)), []
    while len(outcomes) < len(specs):
        assert time.perf_counter() - started < _LIMIT_S, f"{len(outcomes)} of {len(specs)} studies within {_LIMIT_S} s"
        for _ in range(min(engine.free(), len(left))):
            number, spec = left.pop(0)
            engine.submit((number, time.monotonic_ns()), spec)
        for ended in engine.ended(0.02):
            assert ended.outcome == "done", ended
            assert_made(ended.value)
            outcomes.append(ended.value)
    return time.perf_counter() - started, outcomes


@contextmanager
def engine() -> Iterator[Engine]:
    """One worker, as on a machine with one GPU or none."""
    with tempfile.TemporaryDirectory() as scratch:
        settings = EngineSettings(
            scheduler="local",
            workers=1,
            threads_per_worker=len(os.sched_getaffinity(0)),
            memory_limit_bytes=None,
            scratch_folder=scratch,
            preload="dicom_node.attempt",
        )
        started = Engine(settings, run_attempt)
        try:
            while not started.free():
                time.sleep(0.05)
            yield started
        finally:
            started.close()
