"""Studies that are queued at once, against as many times one study alone: how much the stages of successive ones overlap.

Alone: one worker. Queued: two, which take turns (`engine.workers: auto`): while one computes the other reads, encodes and writes.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.inference_node import activated, assert_made, device_of, spec_of
from dicom_node.attempt import PLACES, JobOutcome, JobSpec, Places, run_attempt
from dicom_node.engine import Engine, EngineSettings
from dicom_node.workers import this_machine

ALONE = 5
WORKERS = 2
_LIMIT_S = 600.0


def measure(bundle: Path, folder: Path, device: str, studies: int) -> dict[str, float]:
    """Seconds of a study alone (the median of some), and of all that are queued; `gain` is how many times as fast these go."""
    package = activated(bundle, device_of(device), is_tuned=False)
    specs = [spec_of(package, folder, device_of(device), study=number) for number in range(studies)]
    with engine(1) as one:
        through(one, specs[:1])
        alone = [through(one, specs[:1])[0] for _ in range(min(ALONE, studies))]
        in_turn, of_turn = through(one, specs[:ALONE])
    with engine(WORKERS) as two:
        through(two, specs[:WORKERS])
        all_s, outcomes = through(two, specs)
    seconds = statistics.median(alone)
    return {
        "one study, s": seconds,
        f"{studies} queued, s": all_s,
        "gain": studies * seconds / all_s,
        "one worker: no network computes, s a study": idle_s(in_turn, of_turn) / len(of_turn),
        f"{WORKERS} workers: no network computes, s a study": max(0.0, idle_s(all_s, outcomes)) / studies,
    }


def idle_s(all_s: float, outcomes: list[JobOutcome]) -> float:
    """How long no network computed, at least: passes of two workers at the same time count as if one had followed the other."""
    return all_s - sum(outcome.stage_s["network"] for outcome in outcomes)


def through(engine: Engine, specs: Sequence[JobSpec]) -> tuple[float, list[JobOutcome]]:
    """As dispatch does it: submitted as workers can take them."""
    started, left, outcomes = time.perf_counter(), list(enumerate(specs)), list[JobOutcome]()
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
def engine(workers: int) -> Iterator[Engine]:
    """So many workers that take turns on all cores, or on one GPU, as the node has them."""
    with tempfile.TemporaryDirectory() as scratch:
        settings = EngineSettings(
            scheduler="local",
            workers=workers,
            threads_per_worker=len(os.sched_getaffinity(0)),
            memory_limit_bytes=None,
            scratch_folder=scratch,
            preload="dicom_node.attempt",
            environment={PLACES: Places(scratch, cpu=1, gpu=min(1, this_machine().gpus)).text},
        )
        started = Engine(settings, run_attempt)
        try:
            while started.free() < workers:
                time.sleep(0.05)
            yield started
        finally:
            started.close()
