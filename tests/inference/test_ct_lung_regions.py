"""Masks that take memory only where something is: the same masks."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from inference.models.ct_lung_density.lungs import IN_PLANE, Coarse
from inference.models.ct_lung_density.model import coarse_mask
from inference.models.ct_lung_density.orientation import Orientation
from inference.models.ct_lung_density.regions import blank, box_of


def resident_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def test_a_blank_mask_takes_no_memory_until_it_is_written_to() -> None:
    before = resident_bytes()
    mask = blank((400, 512, 512))
    assert not mask.any()
    mask[100:120, 200:300, 200:300] = True
    assert np.count_nonzero(mask) == 200_000
    assert resident_bytes() - before < 20_000_000


def test_the_box_is_the_smallest_around_what_is_set() -> None:
    mask = blank((9, 8, 7))
    mask[2, 3, 4] = mask[5, 1, 6] = True
    assert box_of(mask) == (slice(2, 6), slice(1, 4), slice(4, 7))
    assert mask[box_of(blank((9, 8, 7)))].size == 0


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_a_mask_goes_back_to_the_order_of_the_volume(axes: tuple[int, int, int]) -> None:
    mask = np.random.default_rng(3).random((4, 5, 6)) < 0.1
    for flipped in product((False, True), repeat=3):
        orientation = Orientation(axes, flipped, (1.0, 1.0, 1.0))  # type: ignore[arg-type]
        assert np.array_equal(orientation.view(orientation.back(mask)), mask)


@pytest.mark.parametrize("seed", range(6))
def test_the_coarse_mask_is_that_of_whole_blocks_one_voxel_wider(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape, blocks = (11, 14, 13), (2, 3, 3)
    mask = blank(shape)
    corner = [int(rng.integers(0, size)) for size in shape]
    mask[corner[0] :, corner[1] : corner[1] + 4, corner[2] :] = (
        rng.random(mask[corner[0] :, corner[1] : corner[1] + 4, corner[2] :].shape) < 0.5
    )
    coarse = Coarse(np.zeros((5, 4, 4), np.float32), blocks, (1.0, 1.0, 1.0))
    wanted = np.zeros((5, 4, 4), np.bool_)
    for place in np.argwhere(mask):
        z, y, x = (int(at) // block for at, block in zip(place, blocks, strict=True))
        if z < 5 and y < 4 and x < 4:
            for dz, dy, dx in np.argwhere(IN_PLANE) - 1:
                if 0 <= y + dy < 4 and 0 <= x + dx < 4:
                    wanted[z + dz, y + dy, x + dx] = True
    assert np.array_equal(coarse_mask(mask, coarse), wanted)
