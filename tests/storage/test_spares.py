from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from storage.errors import StorageUnavailable
from storage.objects import spares
from storage.objects.file import FileStore, pack_key
from storage.objects.pack import PackWriter


@pytest.fixture(autouse=True)
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spares, "PACK_BYTES", 2 * 1024 * 1024)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "objects")


def _append(pack: PackWriter, payload: bytes) -> str:
    pack.begin(b"note", b"prefix ")
    pack.write([memoryview(payload)])
    return pack_key(pack.path, pack.commit())


def _made(store: FileStore, at_most: int = 1) -> bool:
    return store.prepare_pack(at_most=at_most, may_go_on=lambda: True)


def test_a_pack_that_was_made_ready_is_taken_and_its_blocks_are_there_already(store: FileStore) -> None:
    assert _made(store)
    pack = store.open_pack()
    assert pack.path.stat().st_blocks * 512 >= 2 * 1024 * 1024
    kept = {_append(pack, payload): b"prefix " + payload for payload in (b"one", b"two" * 50_000)}
    assert pack.path.stat().st_size == 2 * 1024 * 1024
    assert {key: store.get(key) for key in store.keys()} == kept  # noqa: SIM118 - no dict
    pack.close(sealed=True)
    assert pack.path.stat().st_size < 200_000
    assert {key: store.get(key) for key in kept} == kept
    assert list(store.left_packs()) == []


def test_after_a_crash_the_records_of_such_a_pack_are_handed_out_and_its_rest_is_cut_off(store: FileStore) -> None:
    assert _made(store)
    pack = store.open_pack()
    key = _append(pack, b"kept")
    pack.begin(b"note", b"prefix ")
    pack.write([memoryview(b"DNPACK2+" * 1000)])  # came in part
    pack.close(sealed=False)
    assert list(store.keys()) == [key]
    for left in store.left_packs():
        assert [pack_key(left.path, record.span) for record in left.records] == [key]
        left.settle()
    assert pack.path.stat().st_size < 1000
    assert store.get(key) == b"prefix kept"


def test_a_pack_may_outgrow_what_was_made_ready(store: FileStore) -> None:
    assert _made(store)
    pack = store.open_pack()
    keys = [_append(pack, bytes([number]) * 700_000) for number in range(5)]
    assert [store.get(key) for key in keys] == [b"prefix " + bytes([number]) * 700_000 for number in range(5)]
    pack.close(sealed=True)


def test_so_many_are_made_and_no_more(store: FileStore, tmp_path: Path) -> None:
    assert [_made(store, 2) for _ in range(3)] == [True, True, False]
    assert len(list((tmp_path / "objects").glob("packs/*/*.pack"))) == 2
    store.open_pack().close(sealed=True)
    assert _made(store, 2)


def test_a_pack_that_is_ready_is_taken_without_a_sync_as_its_entry_is_synced_already(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync = os.fsync

    def noting(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    assert _made(store)
    made = len(synced)
    pack = store.open_pack()
    assert synced[made:] == []
    assert synced[-1] == str(pack.path.parent)
    assert not list((tmp_path / "objects" / ".writing").iterdir())
    pack.close(sealed=False)


def test_what_is_written_to_such_a_pack_ends_with_a_page_so_that_none_must_be_read_from_the_disk_first(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[int] = []
    write = os.pwritev

    def noting(descriptor: int, parts: Sequence[bytes | memoryview], at: int) -> int:
        ends.append(at + write(descriptor, parts, at))
        return ends[-1] - at

    monkeypatch.setattr(os, "pwritev", noting)
    assert _made(store)
    pack = store.open_pack()
    pack.begin(b"note", b"prefix ")
    for piece in (b"one" * 5_000, b"two" * 5_000):
        pack.write([memoryview(piece)])
    kept = {pack_key(pack.path, pack.commit()): b"prefix " + b"one" * 5_000 + b"two" * 5_000}
    kept |= {_append(pack, bytes([7]) * size): b"prefix " + bytes([7]) * size for size in (4_000, 4_096, 1_500_000)}
    assert [end % 4096 for end in ends] == [0] * len(ends)
    in_reach, ends[:] = pack.size_bytes, []
    kept[_append(pack, b"8" * 700_000)] = b"prefix " + b"8" * 700_000  # goes beyond what was made ready
    assert ends == [pack.size_bytes] != [in_reach]
    assert pack.path.stat().st_size == pack.size_bytes
    assert {key: store.get(key) for key in kept} == kept
    pack.close(sealed=True)


@pytest.mark.parametrize("is_prepared", [True, False])
def test_what_the_system_writes_in_parts_is_kept_whole(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, is_prepared: bool
) -> None:
    monkeypatch.setattr(os, "pwritev", lambda descriptor, parts, at: os.pwrite(descriptor, b"".join(parts)[:100], at))
    assert not is_prepared or _made(store)
    pack = store.open_pack()
    kept = {_append(pack, payload): b"prefix " + payload for payload in (b"one", b"two" * 3_000, b"three" * 3_000)}
    assert {key: store.get(key) for key in kept} == kept
    pack.close(sealed=True)


def test_where_something_was_cut_off_such_a_pack_only_grows(store: FileStore) -> None:
    assert _made(store)
    pack = store.open_pack()
    first = _append(pack, b"one")
    pack.begin(b"note", b"prefix ")
    pack.write([memoryview(b"came in part")])
    pack.abandon()
    second = _append(pack, b"two")
    assert pack.path.stat().st_size == pack.size_bytes
    assert [store.get(key) for key in (first, second)] == [b"prefix one", b"prefix two"]
    pack.close(sealed=True)


def test_one_that_a_crash_left_unused_is_removed(store: FileStore) -> None:
    assert _made(store)
    spare = store._spares.take()
    assert spare is not None
    os.close(spare[1])  # its lock goes with its process
    assert list(store.left_packs()) == []
    assert not spare[0].exists()


def test_one_that_cannot_be_put_where_it_is_a_pack_leaves_nothing(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StorageUnavailable, match="Input/output"):
        _made(store)
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == []


def test_work_that_is_stopped_leaves_nothing(store: FileStore, tmp_path: Path) -> None:
    pieces = iter([True, False])
    assert not store.prepare_pack(at_most=1, may_go_on=lambda: next(pieces))
    assert not list((tmp_path / "objects" / ".writing").iterdir())
    assert next(pieces, None) is None


def test_none_is_made_on_a_disk_with_little_room(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    found = os.statvfs("/")
    fields = (found.f_bsize, found.f_frsize, *[63 * 2 * 1024 * 1024 // found.f_frsize] * 3, *tuple(found)[5:])
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(fields))
    assert not _made(store)


def test_a_disk_that_fails_is_told_and_leaves_nothing(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", failing)
    with pytest.raises(StorageUnavailable, match="No space"):
        _made(store)
    assert not list((tmp_path / "objects" / ".writing").iterdir())


def test_those_of_a_dead_process_are_swept_and_those_of_a_living_one_are_not(store: FileStore, tmp_path: Path) -> None:
    assert _made(store)
    (tmp_path / "objects" / ".writing" / ("0" * 32)).write_bytes(bytes(100))
    other = FileStore(tmp_path / "objects")
    assert other.sweep() == 1
    assert list(other.left_packs()) == []
    pack = store.open_pack()
    _append(pack, b"kept")
    pack.close(sealed=True)


def test_what_was_not_needed_is_given_back(store: FileStore, tmp_path: Path) -> None:
    assert _made(store)
    store.close()
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == []
    store.open_pack().close(sealed=True)
