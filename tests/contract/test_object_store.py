"""What every object store must do. A backend's tests inherit the contract and bring a `store` fixture."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.errors import StorageError, StorageUnavailable, UnknownObject
from storage.objects import open_store
from storage.objects.file import FileStore
from storage.objects.protocol import TAIL_BYTES, ObjectStore


class ObjectStoreContract:
    def test_an_object_comes_back_as_its_chunks_were_put(self, store: ObjectStore) -> None:
        store.put("instances/a/1.dcm", (b"head", memoryview(b"-body-")[1:5], b""))
        assert store.get("instances/a/1.dcm") == b"headbody"

    def test_an_object_may_be_empty(self, store: ObjectStore) -> None:
        store.put("empty", ())
        assert store.get("empty") == b""
        assert list(store.keys()) == ["empty"]

    def test_the_same_key_again_replaces_the_object(self, store: ObjectStore) -> None:
        store.put("a/1", (b"a longer one",))
        store.put("a/1", (b"short",))
        assert store.get("a/1") == b"short"
        assert list(store.keys()) == ["a/1"]

    def test_an_object_that_is_not_kept_is_unknown(self, store: ObjectStore) -> None:
        with pytest.raises(UnknownObject, match="a/2"):
            store.get("a/2")

    @pytest.mark.parametrize("count", [0, 1, 100, TAIL_BYTES, TAIL_BYTES + 1, 2 * TAIL_BYTES + 7, 3 * TAIL_BYTES])
    def test_the_end_of_an_object_comes_in_pieces(self, store: ObjectStore, count: int) -> None:
        content = os.urandom(2 * TAIL_BYTES + 7)
        store.put("a/1", (content,))
        pieces = list(store.tail("a/1", count))
        assert b"".join(pieces) == content[max(0, len(content) - count) :]
        assert all(len(piece) <= TAIL_BYTES for piece in pieces)

    def test_the_end_of_what_is_not_kept_is_unknown(self, store: ObjectStore) -> None:
        with pytest.raises(UnknownObject, match="a/2"):
            next(store.tail("a/2", 5))

    def test_parts_of_an_object_are_read_from_wherever_they_are_wanted(self, store: ObjectStore) -> None:
        content = os.urandom(5000)
        store.put("a/1", (content,))
        part = store.part("a/1")
        assert part.size_bytes == 5000
        assert part.read(0, 0) == b""
        assert part.read(17, 400) == content[17:417]
        buffer = bytearray(7)
        part.read_into(4993, memoryview(buffer))
        assert buffer == content[-7:]

    @pytest.mark.parametrize(("start", "length"), [(4999, 2), (5000, 1), (6000, 1)])
    def test_a_part_that_reaches_beyond_the_object_is_unknown(
        self, store: ObjectStore, start: int, length: int
    ) -> None:
        store.put("a/1", (bytes(5000),))
        store.put("a/2", (bytes(5000),))
        with pytest.raises(UnknownObject, match="cut short"):
            store.part("a/1").read(start, length)

    def test_a_part_of_what_is_not_kept_or_no_longer_kept_is_unknown(self, store: ObjectStore) -> None:
        with pytest.raises(UnknownObject, match="a/2"):
            store.part("a/2")
        store.put("a/1", (b"x",))
        part = store.part("a/1")
        store.delete("a/1")
        with pytest.raises(UnknownObject):
            part.read(0, 1)

    def test_deleting_twice_is_no_error(self, store: ObjectStore) -> None:
        store.put("a/1", (b"x",))
        store.delete("a/1")
        store.delete("a/1")
        assert list(store.keys()) == []
        with pytest.raises(UnknownObject):
            store.get("a/1")

    def test_keys_are_those_that_begin_with_the_prefix(self, store: ObjectStore) -> None:
        for key in ("instances/aa/1", "instances/ab/2", "results/1", "instances2"):
            store.put(key, (b"x",))
        assert set(store.keys("instances/")) == {"instances/aa/1", "instances/ab/2"}
        assert set(store.keys("instances/ab")) == {"instances/ab/2"}
        assert set(store.keys()) == {"instances/aa/1", "instances/ab/2", "results/1", "instances2"}
        assert set(store.keys("nothing/")) == set()

    @pytest.mark.parametrize(
        "key",
        ["", "/a", "a/", "a//b", "../a", "a/../b", "a/.b", ".writing/x", "A", "a b", "a\n", "a\0", "ä", "a" * 300],
    )
    def test_a_key_that_a_peer_could_have_made_is_refused(self, store: ObjectStore, key: str) -> None:
        for use in (lambda: store.put(key, (b"x",)), lambda: store.get(key), lambda: store.delete(key)):
            with pytest.raises(StorageError, match="object key"):
                use()

    def test_a_writer_that_fails_half_way_leaves_the_old_object(self, store: ObjectStore) -> None:
        def chunks() -> Iterator[bytes]:
            yield b"half"
            raise ValueError

        store.put("a/1", (b"old",))
        with pytest.raises(ValueError):
            store.put("a/1", chunks())
        with pytest.raises(ValueError):
            store.put("a/2", chunks())
        assert store.get("a/1") == b"old"
        assert list(store.keys()) == ["a/1"]

    def test_writers_of_one_key_at_once_leave_one_whole_object(self, store: ObjectStore) -> None:
        contents = [bytes([number]) * 100_000 for number in range(8)]
        threads = [threading.Thread(target=store.put, args=("a/b/c/1", (content,))) for content in contents]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.get("a/b/c/1") in contents

    def test_free_room_is_a_number_or_unknown(self, store: ObjectStore) -> None:
        free = store.free_bytes()
        assert free is None or free > 0


class TestFileStore(ObjectStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> FileStore:
        return FileStore(tmp_path / "new" / "objects")

    @pytest.mark.parametrize("failing", ["write", "fsync", "rename"])
    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
    def test_a_full_or_broken_disk_is_told_and_nothing_is_left_behind(
        self, store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, code: int
    ) -> None:
        store.put("a/1", (b"old",))

        def fails(*_args: object) -> int:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, failing, fails)
        for key in ("a/1", "a/2"):
            with pytest.raises(StorageUnavailable, match=os.strerror(code)):
                store.put(key, (b"new",))
        monkeypatch.undo()
        assert store.get("a/1") == b"old"
        assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["1"]

    def test_a_folder_that_cannot_be_synced_is_told(self, store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
        synced: list[str] = []

        def fsync(descriptor: int) -> None:
            path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
            synced.append(path)
            if path.endswith("/a"):
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(StorageUnavailable, match="a/1"):
            store.put("a/1", (b"new",))
        assert synced[-1].endswith("/a")

    def test_a_new_folder_is_synced_into_its_parent_by_each_process_that_relies_on_it(
        self, store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.put("a/b/1", (b"x",))
        real, synced = os.fsync, list[str]()

        def fsync(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            synced.append(str(path).removeprefix(str(tmp_path)))
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)
        another = FileStore(tmp_path / "new" / "objects")
        another.put("a/b/2", (b"x",))
        assert {"/new", "/new/objects", "/new/objects/a", "/new/objects/a/b"} <= set(synced)
        synced.clear()
        another.put("a/b/3", (b"x",))
        assert [path for path in synced if "/.writing/" not in path] == ["/new/objects/a/b"]

    def test_the_sweep_removes_what_dead_writers_left_and_nothing_of_living_ones(self, tmp_path: Path) -> None:
        store = FileStore(tmp_path)
        store.put("a/1", (b"x",))
        (tmp_path / ".writing" / "dead").write_bytes(b"half")
        with (tmp_path / ".writing" / "alive").open("wb") as alive:
            fcntl.flock(alive, fcntl.LOCK_EX)
            assert store.sweep() == 1
        assert [path.name for path in (tmp_path / ".writing").iterdir()] == ["alive"]
        assert store.get("a/1") == b"x"

    def test_objects_are_readable_by_the_node_alone(self, store: FileStore, tmp_path: Path) -> None:
        store.put("a/1", (b"x",))
        inside = list((tmp_path / "new").rglob("*"))
        assert {path.stat().st_mode & 0o077 for path in inside} == {0}


def test_a_store_is_opened_by_its_url_and_swept(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    open_store(folder.as_uri()).put("a/1", (b"x",))
    (folder / ".writing" / "dead").write_bytes(b"half")
    assert open_store(folder.as_uri()).get("a/1") == b"x"
    assert list((folder / ".writing").iterdir()) == []


@pytest.mark.parametrize("url", ["ftp://host/folder", "folder", "file://host/folder", "file:folder", "file:///"])
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(StorageError, match="object store"):
        open_store(url)
