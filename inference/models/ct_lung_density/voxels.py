"""The voxels in the order of the patient, without a copy of them in the memory of the CPU.

Of a patient who lies prone, or goes in feet first, they are a view that runs backwards, which torch does not know: it is given
what fits the cache, or the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from inference.models.ct_lung_density.regions import Box, Mask, box_of

_SLICES_AT_ONCE = 16


@dataclass(frozen=True, slots=True, eq=False)
class Voxels:
    """hu: float32 (slices, rows, columns), any strides. elsewhere: the same on the device that computes, where that is not the
    CPU."""

    hu: NDArray[np.float32]
    device: torch.device
    elsewhere: torch.Tensor | None = None

    def pooled(self, blocks: tuple[int, int, int]) -> NDArray[np.float32]:
        """Mean of each whole block of so many voxels."""
        parts = self._parts(blocks[0]) if self.elsewhere is None else [self.elsewhere]
        pooled = [torch.nn.functional.avg_pool3d(part[None, None], blocks)[0, 0].cpu().numpy() for part in parts]
        return np.concatenate(pooled)

    def below(self, box: Box, limit_hu: float) -> torch.Tensor:
        """Which voxels of the box are; on the device that computes."""
        if self.elsewhere is None:
            return torch.from_numpy(np.less(self.hu[box], limit_hu, order="C"))
        return self.elsewhere[box] < limit_hu

    def within(self, mask: Mask) -> torch.Tensor:
        """HU of the voxels of a mask, one axis; on the device that computes."""
        box = box_of(mask)
        if self.elsewhere is None:
            return torch.from_numpy(self.hu[box][mask[box]])
        return self.elsewhere[box][torch.from_numpy(np.ascontiguousarray(mask[box])).to(self.device)]

    def _parts(self, block: int) -> Iterator[torch.Tensor]:
        """All slices but those beyond the last whole block, some whole blocks at a time."""
        most = max(1, _SLICES_AT_ONCE // block) * block
        for start in range(0, len(self.hu) // block * block, most):
            yield torch.from_numpy(np.ascontiguousarray(self.hu[start : start + most]))


def voxels_on(hu: NDArray[np.float32], device: torch.device) -> Voxels:
    if device.type == "cpu":
        return Voxels(hu, device)
    there = torch.empty(hu.shape, dtype=torch.float32, device=device)
    for start in range(0, len(hu), _SLICES_AT_ONCE):
        part = slice(start, start + _SLICES_AT_ONCE)
        there[part] = torch.from_numpy(np.ascontiguousarray(hu[part])).to(device)
    return Voxels(hu, device, there)
