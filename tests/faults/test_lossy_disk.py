"""The disk that the power cuts are tried on: it keeps what was synced, and may lose anything else."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

from tests.faults.lossy_disk import ROOT, SECTOR_BYTES, File, Folder, LossyDisk

MANY = 200


def _left(disk: LossyDisk) -> list[dict[str, bytes]]:
    """What is left in the root folder after each of many cuts."""
    cuts = [disk.after_cut(random.Random(seed)) for seed in range(MANY)]
    return [{name: bytes(cut.file(number).data) for name, number in cut.folder(ROOT).entries.items()} for cut in cuts]


def _disk(*content: bytes) -> tuple[LossyDisk, File]:
    disk, file = LossyDisk(), File(0o600)
    for part in content:
        file.write(len(file.data), part)
    disk.make(ROOT, "file", file)
    return disk, file


def test_what_was_synced_survives_every_cut() -> None:
    disk, file = _disk(b"whole")
    file.sync()
    disk.sync_folder(ROOT)
    assert _left(disk) == [{"file": b"whole"}] * MANY


def test_a_file_whose_folder_was_not_synced_may_be_gone() -> None:
    disk, file = _disk(b"whole")
    file.sync()
    assert {len(left) for left in _left(disk)} == {0, 1}


def test_what_was_not_synced_may_be_torn_at_any_sector_and_cut_at_any_write() -> None:
    disk, file = _disk(b"a" * 3 * SECTOR_BYTES)
    file.sync()
    disk.sync_folder(ROOT)
    file.write(0, b"b" * 4 * SECTOR_BYTES)
    left = {one["file"] for one in _left(disk)}
    assert {b"a" * 3 * SECTOR_BYTES, b"b" * 4 * SECTOR_BYTES} < left
    assert any(one[:SECTOR_BYTES] == b"b" * SECTOR_BYTES and b"a" in one for one in left)
    assert any(one[:SECTOR_BYTES] == b"a" * SECTOR_BYTES and b"b" in one for one in left)


def test_of_a_rename_both_names_change_or_none() -> None:
    disk, file = _disk(b"whole")
    file.sync()
    disk.sync_folder(ROOT)
    other = disk.make(ROOT, "folder", Folder(0o700))
    disk.sync_folder(ROOT)
    disk.rename(ROOT, "file", other, "renamed")
    seen = set()
    for seed in range(MANY):
        cut = disk.after_cut(random.Random(seed))
        names = cut.folder(ROOT).entries
        seen.add(("file" in names, "renamed" in cut.folder(names["folder"]).entries))
    assert seen == {(True, False), (False, True)}


def test_what_was_cut_off_does_not_come_back_behind_a_length_that_was_synced() -> None:
    disk, file = _disk(b"a" * 2 * SECTOR_BYTES)
    file.sync()
    disk.sync_folder(ROOT)
    file.resize(0)
    file.sync()
    file.resize(SECTOR_BYTES)
    assert {one["file"] for one in _left(disk)} == {b"", bytes(SECTOR_BYTES)}


def test_programs_see_their_own_writes_and_the_disk_learns_of_their_syncs(
    tmp_path: Path, fuse: Callable[..., None]
) -> None:
    disk = LossyDisk()
    with fuse(disk, tmp_path / "disk"):
        path = tmp_path / "disk" / "folder" / "file"
        path.parent.mkdir()
        path.write_bytes(b"x" * 300_000)
        path.rename(path.with_name("renamed"))
        assert [one.name for one in path.parent.iterdir()] == ["renamed"]
        path = path.with_name("renamed")
        assert path.read_bytes() == b"x" * 300_000
        (left,) = disk.after_cut(random.Random(1)).nodes.values()
        for one in (path, path.parent, tmp_path / "disk"):
            descriptor = os.open(one, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        disk.after_cut(random.Random(1)).write_to(tmp_path / "left")
        assert isinstance(left, Folder)
        path.unlink()
    assert (tmp_path / "left" / "folder" / "renamed").read_bytes() == b"x" * 300_000
