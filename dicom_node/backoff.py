"""When is a failed delivery tried again, and when is it given up? Pure: clock and chance are passed in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """The wait doubles from `first_s` to `max_s`; a delivery older than `for_s` is given up."""

    first_s: float
    max_s: float
    for_s: float

    def wait_s(self, attempts: int, *, jitter: float) -> float:
        """Seconds to wait after this many attempts (at least 1).

        jitter: from 0 to 1; takes away up to half of the wait, so that those who failed together come back apart.
        """
        # 2**64 times any wait is beyond every max_s; without the bound the float would overflow after 1,024 attempts.
        doubled = self.first_s * 2.0 ** min(attempts - 1, 64)
        return min(doubled, self.max_s) * (1 - jitter / 2)

    def is_given_up(self, *, queued_at: float, now: float) -> bool:
        return now - queued_at >= self.for_s
