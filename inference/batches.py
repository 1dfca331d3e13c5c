"""How many windows or slices a network is given at once: as many as there is memory for, and no more than pays.

On a GPU what one takes is measured, and as many follow at once as fit into what is free. On a CPU one window keeps all cores
busy; more pay where they were measured to (see `inference.tuning`). Where memory turns out to be short, half is tried, and so on;
how many fitted is remembered for the next study.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

MOST = 32
SLICES_ON_CPU = 4
_SHARE = 0.8
"""Of the free memory of a GPU: the rest is for what differs from batch to batch."""
_SHORT = ("can't allocate memory", "out of memory")

Batch = int | Literal["auto"]


@dataclass(slots=True)
class Room:
    """most: how many fitted when more did not; None as long as all did. best: how many to begin with, if measured."""

    most: int | None = None
    best: int | None = None


class Batches:
    """The parts of an image in batches, one image after the other."""

    def __init__(
        self, predict: Callable[[Tensor], Tensor], wanted: Batch, device: torch.device, *, room: Room | None = None
    ) -> None:
        """predict: (batch, channels, ...) on the device to maps of that batch."""
        self._predict = predict
        self._is_auto = wanted == "auto"
        self._device = device
        self._room = room or Room()
        self._size = (self._room.best or 1) if wanted == "auto" else wanted
        self._measures = self._is_auto and device.type == "cuda" and self._room.best is None
        self._size = min(self._size, self._room.most or self._size)

    def of(self, count: int, parts: Callable[[int, int], Tensor]) -> Iterator[tuple[int, Tensor]]:
        """The first of each batch of `count` parts, and what was predicted. parts: from one to before another, as a batch."""
        at = 0
        while at < count:
            many = min(self._size, count - at)
            try:
                answer = self._measured(parts(at, at + many))
            except Exception as error:
                # Where nobody chose how many, a network that takes only one at a time is given one at a time.
                if many == 1 or not (self._is_auto or _is_short(error)):
                    raise
                self._room.most = self._size = many // 2
                if self._device.type == "cuda":
                    torch.cuda.empty_cache()
                continue
            yield at, answer
            at += many

    def _measured(self, batch: Tensor) -> Tensor:
        """As predict; the first time on a GPU also how much memory it took, which says how many follow."""
        given = batch.to(self._device)
        if not self._measures:
            return self._predict(given)
        self._measures = False
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        answer = self._predict(given)
        taken = max(torch.cuda.max_memory_allocated(self._device) - before, 1)
        free, _ = torch.cuda.mem_get_info(self._device)
        spare = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        self._size = fitting(taken // len(batch), free + spare)
        self._room.best = self._size
        return answer


def fitting(one_bytes: int, free_bytes: int) -> int:
    """How many fit, one at least."""
    return int(min(max(free_bytes * _SHARE // max(one_bytes, 1), 1), MOST))


def _is_short(error: Exception) -> bool:
    """Whether there was too little memory: of a GPU, or of the machine, which torch tells in words only."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _SHORT)
