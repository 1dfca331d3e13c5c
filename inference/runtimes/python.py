"""Models whose code is part of this project. Their answer is bare numbers and masks; the manifest gives them codes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import torch

from inference.devices import chosen_device
from inference.errors import InferenceError
from inference.findings import Findings, Measurement, NotAnalysed, Region, Remark, Segment
from inference.manifest import PythonRuntime
from inference.outputs import Outputs
from inference.package import Package
from inference.volume import Volume


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """What a model of this runtime returns.

    masks: by segment key, on the volume's grid. values: by (segment key, measurement key), in the unit that the
    manifest declares. remarks and refusal: (key, text), the keys being those of the manifest.
    """

    masks: Mapping[str, Region] = field(default_factory=dict)
    values: Mapping[tuple[str, str], float] = field(default_factory=dict)
    remarks: tuple[tuple[str, str], ...] = ()
    refusal: tuple[str, str] | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)


# A model whose input contract names companions is given them, by name, between the volume and the device.
Model = Callable[..., Analysis]


def run(
    volume: Volume, package: Package, device: str, companions: Mapping[str, Volume] = MappingProxyType({})
) -> Findings:
    """Call the package's entry point on "auto", "cpu" or "cuda", and put its answer into coded words."""
    where = chosen_device(device)
    runtime = package.manifest.runtime
    if not isinstance(runtime, PythonRuntime):
        raise InferenceError(f"{package.key}: runtime.kind {runtime.kind} has no code to be run")
    module_name, _, function_name = runtime.entry_point.partition(":")
    model: Model = getattr(importlib.import_module(module_name), function_name)
    volumes = (volume, companions) if package.manifest.input.companions else (volume,)
    # Same switch as use_deterministic_algorithms, without its import of the compiler, which takes over a second.
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    try:
        with torch.inference_mode():
            analysis = model(*volumes, where)
    finally:
        torch.set_deterministic_debug_mode(before)
    return coded(analysis, package)


def coded(analysis: Analysis, package: Package) -> Findings:
    """Findings in the manifest's own codes. Raises InferenceError for a key that the manifest does not declare."""
    outputs = package.manifest.outputs
    try:
        remarks = tuple(Remark(outputs.remarks[key].code, text) for key, text in analysis.remarks)
        if analysis.refusal is not None:
            key, text = analysis.refusal
            refusal = NotAnalysed(outputs.not_analysed[key].code, text)
            return Findings(remarks=remarks, not_analysed=refusal, parameters=dict(analysis.parameters))
        return Findings(
            segments=coded_segments(analysis, outputs),
            measurements=coded_measurements(analysis, outputs),
            remarks=remarks,
            parameters=dict(analysis.parameters),
        )
    except KeyError as error:
        raise InferenceError(
            f"{package.key} answered with key {error.args[0]!r}, which its manifest does not declare"
        ) from error


def coded_segments(analysis: Analysis, outputs: Outputs) -> tuple[Segment, ...]:
    """Segments in the manifest's order, so that segment numbers are stable."""
    declared = {output.key: output for output in outputs.segments}
    for key in analysis.masks:
        declared[key]
    return tuple(
        Segment(
            key=output.key,
            label=output.label,
            category=output.category.code,
            type=output.type.code,
            region=analysis.masks[output.key],
            color_rgb=output.color_rgb,
            finding_site=output.finding_site.code if output.finding_site else None,
            laterality=output.laterality.code if output.laterality else None,
        )
        for output in outputs.segments
        if output.key in analysis.masks
    )


def coded_measurements(analysis: Analysis, outputs: Outputs) -> tuple[Measurement, ...]:
    declared = {output.key: output for output in outputs.measurements}
    measurements = []
    for (segment_key, key), value in analysis.values.items():
        output = declared[key]
        measurements.append(
            Measurement(
                name=output.name.code,
                value=float(value),
                unit=output.unit.code,
                finding_key=segment_key,
                derivation=output.derivation.code if output.derivation else None,
                method=output.method.code if output.method else None,
            )
        )
    return tuple(measurements)
