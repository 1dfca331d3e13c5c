"""Benchmarks with a handful of instances: every program starts, and every instance is stored or read."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import compress, inference, receive, send, volume
from benchmarks.inference_models import NETWORKS, Sizes
from benchmarks.rounds import file_system

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def compiler(peer: Callable[[str], str]) -> None:
    peer("gcc")


@pytest.fixture
def in_memory() -> Path:
    memory = Path("/dev/shm")
    if not memory.is_dir() or not file_system(memory).startswith("tmpfs"):
        pytest.skip("no file system in memory at /dev/shm")
    return memory


def test_sending_is_measured_for_every_bar(tmp_path: Path) -> None:
    measured = send.measure(tmp_path, rounds=1, instances=4)
    assert all(measured.judge(bar) for bar in send.BARS)


def test_receiving_is_measured_for_every_bar_with_nothing_left_behind(
    tmp_path_factory: pytest.TempPathFactory, in_memory: Path
) -> None:
    disk = tmp_path_factory.mktemp("disk")
    if file_system(disk).startswith("tmpfs"):
        pytest.skip("the folder for temporary files is in memory: there is no disk to measure")
    memory = in_memory / disk.name
    memory.mkdir()
    try:
        measured = receive.measure(
            {receive.TMPFS: memory, receive.DISK: disk}, receive.Scale(rounds=1, ct=8, small=40, long=8)
        )
        assert all(measured.judge(bar) for bar in receive.bars())
        assert not [*disk.iterdir(), *memory.iterdir()]
    finally:
        memory.rmdir()


def test_every_form_of_compression_is_measured_and_makes_objects_smaller(tmp_path: Path) -> None:
    measured = compress.measure(tmp_path, rounds=1, slices=8)
    assert [(kind, method) for kind, method, *_ in measured] == list(compress.FORMS)
    assert all(after < before for _, _, before, after, *_ in measured)


def test_a_folder_that_is_not_the_medium_it_stands_for_is_refused(in_memory: Path) -> None:
    with pytest.raises(AssertionError, match="is no disk"):
        receive.measure({receive.DISK: in_memory}, receive.Scale(1, 1, 1, 1))


def test_reading_a_series_is_measured_in_every_form_beside_the_readers_that_tests_have(tmp_path: Path) -> None:
    measured = volume.measure(tmp_path, rounds=1, images=16, peers=None)
    cases = {(form, when) for form, when, _ in measured.seconds}
    assert cases == {(form, when) for form in volume.SYNTAXES for when in (volume.FIRST, volume.AGAIN)}
    judged = [bar.what for bar in volume.BARS if measured.rounds.judge(bar)]
    assert len(judged) == 12, judged
    assert min(measured.peak_bytes.values()) > 0


def test_a_ct_goes_through_each_network_as_with_monai_and_every_figure_is_there(tmp_path: Path) -> None:
    scale = inference.Scale(
        rounds=1,
        images=16,
        studies=2,
        tunes=False,
        sizes=Sizes(spacing_mm=12.0, patch=64),
        small=Sizes(spacing_mm=12.0, patch=32),
    )
    figures = inference.measure(tmp_path, scale, sys.executable, "cpu")
    assert len(inference.bars(figures, 8.0)) == 3 * len(NETWORKS)
    for dice in figures.agree.values():
        # Half-way between two points of the grid MONAI takes the even one, the node the one at the higher index.
        assert min(dice.values()) > 0.85, dice
    assert figures.queue["gain"] > 0
    assert set(figures.precisions) == {"fp32", "bf16", "onnx fp32", "onnx int8"}
