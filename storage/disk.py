"""The disk that a folder is on."""

from __future__ import annotations

import os
from pathlib import Path


def free_bytes(folder: Path) -> int:
    """Room that is left for this process's user. Raises OSError."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
