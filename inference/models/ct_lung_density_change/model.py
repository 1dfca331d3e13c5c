"""ct_lung_density_change, read top to bottom: measure both examinations, subtract, say what the difference may be worth."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from inference.models.ct_lung_density.model import analyse as measure
from inference.models.ct_lung_density_change import comparison
from inference.runtimes.python import Analysis
from inference.volume import Volume

PRIOR = "prior"
SEGMENTS = ("right_lung", "left_lung", "both_lungs")
MEASUREMENTS = ("volume", "mean_density", "laa_950")


def analyse(volume: Volume, companions: Mapping[str, Volume], device: torch.device) -> Analysis:
    """Lung densitometry of a chest CT and of the prior one, and what changed; refuses what ct_lung_density refuses."""
    prior_volume = companions[PRIOR]
    current = measure(volume, device)
    if current.refusal:
        return Analysis(refusal=current.refusal)
    prior = measure(prior_volume, device)
    if prior.refusal:
        key, text = prior.refusal
        return Analysis(refusal=(key, f"of the prior examination: {text}"))
    values = changes(current.values, prior.values)
    return Analysis(
        masks={segment: current.masks[segment] for segment in SEGMENTS},
        values=values,
        remarks=(
            comparison.compared(volume.header, prior_volume.header),
            *comparison.differences(volume, prior_volume),
            *comparison.inspiration(values["both_lungs", "volume"], values["both_lungs", "prior_volume"]),
            *current.remarks,
            *((key, f"of the prior examination: {text}") for key, text in prior.remarks),
        ),
        parameters=current.parameters,
    )


def changes(
    current: Mapping[tuple[str, str], float], prior: Mapping[tuple[str, str], float]
) -> dict[tuple[str, str], float]:
    """By (segment, measurement): now, in the prior, and what was added since, each in the unit of the measurement."""
    values: dict[tuple[str, str], float] = {}
    for segment in SEGMENTS:
        for name in MEASUREMENTS:
            now, before = current[segment, name], prior[segment, name]
            values[segment, name] = now
            values[segment, f"prior_{name}"] = before
            values[segment, f"{name}_change"] = now - before
    return values
