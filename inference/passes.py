"""How much of a job's time its network computed: the rest is reading, resampling, deciding and writing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from inference.batches import Room


@dataclass(frozen=True, slots=True)
class Taken:
    """count: forward passes. seconds: what they took, on the device."""

    count: int
    seconds: float


class Passes:
    """The forward passes of one thread since they were last asked for."""

    def __init__(self) -> None:
        self._of = threading.local()

    def add(self, taken: Taken) -> None:
        self._of.count = getattr(self._of, "count", 0) + taken.count
        self._of.seconds = getattr(self._of, "seconds", 0.0) + taken.seconds

    def add_events(self, start: torch.cuda.Event, end: torch.cuda.Event) -> None:
        """A pass that the device has not come to the end of."""
        self._of.events = [*getattr(self._of, "events", []), (start, end)]

    def taken(self) -> Taken:
        """Those since the last time, and none from now on. Waits for what the device still computes."""
        events = getattr(self._of, "events", [])
        for _, end in events:
            end.synchronize()
        count = getattr(self._of, "count", 0) + len(events)
        seconds = getattr(self._of, "seconds", 0.0) + sum(start.elapsed_time(end) for start, end in events) / 1000
        self._of.__dict__.clear()
        return Taken(count, seconds)


PASSES = Passes()


class Timed:
    """A network whose passes are counted in PASSES. room: how many windows it can be given at once, as far as that is known.

    Where the device computes by itself nobody waits for it here.
    """

    def __init__(self, network: Callable[..., object], device: torch.device) -> None:
        self.network = network
        self.room = Room()
        self._on_cuda = device.type == "cuda"

    def __call__(self, *given: torch.Tensor) -> object:
        if not self._on_cuda:
            started = time.perf_counter()
            answer = self.network(*given)
            PASSES.add(Taken(1, time.perf_counter() - started))
            return answer
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        answer = self.network(*given)
        end.record()
        PASSES.add_events(start, end)
        return answer
