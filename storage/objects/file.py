"""Objects as files under one folder: written aside, synced, renamed, and the folder synced, in this order.

A crash at any point leaves the object whole or not there, beside at most a file in `.writing` that `sweep` removes.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from storage.disk import free_bytes, sync_folder
from storage.errors import StorageUnavailable, UnknownObject
from storage.objects.left import LeftPack, read_left
from storage.objects.pack import (
    PackWriter,
    Span,
    delete,
    has_no_writer,
    locked,
    part_of_pack,
    pieces,
    read_object,
    records,
    tail_of_object,
)
from storage.objects.part import FilePart
from storage.objects.protocol import TAIL_BYTES, check_key
from storage.objects.spares import Spares

PACKS = "packs"
_PACK = ".pack"
_WRITING = ".writing"
_FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_REMEMBERED_FOLDERS = 65536


class FileStore:
    """root: folder on a local disk, made when absent."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._writing = root / _WRITING
        # Folders whose entry in their parent this process has synced. That a folder exists is not enough: another
        # thread may have made it a moment ago, and not have synced it yet.
        self._durable: set[Path] = set()
        self._lock = threading.Lock()
        with _named_errors(root):
            self._make_durable(self._writing)
        self._spares = Spares(self._writing, _FILE_MODE, self._place_pack)

    def put(self, key: str, chunks: Iterable[bytes | memoryview]) -> None:
        target = self._path(key)
        with _named_errors(target):
            self._make_durable(target.parent)
            aside = self._writing / secrets.token_hex(16)
            try:
                _write(locked(aside, _FILE_MODE), chunks)
                aside.rename(target)
            except BaseException:
                with suppress(OSError):
                    aside.unlink(missing_ok=True)
                raise
            sync_folder(target.parent)

    def open_pack(self) -> PackWriter:
        """A new pack; what is committed to it is an object under `pack_key`."""
        if (spare := self._spares.take()) is not None:
            return PackWriter(*spare)
        path = self._new_pack()
        with _named_errors(path):
            self._make_durable(path.parent)
            descriptor = locked(path, _FILE_MODE)
            try:
                sync_folder(path.parent)
            except BaseException:
                os.close(descriptor)
                path.unlink(missing_ok=True)
                raise
        return PackWriter(path, descriptor)

    def prepare_pack(self, *, at_most: int, may_go_on: Callable[[], bool]) -> bool:
        """Make one more pack ready that `open_pack` can take; as Spares.make. Raises StorageUnavailable."""
        with _named_errors(self._writing):
            return self._spares.make(at_most=at_most, may_go_on=may_go_on)

    def close(self) -> None:
        """Remove what was made ready and not needed."""
        with _named_errors(self._writing):
            self._spares.close()

    def left_packs(self) -> Iterator[LeftPack]:
        """The packs of writers that died. One that cannot be read is handed out as well, as one with a trouble."""
        start = self._root / PACKS
        with _named_errors(start):
            for path in sorted(start.glob("*/*.pack")):
                try:
                    with path.open("r+b", buffering=0) as file:
                        left = read_left(path, file.fileno())
                        if left is not None:
                            yield left
                except FileNotFoundError:
                    continue
                except OSError as error:
                    yield LeftPack(path, trouble=error.strerror or type(error).__name__)

    def get(self, key: str) -> bytes:
        path, span = self._place(key)
        with _reading(key, path):
            return path.read_bytes() if span is None else read_object(path, span)

    def part(self, key: str) -> FilePart:
        path, span = self._place(key)
        with _reading(key, path):
            return FilePart(path, 0, path.stat().st_size) if span is None else part_of_pack(path, span)

    def tail(self, key: str, size_bytes: int) -> Iterator[bytes]:
        path, span = self._place(key)
        with _reading(key, path):
            if span is not None:
                yield from tail_of_object(path, span, size_bytes, TAIL_BYTES)
                return
            with path.open("rb", buffering=0) as file:
                end = os.fstat(file.fileno()).st_size
                yield from pieces(file.fileno(), max(0, end - size_bytes), end, TAIL_BYTES)

    def delete(self, key: str) -> None:
        path, span = self._place(key)
        with _named_errors(path):
            if span is None:
                path.unlink(missing_ok=True)
            else:
                delete(path, span)

    def keys(self, prefix: str = "") -> Iterator[str]:
        if prefix:
            check_key(prefix.rstrip("/"))
        # Only whole parts name a folder: of "instances/0" the folder is "instances".
        start = self._root / prefix.rpartition("/")[0]
        with _named_errors(start):
            for folder, subfolders, files in os.walk(start):
                subfolders[:] = [name for name in subfolders if name != _WRITING]
                for name in files:
                    if name.endswith(_PACK):
                        pack = Path(folder) / name
                        with suppress(FileNotFoundError):  # it went with the last of its objects
                            inside = (pack_key(pack, record.span) for record in records(pack) if record.is_alive)
                            yield from (key for key in inside if key.startswith(prefix))
                        continue
                    key = (Path(folder) / name).relative_to(self._root).as_posix()
                    if key.startswith(prefix):
                        yield key

    def free_bytes(self) -> int | None:
        with _named_errors(self._root):
            return free_bytes(self._root)

    def sweep(self) -> int:
        """Remove what writers that died left behind; returns how many. Safe beside writers that live."""
        swept = 0
        with _named_errors(self._writing):
            for path in self._writing.iterdir():
                with suppress(FileNotFoundError), path.open("rb") as file:
                    if has_no_writer(file.fileno()):
                        path.unlink()
                        swept += 1
        return swept

    def _new_pack(self) -> Path:
        name = secrets.token_hex(16)
        return self._root / PACKS / name[:2] / f"{name}{_PACK}"

    def _place_pack(self, aside: Path) -> Path:
        """Move a file to where it is a pack; its entry there is synced."""
        path = self._new_pack()
        self._make_durable(path.parent)
        try:
            aside.rename(path)
            sync_folder(path.parent)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _place(self, key: str) -> tuple[Path, Span | None]:
        """The file that an object is in, and which part of it where the file is a pack."""
        pack, found, place = check_key(key).rpartition(f"{_PACK}/")
        if not found:
            return self._path(key), None
        start, _, length = place.partition("-")
        if not (start.isdecimal() and length.isdecimal()):
            raise UnknownObject(f"no object is kept under the key {key}")
        return _pack_file(self._root, pack), Span(int(start), int(length))

    def _make_durable(self, folder: Path) -> None:
        """Make a folder and its parents, and sync the entry of each in the one above it; the root's as well."""
        if folder in self._durable and folder.is_dir():
            return
        if self._root in folder.parents or not folder.parent.is_dir():
            self._make_durable(folder.parent)
        folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        sync_folder(folder.parent)
        with self._lock:
            if len(self._durable) >= _REMEMBERED_FOLDERS:
                self._durable.clear()
            self._durable.add(folder)


def pack_key(pack: Path, span: Span) -> str:
    return f"{_pack_folder(pack)}/{span.start}-{span.length}"


@lru_cache(maxsize=64)
def _pack_file(root: Path, pack: str) -> Path:
    return root / f"{pack}{_PACK}"


@lru_cache(maxsize=64)
def _pack_folder(pack: Path) -> str:
    return f"{PACKS}/{pack.parent.name}/{pack.name}"


def _write(descriptor: int, chunks: Iterable[bytes | memoryview]) -> None:
    try:
        for chunk in chunks:
            rest = memoryview(chunk).cast("B")
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _reading(key: str, path: Path) -> Iterator[None]:
    """As `_named_errors`; where there is no file, no object is known."""
    try:
        with _named_errors(path):
            yield
    except StorageUnavailable as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise UnknownObject(f"no object is kept under the key {key}") from error
        raise


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Errors of the file system (no room, input/output error, no permission) as one that callers can answer."""
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(f"object store {path}: {error.strerror or error}") from error
