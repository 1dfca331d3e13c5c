"""A disk of our own under a folder, where that can be had."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.faults.fuse import can_mount, mounted
from tests.faults.lossy_disk import LossyDisk


@pytest.fixture
def fuse() -> Callable[[LossyDisk, Path], AbstractContextManager[None]]:
    if not can_mount():
        pytest.skip("a file system of our own is mounted by root only, and where there is /dev/fuse")
    return mounted
