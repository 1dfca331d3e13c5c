from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.errors import UnknownObject
from storage.objects.file import FileStore, pack_key
from storage.objects.pack import _SEALED, PackWriter


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


def test_a_record_comes_to_the_disk_in_as_many_writes_as_its_payload_and_one_for_its_head(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []

    def noting(system: Callable[..., int]) -> Callable[..., int]:
        def write(*given: Any) -> int:
            written.append(system(*given))
            return written[-1]

        return write

    for name in ("pwrite", "pwritev"):
        monkeypatch.setattr(os, name, noting(getattr(os, name)))
    pack = store.open_pack()
    key = _append(pack, b"payload" * 10)
    assert written == [len(b"note" + b"prefix " + b"payload" * 10), 48]
    assert store.get(key) == b"prefix " + b"payload" * 10
    pack.close(sealed=True)


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
    for left in store.left_packs():
        assert [(pack_key(left.path, record.span), record.note) for record in left.records] == [(first, b"note")]
        assert left.trouble is None
        left.settle()
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
    (left,) = store.left_packs()
    assert len(left.records) == 1


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


def test_a_pack_that_goes_while_keys_are_listed_is_passed_over(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter(f"ab{number:030}" for number in range(9))
    monkeypatch.setattr(secrets, "token_hex", lambda _bytes: next(names))  # both packs in one folder
    packs = [store.open_pack(), store.open_pack()]
    kept = {_append(pack, b"one") for pack in packs}
    for pack in packs:
        pack.close(sealed=True)
    listing = store.keys()
    first = next(listing)
    (other,) = kept - {first}
    store.delete(other)
    assert list(listing) == []
    assert list(store.keys()) == [first]


def _left_by(pack: PackWriter, *, flipped_at: int) -> Path:
    _crash(pack)
    content = bytearray(pack.path.read_bytes())
    content[flipped_at] ^= 0xFF
    pack.path.write_bytes(content)
    return pack.path


def _recovered(store: FileStore) -> list[str]:
    """As whoever recovers does it."""
    keys = []
    for left in store.left_packs():
        keys += [pack_key(left.path, record.span) for record in left.records]
        if left.trouble is None:
            left.settle()
    return keys


@pytest.mark.parametrize("damaged", [0, 1])
@pytest.mark.parametrize("at", [20, 50, 90])  # in its head, its note, its payload
def test_a_damaged_record_takes_none_of_the_others_with_it(store: FileStore, damaged: int, at: int) -> None:
    pack = store.open_pack()
    starts, keys = [], []
    for number in range(3):
        starts.append(pack.size_bytes)
        keys.append(_append(pack, bytes([number]) * 1000))
    path = _left_by(pack, flipped_at=starts[damaged] + at)
    size = path.stat().st_size
    for _ in range(2):
        found = _recovered(store)
        assert path.stat().st_size == size
        if at != 20:  # the head says where the next one stands
            assert found == [key for number, key in enumerate(keys) if number != damaged]
        else:
            assert found == keys[:damaged]
    assert store.get(keys[2]) == b"prefix " + bytes([2]) * 1000
    (left,) = store.left_packs()
    assert left.trouble
    for key in keys[:2]:
        store.delete(key)
    assert store.get(keys[2])


@pytest.mark.parametrize("count", [1, 2])
def test_the_last_record_is_not_cut_off_where_its_head_is_damaged(store: FileStore, count: int) -> None:
    pack = store.open_pack()
    keys = [_append(pack, b"one" * 100) for _ in range(count)]
    path = _left_by(pack, flipped_at=(count - 1) * 359 + 20)
    assert _recovered(store) == keys[:-1]
    assert path.stat().st_size == count * 359


def test_a_pack_of_another_version_is_left_alone(store: FileStore, tmp_path: Path) -> None:
    old = tmp_path / "objects" / "packs" / "ab" / "ab12.pack"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"DNPACK1+" + b"x" * 5000 + b"DNPACK1 all indexed.")
    (left,) = store.left_packs()
    assert left.path == old
    assert left.trouble
    assert old.stat().st_size == 5028


@pytest.mark.parametrize("behind", [b"", _SEALED])
def test_a_payload_that_ends_as_a_seal_does_not_seal_its_pack(store: FileStore, behind: bytes) -> None:
    other = store.open_pack()
    _append(other, b"x" * 62)  # it ends where the payload with its seal begins
    other.close(sealed=True)
    seal = other.path.read_bytes()[other.size_bytes :]
    pack = store.open_pack()
    keys = [_append(pack, b"one"), _append(pack, seal + behind)]
    assert pack.path.read_bytes().index(seal) == other.size_bytes
    _crash(pack)
    assert _recovered(store) == keys
    assert _recovered(store) == []


@pytest.mark.parametrize("is_crashed", [False, True])
def test_a_pack_whose_records_were_all_deleted_while_it_was_written_is_removed(
    store: FileStore, is_crashed: bool
) -> None:
    pack = store.open_pack()
    for key in [_append(pack, b"again" * 100) for _ in range(3)]:
        store.delete(key)
    assert pack.path.exists()
    pack.close(sealed=not is_crashed)
    assert _recovered(store) == []
    assert not pack.path.exists()


def test_a_pack_that_cannot_be_read_keeps_none_of_the_others_from_being_handed_out(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    packs = [store.open_pack() for _ in range(3)]
    keys = {pack.path: _append(pack, b"one") for pack in packs}
    for pack in packs:
        _crash(pack)
    broken, real = packs[0].path, os.pread
    number = broken.stat().st_ino

    def pread(descriptor: int, length: int, start: int) -> bytes:
        if os.fstat(descriptor).st_ino == number:
            raise OSError(5, "Input/output error")
        return real(descriptor, length, start)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", pread)
        left = list(store.left_packs())
        assert {pack.path: pack.trouble for pack in left if pack.trouble} == {broken: "Input/output error"}
        assert sorted(_recovered(store)) == sorted(key for path, key in keys.items() if path != broken)
    assert _recovered(store) == [keys[broken]]


def test_a_record_that_cannot_be_read_keeps_none_of_its_pack_from_being_handed_out(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = store.open_pack()
    keys = [_append(pack, b"one" * 100)]
    bad = range(pack.size_bytes + 48, pack.size_bytes + 300)
    keys += [_append(pack, b"two" * 100), _append(pack, b"three" * 100)]
    _crash(pack)
    real = os.pread

    def pread(descriptor: int, length: int, start: int) -> bytes:
        if start in bad:
            raise OSError(5, "Input/output error")
        return real(descriptor, length, start)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", pread)
        assert _recovered(store) == [keys[0], keys[2]]
    assert _recovered(store) == keys
