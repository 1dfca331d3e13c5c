"""Is a destination worth trying now? A circuit breaker as a value: pure, the clock is passed in.

closed: every delivery is tried. open: none is, until a pause is over. half-open: the pause is over, one delivery is
tried, and its outcome closes the breaker or opens it for another pause.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

State = Literal["closed", "open", "half-open"]


@dataclass(frozen=True, slots=True)
class Breaker:
    """failures: how many in a row open it; pause_s: how long it then stays open."""

    failures: int
    pause_s: float
    failures_in_a_row: int = 0
    # While set, the breaker is not closed; seconds on the clock of `now`.
    open_until: float | None = None

    def __post_init__(self) -> None:
        if self.failures < 1 or self.pause_s <= 0:
            raise ValueError(f"a breaker needs failures >= 1 and pause_s > 0, not {self.failures} and {self.pause_s}")

    def state(self, now: float) -> State:
        if self.open_until is None:
            return "closed"
        return "open" if now < self.open_until else "half-open"

    def succeeded(self) -> Breaker:
        return replace(self, failures_in_a_row=0, open_until=None)

    def failed(self, now: float) -> Breaker:
        """One more failure; a failure while not closed (the trial of a half-open one) begins another pause."""
        count = self.failures_in_a_row + 1
        opens = self.open_until is not None or count >= self.failures
        return replace(self, failures_in_a_row=count, open_until=now + self.pause_s if opens else None)
