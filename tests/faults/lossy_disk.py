"""A disk that keeps what was synced, and of the rest whatever chance leaves: what a power cut may do to files.

Everything that POSIX leaves open is used against the writer. Of a file, each sector may be as it was at any moment since
the last sync, and so may its length. Of a folder, each entry that was made, renamed or removed since the folder was
synced may or may not be; that a file was synced says nothing about its entry. A rename is one step: both names, or none.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from pathlib import Path

SECTOR_BYTES = 512
ROOT = 1


@dataclass
class File:
    """data: as programs see it. synced: as the disk has it for sure. unsynced: what was done since, in order."""

    mode: int
    data: bytearray = field(default_factory=bytearray)
    synced: bytearray = field(default_factory=bytearray)
    unsynced: list[tuple[int, bytes | None]] = field(default_factory=list)  # (at, written), or (length, None)

    def write(self, at: int, written: bytes) -> None:
        self.unsynced.append((at, written))
        _write(self.data, at, written)

    def resize(self, length: int) -> None:
        self.unsynced.append((length, None))
        _resize(self.data, length)

    def sync(self) -> None:
        for at, written in self.unsynced:
            _resize(self.synced, at) if written is None else _write(self.synced, at, written)
        self.unsynced.clear()

    def after_cut(self, chance: random.Random, share: float) -> bytes:
        """share: how likely what was not synced survives; 0 is never and 1 always."""
        steps = len(self.unsynced)
        size_step = _moment(chance, share, 0, steps)
        left = bytearray(self.synced)
        length, cut_short = len(left), [(0, 0)]
        for step, (at, written) in enumerate(self.unsynced[:size_step], 1):
            if written is None and at < length:
                cut_short.append((step, at))  # what was behind this is gone for good, once the length says so
            length = at if written is None else max(length, at + len(written))
        moments: dict[int, int] = {}
        for step, (at, written) in enumerate(self.unsynced, 1):
            end = max(len(left), at) if written is None else at + len(written)
            for sector in range(at // SECTOR_BYTES, -(-end // SECTOR_BYTES)):
                begin, until = max(at, sector * SECTOR_BYTES), min(end, (sector + 1) * SECTOR_BYTES)
                if sector not in moments:
                    earliest = max(when for when, shorter in cut_short if when == 0 or shorter < until)
                    moments[sector] = _moment(chance, share, earliest, steps)
                if step <= moments[sector]:
                    part = bytes(until - begin) if written is None else written[begin - at : until - at]
                    _write(left, begin, part)
        _resize(left, length)
        return bytes(left)


Change = tuple[int, str, int | None]  # folder, name, and what it names now


@dataclass
class Folder:
    mode: int
    entries: dict[str, int] = field(default_factory=dict)
    synced: dict[str, int] = field(default_factory=dict)


class LossyDisk:
    """Files and folders by number. Whoever changes several things at once holds `lock`."""

    def __init__(self) -> None:
        self.nodes: dict[int, File | Folder] = {ROOT: Folder(0o755)}
        self.lock = threading.RLock()
        self._unsynced: list[tuple[Change, ...]] = []
        self._last = ROOT

    def folder(self, number: int) -> Folder:
        node = self.nodes[number]
        if not isinstance(node, Folder):
            raise NotADirectoryError(number)
        return node

    def file(self, number: int) -> File:
        node = self.nodes[number]
        if not isinstance(node, File):
            raise IsADirectoryError(number)
        return node

    def make(self, parent: int, name: str, node: File | Folder) -> int:
        self._last += 1
        self.nodes[self._last] = node
        self._change((parent, name, self._last))
        return self._last

    def remove(self, parent: int, name: str) -> None:
        self._change((parent, name, None))

    def rename(self, parent: int, name: str, other_parent: int, other_name: str) -> None:
        number = self.folder(parent).entries[name]
        self._change((parent, name, None), (other_parent, other_name, number))

    def _change(self, *changes: Change) -> None:
        for parent, name, number in changes:
            _put(self.folder(parent).entries, name, number)
        self._unsynced.append(changes)

    def sync_folder(self, number: int) -> None:
        """Its entries, and of renames the other half; and whatever happened to the same names before."""
        needed: list[tuple[Change, ...]] = []
        names: set[tuple[int, str]] = set()
        for changes in reversed(self._unsynced):
            touched = {(parent, name) for parent, name, _ in changes}
            if touched & names or any(parent == number for parent, _ in touched):
                names |= touched
                needed.append(changes)
        self._unsynced = [changes for changes in self._unsynced if changes not in needed]
        for changes in reversed(needed):
            for parent, name, target in changes:
                _put(self.folder(parent).synced, name, target)

    def sync_file(self, number: int) -> None:
        self.file(number).sync()

    def after_cut(self, chance: random.Random) -> LossyDisk:
        """Another disk: what is left of this one if the power goes now."""
        with self.lock:
            left = LossyDisk()
            share = chance.choice((0.0, 0.0, 0.5, 0.9, 1.0))
            synced = {number: dict(node.synced) for number, node in self.nodes.items() if isinstance(node, Folder)}
            lost: set[tuple[int, str]] = set()
            for changes in self._unsynced:
                touched = {(parent, name) for parent, name, _ in changes}
                if touched & lost or chance.random() >= share:
                    lost |= touched  # what happens to a name later cannot be there without this
                    continue
                for parent, name, target in changes:
                    _put(synced[parent], name, target)
            _copy_left(self, ROOT, left, ROOT, _Cut(chance, share, synced))
            return left

    def write_to(self, target: Path, number: int = ROOT) -> None:
        """All of it as real files in a folder that is not there yet."""
        target.mkdir(parents=True)
        for name, child in self.folder(number).entries.items():
            node = self.nodes[child]
            if isinstance(node, File):
                (target / name).write_bytes(node.data)
            else:
                self.write_to(target / name, child)


@dataclass(frozen=True)
class _Cut:
    """share: how likely what was not synced survives. folders: the entries that are left, by number."""

    chance: random.Random
    share: float
    folders: dict[int, dict[str, int]]


def _copy_left(disk: LossyDisk, number: int, left: LossyDisk, other: int, cut: _Cut) -> None:
    for name, child in cut.folders[number].items():
        node = disk.nodes[child]
        if isinstance(node, File):
            content = node.after_cut(cut.chance, cut.share)
            left.make(other, name, File(node.mode, bytearray(content), bytearray(content)))
        else:
            _copy_left(disk, child, left, left.make(other, name, Folder(node.mode)), cut)
    left.sync_folder(other)


def _put(entries: dict[str, int], name: str, number: int | None) -> None:
    if number is None:
        entries.pop(name, None)
    else:
        entries[name] = number


def _moment(chance: random.Random, share: float, earliest: int, latest: int) -> int:
    if share in {0.0, 1.0}:
        return latest if share else earliest
    return latest if chance.random() < share else chance.randint(earliest, latest)


def _write(data: bytearray, at: int, written: bytes) -> None:
    if at > len(data):
        data.extend(bytes(at - len(data)))
    data[at : at + len(written)] = written


def _resize(data: bytearray, length: int) -> None:
    if length < len(data):
        del data[length:]
    else:
        data.extend(bytes(length - len(data)))
