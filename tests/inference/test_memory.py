"""Memory that a volume leaves for the next one: used again, never while anybody still looks at it, and not kept for long."""

from __future__ import annotations

import errno
import mmap
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydicom import uid

from inference import memory
from inference.confined.wire import lent_array
from inference.errors import NotAVolume
from inference.memory import Rooms, Scratch
from inference.series import read_series
from tests.inference.series_factory import Shape, make_series, received, with_compressed
from tests.inference.test_pixels import LOSSLESS
from tests.poisoned_rooms import PoisonedRooms
from tests.waiting import wait_until

MANY = (4, 64, 64)


def rooms(idle_s: float = 3600.0) -> Rooms:
    return Rooms(least_bytes=4096, idle_s=idle_s)


def filled(kept: Rooms, value: float, shape: tuple[int, ...] = MANY) -> NDArray[np.float32]:
    found = kept.array(shape, np.float32)
    found[...] = value
    return found


def is_left_by(found: NDArray[np.float32], value: float) -> bool:
    return bool(np.all(found == value))


def test_what_nobody_looks_at_any_more_is_used_again() -> None:
    kept = rooms()
    filled(kept, 7.0)
    assert is_left_by(kept.array(MANY, np.float32), 7.0)


@pytest.mark.parametrize("look", [lambda a: a[1:], lambda a: a.T[::-1], torch.from_numpy, lambda a: memoryview(a[0])])
def test_as_long_as_anybody_looks_at_an_array_its_memory_is_given_to_nobody(look: object) -> None:
    kept = rooms()
    view = look(filled(kept, 7.0))  # type: ignore[operator]
    filled(kept, 8.0)
    assert np.all(np.asarray(view) == 7.0)


@pytest.mark.parametrize("slices", [1, 3, 9])
def test_a_room_is_made_to_fit_what_comes_next(slices: int) -> None:
    kept = rooms()
    filled(kept, 7.0)
    found = kept.array((slices, 64, 64), np.float32)
    assert found.shape == (slices, 64, 64)
    assert is_left_by(found[:4], 7.0)
    assert kept.kept_bytes == found.nbytes


def test_a_free_room_that_the_next_array_does_not_need_is_given_up() -> None:
    kept = rooms()
    both = [filled(kept, 7.0), filled(kept, 8.0)]
    assert kept.kept_bytes == 2 * both[0].nbytes
    both.clear()
    found = kept.array(MANY, np.float32)
    assert kept.kept_bytes == found.nbytes


def test_of_many_arrays_at_a_time_the_memory_of_two_is_kept() -> None:
    kept = rooms()
    many = [filled(kept, value) for value in range(5)]
    assert all(is_left_by(one, value) for value, one in enumerate(many))
    assert kept.kept_bytes == 2 * many[0].nbytes


def test_memory_that_nobody_needs_goes_back_to_the_system() -> None:
    kept = rooms(idle_s=0.01)
    found = filled(kept, 7.0)
    # Two looks at it, and it is still there.
    threading.Event().wait(0.05)
    assert kept.kept_bytes == found.nbytes
    del found
    wait_until(lambda: not kept.kept_bytes)
    assert is_left_by(kept.array(MANY, np.float32), 0.0)


def test_small_arrays_leave_what_a_large_one_left_alone() -> None:
    kept = rooms()
    filled(kept, 7.0)
    assert is_left_by(kept.array((4, 4), np.float32), 0.0)
    assert is_left_by(kept.array(MANY, np.float32), 7.0)


def test_what_was_taken_for_a_borrower_is_lent_as_it_is_and_cannot_be_changed_through_what_it_gets() -> None:
    kept = rooms()
    with kept.for_borrower("a"):
        array = filled(kept, 7.0)
    descriptor = kept.lendable(array, "a")
    assert descriptor is not None
    seen = lent_array(descriptor, array.dtype, array.shape)
    array[0, 0, 0] = 8.0
    assert np.array_equal(seen, array)
    seen[...] = 9.0  # its own copy, from now on
    assert array[1, 1, 1] == 7.0
    for change in (
        lambda: os.write(descriptor, b"x"),
        lambda: os.truncate(descriptor, 0),
        lambda: mmap.mmap(descriptor, array.nbytes),
        lambda: os.write(os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR), b"x"),
    ):
        with pytest.raises(PermissionError):
            change()
    assert array[0, 0, 0] == 8.0


def test_for_more_than_there_is_memory_is_refused_to_a_borrower_too() -> None:
    kept = rooms()
    with kept.for_borrower("a"), pytest.raises(MemoryError):
        kept.array((1 << 24, 1 << 12, 1 << 10), np.float32)


