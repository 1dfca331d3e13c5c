"""Waiting for what another thread, process or program does, with limits that a slow and busy machine does not reach."""

from __future__ import annotations

import time
from collections.abc import Callable

LIMIT_S = 240.0
# Of a test in which several such waits may follow each other: pytest.mark.timeout(PATIENCE_S).
PATIENCE_S = 1200
# Between looks: what comes soon is seen soon, and to wait for what takes long takes no core from what is waited for.
_LOOK_EACH_S, _SELDOM_S, _SHARE = 0.01, 0.1, 0.05


def eventually(condition: Callable[[], object], limit_s: float = LIMIT_S) -> bool:
    """Whether the condition holds within the limit."""
    began = time.monotonic()
    while (waited_s := time.monotonic() - began) < limit_s:
        if condition():
            return True
        time.sleep(min(_SELDOM_S, max(_LOOK_EACH_S, _SHARE * waited_s)))
    return bool(condition())


def wait_until(
    holds: Callable[[], object], what: str = "what was waited for did not happen", *, at_most_s: float = LIMIT_S
) -> None:
    """Return as soon as it holds. what: the message where it does not."""
    assert eventually(holds, at_most_s), what
