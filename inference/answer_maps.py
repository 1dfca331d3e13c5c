"""A number for each voxel of what a network answered: probabilities, a restored image, what it changed, how unsure it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference import grid as grids
from inference.answers import activated, computed_of, measurement
from inference.errors import InferenceError
from inference.findings import HeatMap, Measurement
from inference.grid import Grid
from inference.outputs import MapOutput, Outputs
from inference.recipe import Postprocessing
from inference.sliding_window import Slab
from inference.volume import Volume


class Kept:
    """The channels that maps are made of, kept while the answer goes by."""

    def __init__(self, declared: Sequence[MapOutput], grid: Grid, recipe: Postprocessing) -> None:
        wanted = sorted({item.index for item in declared if item.of != "uncertainty"})
        self._channels = {index: torch.empty(grid.size) for index in wanted}
        self._recipe = recipe

    def passing(self, found: Iterable[Slab]) -> Iterator[Slab]:
        """The same slabs. Raises InferenceError where the network has no channel for a map."""
        for slab in found:
            if self._channels:
                _require_channel(max(self._channels), len(slab.values))
                values = activated(slab.values, self._recipe)
                for index, kept in self._channels.items():
                    kept[slab.first : slab.first + values.shape[1]] = values[index].cpu()
            yield slab

    def heat_maps(
        self, declared: Sequence[MapOutput], deviation: Tensor | None, grid: Grid, volume: Volume
    ) -> tuple[HeatMap, ...]:
        """On the volume's grid, in the manifest's order, when all has gone by. deviation: (channels, *grid.size) of what a
        sampler drew."""
        return tuple(_heat_map(item, self._values(item, deviation), grid, volume) for item in declared)

    def _values(self, item: MapOutput, deviation: Tensor | None) -> Tensor:
        low, high = item.becomes
        if item.of != "uncertainty":
            return self._channels[item.index] * (high - low) + low
        if deviation is None:
            raise InferenceError(f"outputs: map {item.key} is of uncertainty, but one answer alone was drawn")
        _require_channel(item.index, len(deviation))
        return deviation[item.index] * abs(high - low)


def computed(found: Sequence[HeatMap], outputs: Outputs) -> tuple[Measurement, ...]:
    """What is computed of the maps that measurements name, of all their values: numbers about all that was analysed."""
    by_key = {item.key: _numbers(item) for item in found}
    return tuple(
        measurement(output, computed_of(output, by_key[key]), None)
        for output in outputs.measurements
        for key in output.of
        if key in by_key and by_key[key].size
    )


def _numbers(item: HeatMap) -> NDArray[np.float32]:
    return item.values[np.isfinite(item.values)]


def _heat_map(item: MapOutput, values: Tensor, grid: Grid, volume: Volume) -> HeatMap:
    returned: NDArray[np.float32] = grids.returned(values, grid, "linear", fill=float("nan")).numpy()
    if item.of == "difference":
        returned = returned - volume.voxels
    return HeatMap(
        key=item.key,
        label=item.label,
        quantity=item.quantity.code,
        unit=item.unit.code,
        values=np.ascontiguousarray(returned, np.float32),
        shown=item.shown,
        hides_below=item.hides_below,
        finding_site=item.finding_site.code if item.finding_site else None,
        laterality=item.laterality.code if item.laterality else None,
    )


def _require_channel(index: int, channels: int) -> None:
    if index >= channels:
        raise InferenceError(f"outputs: a map is of channel {index} of the network's answer, which has {channels}")
