from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from dicom_node.preparation import Preparation
from dicom_node.room import Level
from storage.errors import StorageUnavailable
from storage.objects import spares
from storage.objects.file import FileStore
from tests.waiting import LIMIT_S, wait_until


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    monkeypatch.setattr(spares, "PACK_BYTES", 2 * 1024 * 1024)
    return FileStore(tmp_path / "objects")


def _waiting(folder: Path) -> int:
    found = list((folder / "objects").glob("packs/*/*.pack"))
    return sum(path.stat().st_size == 2 * 1024 * 1024 for path in found)


def test_packs_are_made_ready_while_nothing_comes_and_again_when_one_was_taken(
    store: FileStore, tmp_path: Path
) -> None:
    preparation = Preparation(store, lambda: 10.0, lambda: "ok", 2)
    preparation.start()
    try:
        wait_until(lambda: _waiting(tmp_path) == 2)
        pack = store.open_pack()
        wait_until(lambda: _waiting(tmp_path) == 3)
        pack.close(sealed=True)
    finally:
        preparation.stop()


def test_nothing_is_written_while_images_come(store: FileStore, tmp_path: Path) -> None:
    asked = threading.Semaphore(0)

    def busy() -> float:
        asked.release()
        return 0.0

    preparation = Preparation(store, busy, lambda: "ok", 1)
    preparation.start()
    for _ in range(5):
        assert asked.acquire(timeout=LIMIT_S)
    written = sum(path.stat().st_size for path in (tmp_path / "objects" / ".writing").iterdir())
    preparation.stop()  # although it waits for quiet
    assert written == 0
    assert not list((tmp_path / "objects" / ".writing").iterdir())


def test_a_disk_that_fails_does_not_end_the_making(store: FileStore, tmp_path: Path) -> None:
    class Failing:
        failures = 1

        def prepare_pack(self, **asked: object) -> bool:
            if self.failures:
                self.failures -= 1
                raise StorageUnavailable("object store: Input/output error")
            return store.prepare_pack(**asked)  # type: ignore[arg-type]

    preparation = Preparation(Failing(), time.monotonic, lambda: "ok", 1)  # type: ignore[arg-type]
    preparation.start()
    try:
        wait_until(lambda: _waiting(tmp_path) == 1)
    finally:
        preparation.stop()


def test_where_room_is_short_none_are_made_and_in_need_they_are_given_back(store: FileStore, tmp_path: Path) -> None:
    levels: list[Level] = ["low"]
    asked = threading.Semaphore(0)

    def level() -> Level:
        asked.release()
        return levels[-1]

    preparation = Preparation(store, lambda: 10.0, level, 2)
    preparation.start()
    try:
        for _ in range(3):
            assert asked.acquire(timeout=LIMIT_S)
        assert not _waiting(tmp_path)
        levels.append("ok")
        wait_until(lambda: _waiting(tmp_path) == 2)
        levels.append("low")
        for _ in range(3):
            assert asked.acquire(timeout=LIMIT_S)
        assert _waiting(tmp_path) == 2
        levels.append("paused")
        wait_until(lambda: not _waiting(tmp_path))
    finally:
        preparation.stop()


def test_how_many_are_kept_ready_may_change(store: FileStore, tmp_path: Path) -> None:
    preparation = Preparation(store, lambda: 10.0, lambda: "ok", 1)
    preparation.start()
    try:
        wait_until(lambda: _waiting(tmp_path) == 1)
        for packs in (3, 2, 0):
            preparation.use(packs)
            wait_until(lambda wanted=packs: _waiting(tmp_path) == wanted)  # type: ignore[misc]
    finally:
        preparation.stop()
