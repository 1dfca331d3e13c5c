"""Models that bring weights and no code: the manifest says what is done before the network, and what its numbers mean."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from inference import answers, by_picture
from inference.devices import chosen_device
from inference.errors import InferenceError
from inference.findings import Findings
from inference.network import boxes, maps, network_of, numbers
from inference.package import Package
from inference.preparing import prepared
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
        if outputs.segments:
            found = maps(made.image, network, use, where)
            segments = answers.segments(found, made.grid, volume, postprocessing, outputs.segments)
            return Findings(segments=segments, measurements=answers.computed(segments, volume, outputs))
        if outputs.detections:
            return Findings(detections=answers.detections(boxes(made.image, network, use, where), made.grid, outputs))
        answer = numbers(made.image, network, use, where).cpu()
        return Findings(
            classifications=answers.classifications(answer, postprocessing, outputs),
            measurements=answers.measured(answer, outputs),
        )
