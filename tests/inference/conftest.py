"""Whatever is read in these tests is read into memory that holds something else."""

from __future__ import annotations

import pytest

from inference import memory
from tests.poisoned_rooms import PoisonedRooms


@pytest.fixture(autouse=True)
def poisoned_rooms(monkeypatch: pytest.MonkeyPatch) -> PoisonedRooms:
    rooms = PoisonedRooms()
    monkeypatch.setattr(memory, "VOXELS", rooms)
    return rooms
