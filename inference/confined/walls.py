"""What a model process gives up before it reads a byte of a model: the network, privileges, writing, programs, core dumps.

Whatever this system does not allow is told in words, and the rest is raised all the same. `python -m inference.confined.walls`
raises them in a process that does nothing else, and prints what could not be raised.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from inference.confined import landlock, seccomp

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_CAPABILITY_VERSION_3 = 0x20080522
_MOST_TASKS = 4096
"""Threads count; within a user namespace only its own do."""

WRITABLE = ("/dev",)
"""Devices of the GPU, and the memory in /dev/shm."""


def raise_all(parent: int) -> tuple[str, ...]:
    """Raise all walls around this process, which must have one thread only. What could not be, in words.

    parent: the process that it must not outlive. Raises SystemExit where that one is gone already.
    """
    missing: list[str] = []
    steps: tuple[tuple[str, Callable[[], object]], ...] = (
        ("a network namespace of its own", _leave_network),
        ("no core dumps", _no_core_dumps),
        ("to be the first that the system ends when memory runs out", _first_to_go),
        ("no privileges", _drop_capabilities),
        ("no new privileges", lambda: _prctl(_PR_SET_NO_NEW_PRIVS, 1)),
        ("no files written and no programs started (Landlock)", lambda: landlock.restrict(WRITABLE)),
        ("no socket connected and no other process looked into (seccomp)", seccomp.restrict),
    )
    for what, step in steps:
        try:
            step()
        except OSError as error:
            missing.append(f"{what}: {error.strerror or error}")
    # Last, because a change of credentials takes it back.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(1)
    return tuple(missing)


def _leave_network() -> None:
    """Into a namespace of users and of network with nothing in it; a privileged process may do without the first."""
    user, group = os.geteuid(), os.getegid()
    try:
        _check(_LIBC.unshare(_CLONE_NEWUSER | _CLONE_NEWNET))
    except OSError:
        _check(_LIBC.unshare(_CLONE_NEWNET))
        return
    # Without these it would be nobody, and libraries that ask who runs them would stumble.
    for file, content in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        Path("/proc/self", file).write_text(content)
    resource.setrlimit(resource.RLIMIT_NPROC, (_MOST_TASKS, _MOST_TASKS))


def _no_core_dumps() -> None:
    """A core dump would hold voxels. The limit does not bind where the kernel hands dumps to a program; the flag does."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


def _first_to_go() -> None:
    Path("/proc/self/oom_score_adj").write_text("1000")


def _drop_capabilities() -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _check(_LIBC.capset(header, (ctypes.c_uint32 * 6)()))


def _prctl(option: int, value: int) -> None:
    _check(_LIBC.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)))


def _check(returned: int) -> None:
    if returned:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    sys.stdout.write("\n".join(raise_all(os.getppid())))
