"""Mounts a LossyDisk: the kernel's FUSE protocol (linux/fuse.h, version 7.31), as far as a database and an acceptor go.

Needs Linux, root, and /dev/fuse; no library. The kernel writes through: each write of a program is one here. File locks
are left to the kernel.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults.lossy_disk import ROOT, File, Folder, LossyDisk

DEVICE = Path("/dev/fuse")
_IN = struct.Struct("<IIQQIIII")  # length, opcode, unique, node, uid, gid, pid, padding
_OUT = struct.Struct("<IiQ")
_READ = struct.Struct("<QQII")  # handle, offset, size, flags; what follows is not needed
_READ_BYTES, _WRITE_BYTES, _SETATTR_BYTES = 40, 40, 88
_MOST_WRITTEN = 128 * 1024
_BIG_WRITES, _KEEP_CACHE, _SIZE_IS_SET = 0x20, 2, 8
_FOR_LONG_S = 3600  # nothing changes but through the kernel, so it may remember
_NO_ANSWER = {2, 36, 42}  # FORGET, INTERRUPT, BATCH_FORGET
_DETACH = 2


class _Refused(Exception):
    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number


def can_mount() -> bool:
    return DEVICE.exists() and os.geteuid() == 0


@contextmanager
def mounted(disk: LossyDisk, folder: Path) -> Iterator[None]:
    """The disk is at the folder while the block runs. Whoever uses it must have ended when the block does."""
    folder.mkdir(parents=True, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
    if libc.mount(b"lossy", os.fsencode(folder), b"fuse", 0, options.encode()):
        os.close(device)
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(folder))
    server = _Server(disk, device)
    thread = threading.Thread(target=server.serve, name="lossy disk", daemon=True)
    thread.start()
    try:
        yield
    finally:
        if libc.umount2(os.fsencode(folder), 0):
            libc.umount2(os.fsencode(folder), _DETACH)
        thread.join(10)
        os.close(device)
    assert not server.errors, server.errors[0]


class _Server:
    def __init__(self, disk: LossyDisk, device: int) -> None:
        self._disk = disk
        self._device = device
        self.errors: list[str] = []
        self._calls: dict[int, Callable[[int, memoryview], bytes]] = {
            1: self._lookup,
            3: lambda node, _: self._attributes_answer(node),
            4: self._set_attributes,
            9: self._make_folder,
            10: self._unlink,
            11: self._unlink,
            12: lambda node, data: self._rename(node, data, 8),
            14: lambda _node, _data: struct.pack("<QIi", 0, _KEEP_CACHE, 0),
            15: self._read,
            16: self._write,
            17: lambda _node, _data: struct.pack(
                "<5Q4I24x", 1 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 19, 4096, 255, 4096, 0
            ),
            18: lambda _node, _data: b"",
            20: self._sync_file,
            26: self._begin,
            27: lambda _node, _data: struct.pack("<QIi", 0, 0, 0),
            28: self._read_folder,
            29: lambda _node, _data: b"",
            30: self._sync_folder,
            35: self._create,
            45: lambda node, data: self._rename(node, data, 16),
        }

    def serve(self) -> None:
        with suppress(OSError):  # ENODEV: unmounted
            while True:
                self._answer(memoryview(os.read(self._device, _MOST_WRITTEN + 4096)))

    def _answer(self, request: memoryview) -> None:
        _, opcode, unique, node, *_ = _IN.unpack_from(request)
        error, answer = 0, b""
        try:
            call = self._calls.get(opcode)
            if call is None:
                raise _Refused(errno.ENOSYS)
            with self._disk.lock:
                answer = call(node, request[_IN.size :])
        except _Refused as refused:
            error = -refused.number
        except Exception:  # noqa: BLE001 - the kernel waits for an answer, and the test for the reason
            self.errors.append(traceback.format_exc())
            error = -errno.EIO
        if opcode not in _NO_ANSWER:
            with suppress(FileNotFoundError):  # who asked was killed
                os.write(self._device, _OUT.pack(_OUT.size + len(answer), error, unique) + answer)

    def _begin(self, _node: int, _data: memoryview) -> bytes:
        return struct.pack("<4I2H2I2HI28x", 7, 31, _MOST_WRITTEN, _BIG_WRITES, 16, 12, _MOST_WRITTEN, 1, 32, 0, 0)

    def _attributes(self, number: int) -> bytes:
        node = self._disk.nodes[number]
        size = len(node.data) if isinstance(node, File) else 4096
        kind = stat.S_IFREG if isinstance(node, File) else stat.S_IFDIR
        return struct.pack(
            "<6Q10I", number, size, -(-size // 512), 0, 0, 0, 0, 0, 0, kind | node.mode, 1, 0, 0, 0, 4096, 0
        )

    def _attributes_answer(self, node: int) -> bytes:
        return struct.pack("<QII", _FOR_LONG_S, 0, 0) + self._attributes(node)

    def _entry(self, number: int) -> bytes:
        return struct.pack("<4Q2I", number, 0, _FOR_LONG_S, _FOR_LONG_S, 0, 0) + self._attributes(number)

    def _lookup(self, parent: int, data: memoryview) -> bytes:
        return self._entry(self._named(parent, _text(data)))

    def _named(self, parent: int, name: str) -> int:
        try:
            return self._disk.folder(parent).entries[name]
        except KeyError:
            raise _Refused(errno.ENOENT) from None

    def _set_attributes(self, node: int, data: memoryview) -> bytes:
        (valid,), (size,) = struct.unpack_from("<I", data), struct.unpack_from("<Q", data, 16)
        if valid & _SIZE_IS_SET:
            self._disk.file(node).resize(size)
        return self._attributes_answer(node)

    def _make_folder(self, parent: int, data: memoryview) -> bytes:
        mode, umask = struct.unpack_from("<II", data)
        return self._entry(self._disk.make(parent, _text(data[8:]), Folder(mode & ~umask & 0o7777)))

    def _create(self, parent: int, data: memoryview) -> bytes:
        _, mode, umask, _ = struct.unpack_from("<4I", data)
        number = self._disk.make(parent, _text(data[16:]), File(mode & ~umask & 0o7777))
        return self._entry(number) + struct.pack("<QIi", 0, _KEEP_CACHE, 0)

    def _unlink(self, parent: int, data: memoryview) -> bytes:
        name = _text(data)
        node = self._disk.nodes[self._named(parent, name)]
        if isinstance(node, Folder) and node.entries:
            raise _Refused(errno.ENOTEMPTY)
        self._disk.remove(parent, name)
        return b""

    def _rename(self, parent: int, data: memoryview, names_at: int) -> bytes:
        (other,) = struct.unpack_from("<Q", data)
        if names_at == 16 and struct.unpack_from("<I", data, 8)[0]:
            raise _Refused(errno.EINVAL)  # exchange, and not to replace, are not needed
        name, other_name, _ = bytes(data[names_at:]).split(b"\0")
        self._named(parent, os.fsdecode(name))
        self._disk.rename(parent, os.fsdecode(name), other, os.fsdecode(other_name))
        return b""

    def _read(self, node: int, data: memoryview) -> bytes:
        _, at, size, _ = _READ.unpack_from(data)
        return bytes(self._disk.file(node).data[at : at + size])

    def _write(self, node: int, data: memoryview) -> bytes:
        _, at, size, _ = _READ.unpack_from(data)
        self._disk.file(node).write(at, bytes(data[_WRITE_BYTES : _WRITE_BYTES + size]))
        return struct.pack("<II", size, 0)

    def _sync_file(self, node: int, _data: memoryview) -> bytes:
        self._disk.sync_file(node)
        return b""

    def _sync_folder(self, node: int, _data: memoryview) -> bytes:
        self._disk.sync_folder(node)
        return b""

    def _read_folder(self, node: int, data: memoryview) -> bytes:
        _, at, size, _ = _READ.unpack_from(data)
        names = [(".", node), ("..", ROOT), *self._disk.folder(node).entries.items()]
        answer = b""
        for position, (name, number) in enumerate(names[at:], at + 1):
            raw = os.fsencode(name)
            kind = stat.S_IFREG if isinstance(self._disk.nodes[number], File) else stat.S_IFDIR
            entry = struct.pack("<QQII", number, position, len(raw), kind >> 12) + raw
            entry += bytes(-len(entry) % 8)
            if len(answer) + len(entry) > size:
                break
            answer += entry
        return answer


def _text(data: memoryview) -> str:
    return os.fsdecode(bytes(data).split(b"\0", 1)[0])