def test_where_memory_cannot_be_sealed_nothing_is_lent_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_given: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(memory.fcntl, "fcntl", refused)
    kept, descriptors = rooms(), len(list(Path("/proc/self/fd").iterdir()))
    with kept.for_borrower("a"):
        array = filled(kept, 7.0)
    assert kept.lendable(array, "a") is None
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_memory_of_a_borrower_is_used_again_for_it_alone() -> None:
    kept = rooms()
    with kept.for_borrower("a"):
        filled(kept, 7.0)
        assert is_left_by(kept.array(MANY, np.float32), 7.0)
        smaller = kept.array((3, 64, 64), np.float32)
        assert is_left_by(smaller, 7.0)
        descriptor = kept.lendable(smaller, "a")
        assert descriptor is not None
        whole = lent_array(descriptor, smaller.dtype, MANY)
        assert is_left_by(whole[3:], 0.0)  # of the volume before nothing is seen behind it
        del smaller, whole
    assert not is_left_by(kept.array(MANY, np.float32), 7.0)
    with kept.for_borrower("a"):
        filled(kept, 7.0)
    with kept.for_borrower("b"):
        assert is_left_by(kept.array(MANY, np.float32), 0.0)
    with kept.for_borrower("a"):
        filled(kept, 7.0)
        assert is_left_by(kept.array((1, 64, 64), np.float32), 0.0)  # far too large a room is given up
        assert is_left_by(kept.array((2, 64, 64), np.float32), 0.0)  # and one too small


def test_what_is_no_room_of_the_borrower_is_not_lent_as_it_is() -> None:
    kept = rooms()
    ordinary = filled(kept, 7.0)
    with kept.for_borrower("a"):
        array = filled(kept, 7.0)
        small = kept.array((4, 4), np.float32)
    assert kept.lendable(array, "b") is None
    assert [kept.lendable(one, "a") for one in (ordinary, small, array[1:], array[:, ::-1], array.copy())] == [None] * 5
    assert kept.lendable(array, "a") is not None


def test_scratch_memory_is_of_one_thread_and_of_one_use() -> None:
    scratch = Scratch()
    first, other = scratch.array("bytes", 8, np.uint8), scratch.array("values", 4, np.uint16)
    found: list[NDArray[np.uint8]] = []
    thread = threading.Thread(target=lambda: found.append(scratch.array("bytes", 8, np.uint8)))
    thread.start()
    thread.join()
    assert np.shares_memory(first, scratch.array("bytes", 4, np.uint8))
    assert not np.shares_memory(first, other)
    assert not np.shares_memory(first, found[0])


@pytest.mark.parametrize(
    "syntax", [None, *LOSSLESS], ids=lambda syntax: uid.UID(syntax).keyword if syntax else "native"
)
@pytest.mark.parametrize("threads", [1, 2])
def test_no_voxel_of_the_volume_before_is_in_the_next(
    syntax: str | None, threads: int, poisoned_rooms: PoisonedRooms
) -> None:
    made = make_series(Shape(slices=5, rows=24, columns=20))
    datasets = [received(dataset) for dataset in made.datasets]
    if syntax:
        stored = [np.frombuffer(dataset.PixelData, "<u2").reshape(24, 20) for dataset in made.datasets]
        datasets = [
            with_compressed(one, [LOSSLESS[syntax](each)], syntax) for one, each in zip(datasets, stored, strict=True)
        ]
    for _ in range(3):
        volume = read_series(datasets, threads=threads).volumes[0]
        assert np.array_equal(volume.voxels, made.voxels)
        assert poisoned_rooms.kept_bytes == volume.voxels.nbytes
        del volume


def test_a_series_that_breaks_off_half_way_leaves_memory_that_the_next_one_overwrites(
    poisoned_rooms: PoisonedRooms,
) -> None:
    made = make_series(Shape(slices=5, rows=24, columns=20))
    frames = [LOSSLESS[uid.RLELossless](np.frombuffer(d.PixelData, "<u2").reshape(24, 20)) for d in made.datasets]
    whole = [with_compressed(received(d), [f], uid.RLELossless) for d, f in zip(made.datasets, frames, strict=True)]
    broken = list(whole)
    broken[3] = with_compressed(received(made.datasets[3]), [frames[3][: len(frames[3]) // 2]], uid.RLELossless)
    with pytest.raises(NotAVolume, match="cannot be decoded"):
        read_series(broken, threads=1)
    assert np.array_equal(read_series(whole).volumes[0].voxels, made.voxels)
    assert poisoned_rooms.kept_bytes == made.voxels.nbytes
