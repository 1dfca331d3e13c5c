"""How long attempts are waited for that may have to wait for each other: workers of one place compute in turns.

An attempt has its own limit, and besides the limits of as many others as may compute before it. Once one of these has ended,
no more is waited for than an attempt that began then would get; and where it was stopped, no less than that one's own limit.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from dicom_node.engine import Key


@dataclass(slots=True)
class _Attempt:
    """beside: the largest limits of those that ran at the same time, since it began and since the last that ended. least: it is
    not over before."""

    limit_s: float
    began: float
    beside: list[float]
    since: float
    beside_since: list[float]
    least: float = 0.0

    @property
    def deadline(self) -> float:
        most = self.limit_s + min(self.began + sum(self.beside), self.since + sum(self.beside_since))
        return max(most, self.least)


class Patience:
    """others: how many may compute before an attempt. Times are in seconds, by one clock."""

    def __init__(self, others: int) -> None:
        self._others = others
        self._attempts: dict[Key, _Attempt] = {}

    def begins(self, key: Key, limit_s: float, now: float) -> None:
        running = self._most(one.limit_s for one in self._attempts.values())
        for one in self._attempts.values():
            one.beside = self._most((*one.beside, limit_s))
            one.beside_since = self._most((*one.beside_since, limit_s))
        self._attempts[key] = _Attempt(limit_s, now, running, now, running)

    def ends(self, key: Key, now: float, *, was_stopped: bool = False) -> None:
        """was_stopped: as it was over, and may have kept all others waiting until now."""
        if self._attempts.pop(key, None) is None:
            return
        for key_of_one, one in self._attempts.items():
            still = self._most(other.limit_s for name, other in self._attempts.items() if name != key_of_one)
            if now + sum(still) < one.since + sum(one.beside_since):
                one.since, one.beside_since = now, still
            if was_stopped and self._others:
                one.least = now + one.limit_s

    def is_over(self, key: Key, now: float) -> bool:
        """Whether it took longer than it may. One that is not known has all the time."""
        one = self._attempts.get(key)
        return one is not None and now >= one.deadline

    def _most(self, limits: Iterable[float]) -> list[float]:
        return heapq.nlargest(self._others, limits)
