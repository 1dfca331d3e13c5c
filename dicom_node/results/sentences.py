"""Findings in sentences, for receivers that show no more of a report than its text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dicom_node.results.picture_names import headed, name_of
from dicom_node.results.places import key_plane, shapes
from dicom_node.results.scene import Scene
from dicom_node.results.sr_evaluations import about, is_without_findings
from inference.findings import Classification, Detection, Landmark, Measurement, Segment

UNITS = {"[hnsf'U]": "HU", "1": "", "%": "%", "{pixels}": "pixels"}
"""UCUM as people write it, where that differs."""

_LARGEST_WITH_FRACTION = 100_000


@dataclass(frozen=True, slots=True)
class Sentence:
    """What is said of one finding. plane: the acquired one on which it shows best, None where it has no place."""

    words: str
    plane: int | None = None


def sentences(scene: Scene) -> list[Sentence]:
    """One for each finding, in the model's order; numbers of all that was analysed come last."""
    findings = scene.report.findings
    numbers: dict[str | None, list[str]] = {}
    for measurement in findings.measurements:
        if math.isfinite(measurement.value):
            on = f" on {name_of(scene.volume, *measurement.pictures)}" if measurement.pictures else ""
            numbers.setdefault(measurement.finding_key, []).append(f"{number(measurement)}{on}")
    said = []
    for numbered in scene.segments:
        segment, plane = numbered.segment, numbered.key_plane if numbered.number else None
        there = [] if numbered.number else ["nothing found"]
        said.append(_sentence(scene, segment, [*there, *numbers.get(segment.key, [])], plane))
    said += [_sentence(scene, item, [_state(item), *numbers.get(item.key, [])]) for item in findings.classifications]
    for detection in findings.detections:
        score = [] if detection.score is None else [f"certainty {value(100 * detection.score)} %"]
        plane = key_plane(detection.place, scene.volume)
        said.append(_sentence(scene, detection, [*score, *numbers.get(detection.key, [])], plane))
    for landmark in findings.landmarks:
        (place,) = shapes(landmark.at, scene.volume)
        (column, row), *_ = place.points.tolist()
        where = [f"column {value(column)}, row {value(row)}"]
        if landmark.uncertainty_mm is not None:
            where.append(f"within {value(landmark.uncertainty_mm)} mm with 95 % probability")
        said.append(_sentence(scene, landmark, [*where, *numbers.get(landmark.key, [])], place.plane))
    said += [Sentence(about(heat_map)) for heat_map in findings.heat_maps]
    if None in numbers:
        said.append(Sentence(f"All images analysed: {'; '.join(numbers[None])}."))
    if is_without_findings(scene):
        said.append(Sentence("All was analysed, and nothing was found."))
    return said


def number(measurement: Measurement) -> str:
    """ "Attenuation Coefficient (mean) -812.4 HU, +/- 12 HU"."""
    unit = UNITS.get(measurement.unit.value, measurement.unit.value)
    how = _in_brackets(code.meaning.lower() for code in (measurement.derivation, measurement.method) if code)
    words = f"{measurement.name.meaning}{how} {value(measurement.value)} {unit}".rstrip()
    if measurement.uncertainty is None or not math.isfinite(measurement.uncertainty):
        return words
    return f"{words}, +/- {value(measurement.uncertainty)} {unit}".rstrip()


def value(number_: float) -> str:
    """At most six significant digits, never a power of ten for what can be written without."""
    return f"{number_:,.0f}" if abs(number_) >= _LARGEST_WITH_FRACTION else f"{number_:.6g}"


def _state(item: Classification) -> str:
    shares = [("probability", item.probability), ("threshold", item.threshold)]
    known = [f"{name} {value(100 * share)} %" for name, share in shares if share is not None]
    return f"{item.state}{_in_brackets(known)}"


def _sentence(
    scene: Scene,
    finding: Segment | Classification | Detection | Landmark,
    said: Sequence[str],
    plane: int | None = None,
) -> Sentence:
    """ "Nodule 3 (lung, right): certainty 91 %; diameter 6.5 mm. Slice 12 of 40."."""
    where = [code.meaning for code in (finding.finding_site, finding.laterality) if code]
    words = f"{finding.label}{_in_brackets(where)}: {'; '.join(said) or 'found'}."
    if plane is None:
        return Sentence(words)
    place = f"Slice {plane + 1} of {len(scene.planes)}"
    if scene.volume.pictures:
        place = headed(name_of(scene.volume, plane))
    return Sentence(f"{words} {place}.", plane)


def _in_brackets(words: Iterable[str]) -> str:
    joined = ", ".join(words)
    return f" ({joined})" if joined else ""
