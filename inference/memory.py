"""Memory for large arrays, taken page by page where it is written to.

numpy asks the kernel for huge pages. On a machine that has run for long the kernel must first move other pages to make them,
which can take longer than all of the reading; and a mask of which a little is set would take room as if all of it were.
"""

from __future__ import annotations

import math
import mmap
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


def zeros(shape: tuple[int, ...], scalar: type[Scalar]) -> NDArray[Scalar]:
    """An array of zeros. Raises MemoryError where there is no room for it."""
    count = math.prod(shape)
    try:
        room = mmap.mmap(-1, max(1, count * np.dtype(scalar).itemsize), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError, ValueError) as error:
        raise MemoryError(str(error)) from error
    return np.frombuffer(room, scalar, count).reshape(shape)
