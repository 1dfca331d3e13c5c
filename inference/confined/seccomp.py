"""Seccomp: system calls that a process takes from itself, whatever privileges it has (seccomp(2)).

Landlock and an empty network leave one way out: a socket of the file system, such as a database's or a container daemon's, which
is connected to by its path. Besides, what no network needs goes that reaches deep into the kernel or into other processes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
from types import MappingProxyType

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2

# Where struct seccomp_data has the number of the call, the architecture that it is a number of, and the first two arguments.
_NUMBER, _ARCHITECTURE, _FAMILY, _TYPE = 0, 4, 16, 24
_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_X32 = 0x40000000
"""On x86-64 the same calls have numbers above this a second time."""

# By what `uname -m` says: the architecture's number in seccomp, and those of
# connect, ptrace, process_vm_readv, process_vm_writev, bpf, perf_event_open, userfaultfd, add_key, request_key, keyctl,
# open_by_handle_at, unshare, setns, mount; then those that open sockets: socket, socketpair.
_CALLS = MappingProxyType(
    {
        "x86_64": (0xC000003E, (42, 101, 310, 311, 321, 298, 323, 248, 249, 250, 304, 272, 308, 165), (41, 53)),
        "aarch64": (0xC00000B7, (203, 117, 270, 271, 280, 241, 282, 217, 218, 219, 265, 97, 268, 40), (198, 199)),
    }
)
# io_uring_setup, which makes sockets, too; and pidfd_getfd. Newer calls have one number on all architectures.
_NEWER = (425, 438)


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def restrict() -> None:
    """From now on: connect to nothing, look into no other process, and call nothing of `_CALLS`; that fails with EPERM.

    Sockets are opened only of the kind that CUDA opens for itself: local, and such that nothing can be sent to before it is
    connected, single or in pairs. no_new_privs must be set, or the process be privileged. Raises OSError where this system has
    no such filters.
    """
    machine = platform.machine()
    if machine not in _CALLS:
        raise OSError(errno.ENOSYS, f"no numbers of system calls are known for {machine}")
    lines = _filter(*_CALLS[machine])
    program = _Program(len(lines), (_Instruction * len(lines))(*(_Instruction(*line) for line in lines)))
    none = ctypes.c_ulong(0)
    if _LIBC.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.byref(program), none, none):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _filter(architecture: int, refused: tuple[int, ...], opening: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """Instructions (code, jump if true, jump if false, k). A test goes on to where it says, else to the next line."""
    lines: list[tuple[int, int, str, str]] = [
        (_LOAD, _ARCHITECTURE, "", ""),
        (_EQUAL, architecture, "", "refuse"),
        (_LOAD, _NUMBER, "", ""),
        (_AT_LEAST, _X32, "refuse", ""),
        *((_EQUAL, number, "refuse", "") for number in (*refused, *_NEWER)),
        *((_EQUAL, number, "opening", "") for number in opening[:-1]),
        (_EQUAL, opening[-1], "opening", "allow"),
        (_LOAD, _FAMILY, "", ""),
        (_EQUAL, socket.AF_UNIX, "", "refuse"),
        (_LOAD, _TYPE, "", ""),
        (_AND, 0xF, "", ""),  # without its flags
        (_EQUAL, socket.SOCK_STREAM, "allow", ""),
        (_EQUAL, socket.SOCK_SEQPACKET, "allow", "refuse"),
        (_RETURN, _ALLOW, "", ""),
        (_RETURN, _REFUSE, "", ""),
    ]
    at = {"opening": lines.index((_LOAD, _FAMILY, "", "")), "allow": len(lines) - 2, "refuse": len(lines) - 1}
    return [
        (code, at.get(if_true, place + 1) - place - 1, at.get(if_false, place + 1) - place - 1, k)
        for place, (code, k, if_true, if_false) in enumerate(lines)
    ]
