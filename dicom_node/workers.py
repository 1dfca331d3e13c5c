"""How many worker processes there are, which place on a device each has, and what they are told.

By default two share each GPU, or without one all cores, and take turns: while one computes the other reads, encodes and writes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dicom_node.attempt import LOG_FORMAT, LOG_LEVEL, PLACES, REPEATABLE, Places
from dicom_node.config import Config
from dicom_node.engine import EngineSettings
from inference.turns import VISIBLE

GPUS = Path("/proc/driver/nvidia/gpus")
A_PLACE = 2
_LEAST_BYTES = 4 << 30
"""A second worker for each of so much memory: a large CT takes a job 1.3 GB, without what its model takes."""


@dataclass(frozen=True, slots=True)
class Machine:
    """gpus: that the driver shows, or those of them that CUDA_VISIBLE_DEVICES leaves; counted without loading torch."""

    cores: int
    memory_bytes: int
    gpus: int


def this_machine() -> Machine:
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(len(os.sched_getaffinity(0)), memory_bytes, _gpus())


def _gpus() -> int:
    visible = os.environ.get(VISIBLE)
    if visible is None:
        return len(list(GPUS.glob("*")))
    return sum(one not in {"", "-1"} for one in visible.split(","))


def worker_count(config: Config, machine: Machine) -> int:
    """As configured; else for each GPU, or for all cores, two that take turns, as far as memory and cores reach."""
    if config.engine.workers != "auto":
        return config.engine.workers
    devices = max(1, machine.gpus)
    reached = min(A_PLACE * devices, machine.memory_bytes // _LEAST_BYTES, machine.cores)
    return max(devices, reached)


def places_of(config: Config, machine: Machine) -> Places:
    """As many compute on the cores at once as there are cores for."""
    threads = threads_of(config, machine)
    folder = config.node.data_folder / "scratch" / "turns"
    return Places(str(folder), cpu=max(1, machine.cores // threads), gpu=machine.gpus)


def threads_of(config: Config, machine: Machine) -> int:
    """Of each worker: all cores where workers take turns, else its part."""
    if config.engine.threads_per_worker != "auto":
        return config.engine.threads_per_worker
    if config.engine.workers == "auto":
        return max(1, machine.cores // max(1, machine.gpus))
    return max(1, machine.cores // config.engine.workers)


def most_in_a_place(config: Config, machine: Machine) -> int:
    """How many workers take turns at most."""
    if config.engine.scheduler != "local":
        return 1
    places = places_of(config, machine)
    return -(-worker_count(config, machine) // min(places.cpu, places.gpu or places.cpu))


def engine_settings(config: Config, log_format: Literal["text", "json"], machine: Machine) -> EngineSettings:
    told = {LOG_LEVEL: config.logging.level, LOG_FORMAT: log_format, PLACES: places_of(config, machine).text}
    return EngineSettings(
        scheduler=config.engine.scheduler,
        workers=worker_count(config, machine),
        threads_per_worker=threads_of(config, machine),
        memory_limit_bytes=config.engine.memory_limit_bytes,
        scratch_folder=str(config.node.data_folder / "scratch"),
        preload="dicom_node.attempt",
        environment={**told, **REPEATABLE},
    )
