"""As many windows at once as there is memory for: fewer where it is short, and the next study begins with what fitted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from inference.batches import MOST, Batch, Batches, Room, fitting

CPU = torch.device("cpu")
IMAGE = torch.arange(10.0)


def short(most: int, error: Exception, tried: list[int]) -> Callable[[Tensor], Tensor]:
    """A network that has memory for so many."""

    def predict(batch: Tensor) -> Tensor:
        tried.append(len(batch))
        if len(batch) > most:
            raise error
        return batch * 2

    return predict


def all_of(predict: Callable[[Tensor], Tensor], wanted: Batch, room: Room) -> Tensor:
    found = list(Batches(predict, wanted, CPU, room=room).of(len(IMAGE), lambda first, end: IMAGE[first:end]))
    assert [first for first, _ in found] == [sum(len(one) for _, one in found[:at]) for at in range(len(found))]
    return torch.cat([one for _, one in found])


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to"),
        MemoryError(),
    ],
)
def test_where_memory_is_short_half_is_tried_and_the_next_study_begins_with_what_fitted(error: Exception) -> None:
    room, tried = Room(), []
    assert torch.equal(all_of(short(3, error, tried), 8, room), IMAGE * 2)
    assert tried == [8, 4, 2, 2, 2, 2, 2]
    tried.clear()
    assert torch.equal(all_of(short(3, error, tried), 8, room), IMAGE * 2)
    assert tried == [2] * 5


def test_an_error_that_is_none_of_memory_is_told_at_once() -> None:
    tried: list[int] = []
    with pytest.raises(RuntimeError, match="sizes of tensors"):
        all_of(short(3, RuntimeError("sizes of tensors must match"), tried), 8, Room())
    assert tried == [8]


def test_a_network_that_has_no_memory_for_one_says_so() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        all_of(short(0, torch.OutOfMemoryError("CUDA out of memory"), []), 4, Room())


def test_where_nobody_chose_a_network_that_takes_one_at_a_time_gets_one_at_a_time() -> None:
    tried: list[int] = []
    answer = all_of(short(1, ValueError("must have batch 1"), tried), "auto", Room(best=4))
    assert torch.equal(answer, IMAGE * 2)
    assert tried[:3] == [4, 2, 1]


def test_as_many_are_tried_as_were_measured_to_be_best() -> None:
    tried: list[int] = []
    all_of(short(9, MemoryError(), tried), "auto", Room(best=5))
    assert tried == [5, 5]
    tried.clear()
    all_of(short(9, MemoryError(), tried), "auto", Room())
    assert tried == [1] * 10


def test_what_is_free_on_a_gpu_is_not_filled_to_the_last_byte() -> None:
    assert fitting(100, 1000) == 8
    assert fitting(100, 50) == 1
    assert fitting(1, 10**9) == MOST
