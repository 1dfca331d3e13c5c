from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import UnknownObject
from storage.objects.file import FileStore, pack_key
from storage.objects.pack import PackWriter


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "objects")


def _append(pack: PackWriter, payload: bytes, note: bytes = b"note") -> str:
    pack.begin(note, b"prefix ")
    pack.write([memoryview(payload)])
    return pack_key(pack.path, pack.commit())


def _crash(pack: PackWriter) -> None:
    """What a process that dies leaves: the file as it is, and no lock."""
    pack._start = pack._start or 1  # so that it is not tidied away
    pack.close(sealed=False)


def test_what_is_appended_reads_back_and_is_listed(store: FileStore) -> None:
    pack = store.open_pack()
    kept = {_append(pack, payload): b"prefix " + payload for payload in (b"one", b"", b"three" * 100_000)}
    assert {key: store.get(key) for key in kept} == kept
    assert set(store.keys()) == set(store.keys("packs/")) == set(kept)
    pack.close(sealed=True)
    assert {key: store.get(key) for key in kept} == kept
    assert list(store.left_packs()) == []


@pytest.mark.parametrize("cut", [1, 60, 64, 70, 100, 150])
def test_a_record_that_a_crash_cut_short_is_not_there_and_those_before_it_are(store: FileStore, cut: int) -> None:
    pack = store.open_pack()
    first = _append(pack, b"first" * 20)
    end = pack.size_bytes
    torn = _append(pack, b"second" * 20)
    path = pack.path
    _crash(pack)
    with path.open("r+b") as file:
        file.truncate(end + cut)
    assert list(store.keys()) == [first]
    with pytest.raises(UnknownObject):
        store.get(torn)
    for left, seal in store.left_packs():
        assert [(key, record.note) for key, record in left] == [(first, b"note")]
        seal()
    assert list(store.left_packs()) == []
    assert store.get(first) == b"prefix " + b"first" * 20


@pytest.mark.parametrize("at", [8, 30, 64, 70, 80])
def test_a_record_with_a_flipped_byte_is_not_recovered(store: FileStore, at: int) -> None:
    pack = store.open_pack()
    _append(pack, b"first" * 20)
    start = pack.size_bytes
    _append(pack, b"second" * 20)
    path = pack.path
    _crash(pack)
    content = bytearray(path.read_bytes())
    content[start + at] ^= 0xFF
    path.write_bytes(content)
    ((left, _),) = store.left_packs()
    assert len(left) == 1


def test_an_abandoned_record_leaves_nothing_and_the_next_one_takes_its_place(store: FileStore) -> None:
    pack = store.open_pack()
    pack.begin(b"note", b"prefix ")
    pack.write([memoryview(b"DNPACK2+" * 1000)])
    pack.abandon()
    assert pack.path.stat().st_size == 0
    key = _append(pack, b"kept")
    assert list(store.keys()) == [key]
    pack.close(sealed=True)


def test_the_pack_of_a_living_writer_is_not_handed_out(store: FileStore) -> None:
    pack = store.open_pack()
    _append(pack, b"one")
    assert list(store.left_packs()) == []
    pack.close(sealed=True)


def test_a_pack_without_a_record_is_removed(store: FileStore) -> None:
    pack = store.open_pack()
    pack.close(sealed=True)
    assert not pack.path.exists()


def test_a_deleted_record_is_gone_and_the_file_goes_with_the_last_one(store: FileStore) -> None:
    pack = store.open_pack()
    first, second = _append(pack, b"one"), _append(pack, b"two")
    pack.close(sealed=True)
    store.delete(first)
    assert list(store.keys()) == [second]
    with pytest.raises(UnknownObject):
        store.get(first)
    assert store.get(second) == b"prefix two"
    store.delete(second)
    assert not pack.path.exists()
    store.delete(second)
