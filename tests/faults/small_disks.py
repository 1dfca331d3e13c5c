"""A file system of a given size, mounted for a test."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, size_bytes: int) -> Iterator[Path]:
    """Skips the test where nothing can be mounted."""
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("a file system can be mounted by root only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def leave_free(disk: Path, free_bytes: int, ballast: str = "ballast") -> None:
    """Write or shorten a file on the disk so that just so much is free."""
    path = disk / ballast
    there = path.stat().st_size if path.exists() else 0
    wanted = there + shutil.disk_usage(disk).free - free_bytes
    with path.open("ab") as file:
        if wanted <= there:
            file.truncate(max(0, wanted))
        else:
            file.write(bytes(wanted - there))
