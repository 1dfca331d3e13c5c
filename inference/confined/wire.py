"""Messages between a node and a model process: JSON with its length before it, and descriptors of memory beside it.

What a model process says is as little trusted as its weights: lengths, descriptors and words are bounded here.
"""

from __future__ import annotations

import array
import fcntl
import json
import mmap
import os
import socket
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.errors import InferenceError

Message = dict[str, Any]
Buffer = bytes | bytearray | memoryview

MAX_MESSAGE_BYTES = 16 * 1024**2
MAX_DESCRIPTORS = 64
_LENGTH_BYTES = 8
_TICK_S = 0.05
_AT_ONCE_BYTES = 64 << 20
_MADV_POPULATE_READ = 22


class WireError(InferenceError):
    """What came is no message, or no memory."""


class Gone(WireError):
    """The other end is closed."""


class Connection:
    """One end. Only one thread at a time may use it."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Raises Gone."""
        content = json.dumps(message, separators=(",", ":")).encode()
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            self._end.sendmsg([len(content).to_bytes(_LENGTH_BYTES, "little")], beside)
            self._end.sendall(content)
        except OSError as error:
            raise Gone(f"cannot be written to ({error})") from error

    def receive(self, waiting: Callable[[], None] = lambda: None) -> tuple[Message, list[int]]:
        """The next message, and its descriptors, which the caller must close.

        waiting: called again and again until it is there; what it raises ends the wait. Raises Gone, or WireError for what is
        no message.
        """
        descriptors: list[int] = []
        try:
            head = self._read(_LENGTH_BYTES, waiting, descriptors)
            length = int.from_bytes(head, "little")
            if length > MAX_MESSAGE_BYTES:
                raise WireError(f"a message must be at most {MAX_MESSAGE_BYTES} bytes, but claims {length}")
            message = json.loads(self._read(length, waiting, descriptors))
            if not isinstance(message, dict):
                raise WireError("a message must have keys with values")
        except (ValueError, RecursionError) as error:
            close_all(descriptors)
            raise WireError(f"a message cannot be read ({str(error)[:200]})") from error
        except BaseException:
            close_all(descriptors)
            raise
        return message, descriptors

    def close(self) -> None:
        self._end.close()

    def _read(self, length: int, waiting: Callable[[], None], descriptors: list[int]) -> bytes:
        content = bytearray()
        self._end.settimeout(_TICK_S)
        room = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
        while len(content) < length:
            waiting()
            try:
                part, beside, _, _ = self._end.recvmsg(
                    min(length - len(content), 1 << 20), room, socket.MSG_CMSG_CLOEXEC
                )
            except TimeoutError:
                continue
            except OSError as error:
                raise Gone(f"cannot be read from ({error})") from error
            for level, kind, data in beside:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    came = array.array("i")
                    came.frombytes(data[: len(data) - len(data) % came.itemsize])
                    descriptors += came
            if not part:
                raise Gone("the other end is closed")
            if len(descriptors) > MAX_DESCRIPTORS:
                raise WireError(f"a message must have at most {MAX_DESCRIPTORS} descriptors beside it")
            content += part
        self._end.settimeout(None)
        return bytes(content)


def memory_of(parts: Iterable[Buffer]) -> int:
    """A descriptor of memory that holds the parts, which the caller must close."""
    descriptor = os.memfd_create("dicom-node", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for part in parts:
            rest = memoryview(part).cast("B")
            while len(rest):
                rest = rest[os.write(descriptor, rest[:_AT_ONCE_BYTES]) :]
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def sealed_content(descriptor: int, most_bytes: int) -> memoryview:
    """What memory that another process made holds, from now on unchangeable for it. The descriptor may be closed then.

    Raises WireError where it is no such memory, is larger, or is still being written to.
    """
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= most_bytes:
        raise WireError(f"an answer must be memory of 1 to {most_bytes} bytes, but has {status.st_size}")
    try:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
        size = os.fstat(descriptor).st_size  # it might have grown until it was sealed
        if size != status.st_size:
            raise WireError("an answer changed while it was taken")
        return memoryview(mmap.mmap(descriptor, size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE))
    except OSError as error:
        raise WireError(f"an answer must be memory that nobody writes to ({error.strerror})") from error


def lent_array(descriptor: int, dtype: np.dtype[Any], shape: Sequence[int]) -> NDArray[Any]:
    """An array in memory that another process lends: to be read, not written. The descriptor may be closed then."""
    count = int(np.prod(shape, dtype=np.int64))
    if not count:
        return np.zeros(shape, dtype)
    # Private, so that a network which writes to its input neither fails nor changes what was lent.
    mapped = mmap.mmap(descriptor, count * dtype.itemsize, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    with suppress(OSError):
        mapped.madvise(_MADV_POPULATE_READ)
    return np.frombuffer(mapped, dtype, count).reshape(shape)


def close_all(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
