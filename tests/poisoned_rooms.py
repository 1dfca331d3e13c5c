"""Memory that another patient's volume seems to have left: what a reader forgets to write shows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.memory import Rooms, Scalar


class PoisonedRooms(Rooms):
    """Every array, however small, is of kept memory, and each byte of it is 0xFF: NaN as float32."""

    def __init__(self) -> None:
        super().__init__(least_bytes=1, idle_s=0.01)

    def array(self, shape: tuple[int, ...], scalar: type[Scalar]) -> NDArray[Scalar]:
        found = super().array(shape, scalar)
        found.view(np.uint8)[...] = 0xFF
        return found
