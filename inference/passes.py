"""How much of a job's time its network computed: the rest is reading, resampling, deciding and writing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


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


def timed(network: Callable[..., object], device: torch.device) -> Callable[..., object]:
    """The same network, its passes counted in PASSES. Where the device computes by itself nobody waits for it here."""

    def on_cuda(*given: torch.Tensor) -> object:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        answer = network(*given)
        end.record()
        PASSES.add_events(start, end)
        return answer

    def on_cpu(*given: torch.Tensor) -> object:
        started = time.perf_counter()
        answer = network(*given)
        PASSES.add(Taken(1, time.perf_counter() - started))
        return answer

    return on_cuda if device.type == "cuda" else on_cpu
