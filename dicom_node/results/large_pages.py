"""Memory of the kernel in pieces of 2 MB instead of 4 KB, where Linux has them: a new page costs more than to write it."""

from __future__ import annotations

import ctypes
import mmap
from functools import cache

import numpy as np
from numpy.typing import NDArray


def ask_for_large_pages(memory: NDArray[np.uint8]) -> None:
    """A hint for memory that nothing was written to yet; it changes nothing else, and is not needed (madvise(2))."""
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    first = -(-memory.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
    whole = (memory.ctypes.data + memory.nbytes - first) // mmap.PAGESIZE * mmap.PAGESIZE
    if advice is not None and whole > 0:
        _library().madvise(ctypes.c_void_p(first), ctypes.c_size_t(whole), advice)


@cache
def _library() -> ctypes.CDLL:
    """The C library that this process has loaded."""
    return ctypes.CDLL(None)
