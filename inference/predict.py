"""Volumes and model package in, findings out. The same volumes and package give the same findings, wherever they run."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from pydicom.dataset import Dataset

from inference.contract import SeriesFacts
from inference.findings import Findings, NotAnalysed
from inference.manifest import PythonRuntime
from inference.package import Package
from inference.volume import Volume

INPUT_REFUSED = "input_refused"


def predict(
    volume: Volume,
    package: Package,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    companions: Mapping[str, Volume] = MappingProxyType({}),
    *,
    seed: int = 0,
) -> Findings:
    """Run the model on the volume, or say which rule of its input contract a volume breaks.

    device "auto" takes CUDA where there is one, unless the package asks for the CPU.
    companions: the other series that the model reads, by the names of its input contract; those that it requires must be
    there. seed: of what it draws by chance, if it does; the same one gives the same findings.

    It runs in this process. What comes from outside is not to: see `inference.confined.pool.predict`.
    """
    refused = refusal(volume, package, companions)
    return refused if refused is not None else computed(volume, package, device, companions, seed=seed)


def refusal(volume: Volume, package: Package, companions: Mapping[str, Volume]) -> Findings | None:
    """Which rules of the model's input contract the volumes break; None where they break none."""
    manifest = package.manifest
    reasons = manifest.input.reasons_against(facts_of(volume))
    for name, companion in companions.items():
        against = manifest.input.companion(name).series.reasons_against(facts_of(companion))
        reasons += [f"{name}: {reason}" for reason in against]
    if not reasons:
        return None
    return Findings(not_analysed=NotAnalysed(manifest.outputs.not_analysed[INPUT_REFUSED].code, "; ".join(reasons)))


def computed(
    volume: Volume,
    package: Package,
    device: Literal["auto", "cpu", "cuda"],
    companions: Mapping[str, Volume],
    *,
    seed: int,
) -> Findings:
    """What the model says of volumes that its contract takes."""
    from inference import analysis
    from inference.repeatable import repeatable
    from inference.runtimes import python

    wanted = package.device_for(device)
    run = python.run if isinstance(package.manifest.runtime, PythonRuntime) else analysis.run
    with repeatable(seed):
        return run(volume, package, wanted, companions)


def facts_of(volume: Volume) -> SeriesFacts:
    """What the contract asks, as the volume itself shows it: geometry from the affine, the rest from the header."""
    header = volume.header
    if volume.pictures:
        return _facts_of_pictures(volume)
    spacing_mm = volume.spacing_mm
    step_mm = volume.affine_lps[:3, :3]
    along_row, along_column = step_mm[:, 2] / spacing_mm[2], step_mm[:, 1] / spacing_mm[1]
    slices, rows, columns = volume.voxels.shape
    image_type = header.get("ImageType") or ()
    return SeriesFacts(
        modality=str(header.get("Modality", "")),
        instances=slices,
        sop_class_uids=frozenset(source.sop_class_uid for source in volume.sources),
        image_type=(image_type,) if isinstance(image_type, str) else tuple(map(str, image_type)),
        image_orientation=tuple(map(float, (*along_row, *along_column))),
        slice_spacing_mm=spacing_mm[0],
        pixel_spacing_mm=(spacing_mm[1], spacing_mm[2]),
        coverage_mm=spacing_mm[0] * slices,
        gantry_tilt_deg=volume.gantry_tilt_deg,
        rows=rows,
        columns=columns,
        body_part=str(header.get("BodyPartExamined", "") or ""),
        series_description=str(header.get("SeriesDescription", "") or ""),
        manufacturer=str(header.get("Manufacturer", "") or ""),
        convolution_kernel=words_of(header.get("ConvolutionKernel")),
        contrast_agent=contrast_agent_of(header),
    )


def _facts_of_pictures(volume: Volume) -> SeriesFacts:
    """Pictures lie in no common space, so there is none to tell of."""
    header = volume.header
    image_type = header.get("ImageType") or ()
    return SeriesFacts(
        modality=str(header.get("Modality", "")),
        instances=len(volume.pictures),
        sop_class_uids=frozenset(picture.source.sop_class_uid for picture in volume.pictures),
        image_type=(image_type,) if isinstance(image_type, str) else tuple(map(str, image_type)),
        rows=volume.pictures[0].rows,
        columns=volume.pictures[0].columns,
        body_part=str(header.get("BodyPartExamined", "") or ""),
        series_description=str(header.get("SeriesDescription", "") or ""),
        manufacturer=str(header.get("Manufacturer", "") or ""),
        contrast_agent=contrast_agent_of(header),
    )


def contrast_agent_of(header: Dataset) -> str | None:
    """By its name, or in an enhanced object by that of its code; None where this is the header of no image."""
    if "SOPClassUID" not in header:
        return None
    named = [str(item.get("CodeMeaning", "")) for item in header.get("ContrastBolusAgentSequence") or ()]
    return str(header.get("ContrastBolusAgent", "") or "") or " ".join(named)


def words_of(value: object) -> str:
    """A text attribute of one or several values, as one text: "Br38f 3"."""
    if value is None:
        return ""
    return value if isinstance(value, str) else " ".join(map(str, value))  # type: ignore[call-overload]
