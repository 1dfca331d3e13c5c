"""Header facts of a series' instances, as kept at receipt, to the facts that a model's input contract asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from inference.contract import SeriesFacts
from inference.geometry import StackGeometry, stack_geometry


def series_facts(instances: Sequence[Mapping[str, Any]], sop_class_uids: Iterable[str]) -> SeriesFacts:
    """Facts of the images that most of the series agrees on: a localizer among axial images must not decide for all."""
    orientation = _most_common(_triples(item.get("ImageOrientationPatient")) for item in instances)
    alike = [item for item in instances if _triples(item.get("ImageOrientationPatient")) == orientation]
    geometry = stack_geometry(
        [orientation for _ in alike], [_triples(item.get("ImagePositionPatient")) for item in alike]
    )
    spacing_mm = geometry.spacing_mm if geometry and len(geometry.distinct) > 1 else None
    return SeriesFacts(
        modality=str(_common(instances, "Modality") or ""),
        instances=sum(int(item.get("NumberOfFrames") or 1) for item in instances),
        sop_class_uids=frozenset(sop_class_uids),
        image_type=_texts(_common(alike, "ImageType")),
        image_orientation=orientation,
        slice_spacing_mm=spacing_mm,
        pixel_spacing_mm=_pixel_spacing_mm(_common(alike, "PixelSpacing")),
        coverage_mm=_coverage_mm(geometry),
        gantry_tilt_deg=geometry.tilt_deg if geometry else None,
        rows=_common(alike, "Rows"),
        columns=_common(alike, "Columns"),
        body_part=str(_common(instances, "BodyPartExamined") or ""),
        series_description=str(_common(instances, "SeriesDescription") or ""),
        manufacturer=str(_common(instances, "Manufacturer") or ""),
        convolution_kernel=" ".join(_texts(_common(alike, "ConvolutionKernel"))),
        contrast_agent=_contrast_agent(instances),
    )


def _contrast_agent(instances: Sequence[Mapping[str, Any]]) -> str | None:
    """Not known of enhanced multi-frame objects, which name it in a sequence (PS3.3 C.7.6.4b): the volume's header tells."""
    agent = _common(instances, "ContrastBolusAgent")
    return None if agent is None and any("NumberOfFrames" in item for item in instances) else str(agent or "")


def _pixel_spacing_mm(value: Any) -> tuple[float, float] | None:
    return (float(value[0]), float(value[1])) if value and len(value) == 2 else None


def _coverage_mm(geometry: StackGeometry | None) -> float | None:
    """From the first slice to the last, one slice spacing included."""
    if geometry is None or len(geometry.distinct) < 2:
        return None
    return geometry.distances_mm[-1] - geometry.distances_mm[0] + geometry.spacing_mm


def _common(instances: Sequence[Mapping[str, Any]], keyword: str) -> Any:
    return _most_common(_frozen(item.get(keyword)) for item in instances)


def _most_common(values: Iterable[Any]) -> Any:
    present = Counter(value for value in values if value not in (None, "", ()))
    return present.most_common(1)[0][0] if present else None


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(map(str, value)) if isinstance(value, tuple) else (str(value),)


def _triples(value: Any) -> tuple[float, ...] | None:
    return tuple(float(part) for part in value) if value else None
