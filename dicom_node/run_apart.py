"""One job in a process of its own: what it loads, and how it ends, is of no concern to this one."""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from dicom_node.attempt import REPEATABLE, JobOutcome, JobSpec, run_attempt


def run_apart(spec: JobSpec, *, threads: str | None = None) -> tuple[JobOutcome, float]:
    """What came of it, and how many seconds it took. threads: as many as the first run had, which may change its last bits."""
    surroundings = dict(REPEATABLE)
    if threads is not None and threads.isdecimal():
        surroundings["OMP_NUM_THREADS"] = threads
    started = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=_prepare, initargs=(surroundings,)) as process:
        try:
            outcome = process.submit(run_attempt, spec).result()
        except BrokenProcessPool:
            outcome = JobOutcome(error="its process ended while it ran the job (killed, or out of memory)")
    return outcome, time.perf_counter() - started


def _prepare(surroundings: dict[str, str]) -> None:
    """Before anything is loaded that looks at them once."""
    os.environ.update(surroundings)
