"""Models that bring weights and no code: the manifest says what is done before the network, and what its numbers mean."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from inference import answer_maps, answers, by_picture, diffusion
from inference.devices import chosen_device
from inference.errors import InferenceError
from inference.findings import Findings
from inference.manifest import Manifest
from inference.network import Network, boxes, maps, network_of, numbers
from inference.package import Package
from inference.preparing import Prepared, prepared
from inference.recipe import Postprocessing, Use
from inference.sliding_window import Slab
from inference.volume import Volume


def run(volume: Volume, package: Package, device: str, companions: Mapping[str, Volume]) -> Findings:
    """Run the package's network on "auto", "cpu" or "cuda". Raises InferenceError where its answer cannot be meant."""
    manifest, where = package.manifest, chosen_device(device)
    preprocessing, use, postprocessing = manifest.preprocessing, manifest.use, manifest.postprocessing
    if preprocessing is None or use is None or postprocessing is None:
        raise InferenceError(f"{package.key}: its manifest does not say how the network is used")
    network, outputs = network_of(package, where), manifest.outputs
    with torch.inference_mode():
        if volume.pictures:
            return by_picture.run(volume, manifest, network, where)
        made = prepared(volume, companions, preprocessing)
        if outputs.segments or outputs.maps:
            return _of_voxels(volume, made, network, manifest, where)
        if outputs.detections:
            return Findings(detections=answers.detections(boxes(made.image, network, use, where), made.grid, outputs))
        answer = numbers(made.image, network, use, where).cpu()
        return Findings(
            classifications=answers.classifications(answer, postprocessing, outputs),
            measurements=answers.measured(answer, outputs),
        )


def _of_voxels(volume: Volume, made: Prepared, network: Network, manifest: Manifest, where: torch.device) -> Findings:
    """What is told of each voxel: segments, maps, and what is computed of them."""
    outputs, recipe, use = manifest.outputs, manifest.postprocessing or Postprocessing(), manifest.use or Use()
    kept = answer_maps.Kept(outputs.maps, made.grid, recipe)
    deviation = None
    if use.sampler:
        told = diffusion.drawn(made.image, network, use, where)
        found, deviation = iter([Slab(0, told.mean)]), told.deviation
    else:
        found = maps(made.image, network, use, where)
    passing = kept.passing(found)
    segments = answers.segments(passing, made.grid, volume, recipe, outputs.segments) if outputs.segments else ()
    for _ in passing:
        pass  # there are no segments, so nobody else asks for it
    heat_maps = kept.heat_maps(outputs.maps, deviation, made.grid, volume)
    measurements = (*answers.computed(segments, volume, outputs), *answer_maps.computed(heat_maps, outputs))
    return Findings(
        segments=segments,
        measurements=measurements,
        heat_maps=heat_maps,
        parameters=diffusion.parameters(use.sampler) if use.sampler else {},
    )
