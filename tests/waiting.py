"""Waiting for what another thread, process or program does, with limits that a slow and busy machine does not reach."""

from __future__ import annotations

import time
from collections.abc import Callable

LIMIT_S = 240.0
# Of a test in which several such waits may follow each other: pytest.mark.timeout(PATIENCE_S).
PATIENCE_S = 1200
_LOOK_EACH_S = 0.01


def eventually(condition: Callable[[], object], limit_s: float = LIMIT_S) -> bool:
    """Whether the condition holds within the limit."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(_LOOK_EACH_S)
    return bool(condition())


def wait_until(
    holds: Callable[[], object], what: str = "what was waited for did not happen", *, at_most_s: float = LIMIT_S
) -> None:
    """Return as soon as it holds. what: the message where it does not."""
    assert eventually(holds, at_most_s), what
