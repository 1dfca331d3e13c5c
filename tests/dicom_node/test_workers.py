"""How many workers there are, how many threads each has, and which of them take turns."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicom_node import attempt, workers
from dicom_node.attempt import PLACES, Places
from dicom_node.config import Config
from dicom_node.engine import Engine, EngineSettings
from dicom_node.workers import Machine, engine_settings, most_in_a_place, places_of, this_machine
from inference.turns import TURNS, VISIBLE, Turns
from tests.waiting import wait_until

GIB = 1 << 30
EDGE, SERVER, GPU_SERVER = Machine(2, 24 * GIB, 0), Machine(64, 256 * GIB, 0), Machine(64, 512 * GIB, 4)


def configured(tmp_path: Path, **engine: Any) -> Config:
    return Config.model_validate(
        {"node": {"ae_title": "NODE", "data_folder": str(tmp_path)}, "engine": engine, "models": [], "routes": []}
    )


@pytest.mark.parametrize(
    ("machine", "engine", "told"),
    [
        (EDGE, {}, (2, 2, 2)),
        (Machine(2, 6 * GIB, 0), {}, (1, 2, 1)),  # too little memory for two volumes
        (Machine(1, 24 * GIB, 0), {}, (1, 1, 1)),
        (SERVER, {}, (2, 64, 2)),
        (GPU_SERVER, {}, (8, 16, 2)),
        (Machine(64, 12 * GIB, 4), {}, (4, 16, 1)),  # each GPU has one at least
        (SERVER, {"workers": 8}, (8, 8, 1)),  # what was asked for computes at once
        (SERVER, {"workers": 8, "threads_per_worker": 64}, (8, 64, 8)),
        (GPU_SERVER, {"workers": 4}, (4, 16, 1)),
        (GPU_SERVER, {"workers": 12}, (12, 5, 3)),
    ],
)
def test_workers_share_out_what_the_machine_has(
    machine: Machine, engine: dict[str, Any], told: tuple[int, int, int], tmp_path: Path
) -> None:
    """told: workers, threads of each, and how many share a place at most."""
    config = configured(tmp_path, **engine)
    settings = engine_settings(config, "text", machine)
    assert (settings.workers, settings.threads_per_worker, most_in_a_place(config, machine)) == told
    assert Places.told(settings.environment[PLACES]) == places_of(config, machine)


@pytest.mark.parametrize(("visible", "gpus"), [(None, 3), ("", 0), ("-1", 0), ("2", 1), ("0,2", 2)])
def test_gpus_that_are_hidden_do_not_count(
    visible: str | None, gpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        (tmp_path / f"0000:0{number}:00.0").mkdir()
    monkeypatch.setattr(workers, "GPUS", tmp_path)
    monkeypatch.delenv(VISIBLE, raising=False)
    if visible is not None:
        monkeypatch.setenv(VISIBLE, visible)
    assert this_machine().gpus == gpus


def test_workers_elsewhere_have_a_machine_of_their_own(tmp_path: Path) -> None:
    assert most_in_a_place(configured(tmp_path, scheduler="tls://gpu1:8786"), EDGE) == 1


def test_a_worker_takes_the_place_of_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt.logs, "configure", lambda *_args, **_more: None)
    monkeypatch.setenv(PLACES, Places(str(tmp_path / "a folder"), cpu=4, gpu=2).text)
    monkeypatch.setenv(VISIBLE, "")
    monkeypatch.setattr(TURNS, "_files", {})
    attempt.dask_setup(SimpleNamespace(name=5))
    assert os.environ[VISIBLE] == "1"
    alone = Turns()
    alone.share(tmp_path / "a folder", cpu=1, gpu=1)
    assert TURNS._files == alone._files


def compute() -> tuple[int, float, float]:
    """Run in a worker: which process it was, and from when to when it had its turn."""
    with TURNS.at("cpu"):
        began = time.monotonic()
        time.sleep(0.05)
        return os.getpid(), began, time.monotonic()


def test_workers_of_one_place_compute_one_after_the_other(tmp_path: Path) -> None:
    environment = {PLACES: Places(str(tmp_path / "turns"), cpu=1, gpu=0).text}
    engine = Engine(EngineSettings("local", 2, 1, None, str(tmp_path), "dicom_node.attempt", environment), compute)
    try:
        wait_until(lambda: engine.free() == 2)
        found: list[tuple[int, float, float]] = []
        for number in range(6):
            engine.submit((number, 1))
        while len(found) < 6:
            found += [ended.value for ended in engine.ended(1.0)]
    finally:
        engine.close()
    turns = sorted(found, key=lambda turn: turn[1])
    assert len({process for process, _, _ in turns}) == 2
    assert all(ends <= begins for (_, _, ends), (_, begins, _) in itertools.pairwise(turns))
