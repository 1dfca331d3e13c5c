"""Moments as people write them on the command line: `7d` ago, or a day, or a moment of it."""

from __future__ import annotations

import re
from datetime import datetime

from dicom_node.errors import NodeError

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)")
_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def moment_of(option: str, written: str, now: float) -> float:
    """Seconds since the epoch. Without an offset it is local time. Raises NodeError where it is none of these."""
    ago = _AGO.fullmatch(written.strip())
    if ago:
        return now - float(ago[1]) * _SECONDS[ago[2]]
    try:
        return datetime.fromisoformat(written.strip()).timestamp()
    except ValueError:
        raise NodeError(
            f"{option} {written}: must be an age (30min, 12h, 7d, 2w) or a moment (2026-01-31, 2026-01-31T08:00)"
        ) from None
