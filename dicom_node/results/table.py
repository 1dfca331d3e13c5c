"""Findings as tables of words and numbers, for pictures and pages: a row a finding, a column a quantity."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dicom_node.results.importance import (
    classifications_by_importance,
    detections_by_importance,
    placed,
    segments_by_importance,
)
from dicom_node.results.lettering import named, spelled
from dicom_node.results.looks import centre
from dicom_node.results.overlay import LANDMARK_COLOR
from inference.findings import Classification, Code, Detection, Findings, HeatMap, Landmark, Measurement, Segment

Finding = Segment | Classification | Detection | Landmark | HeatMap
Color = tuple[int, int, int]
Cells = Mapping[str, str]
"""By the heading of their column."""

ImageName = Callable[[float], str]
"""From the place along the slices to what the image is called."""

MOST_COLUMNS = 6
"""Beside the name of the finding; more cannot be read."""

UNITS = {
    "[hnsf'U]": "HU",
    "1": "",
    "mm2": "mm²",
    "mm3": "mm³",
    "cm2": "cm²",
    "cm3": "cm³",
    "um": "µm",
    "Cel": "°C",
    "deg": "°",
    "{SUVbw}g/ml": "SUVbw",
    "{ratio}": "ratio",
    "{pixels}": "pixels",
    "{counts}": "counts",
}
"""UCUM as people write it, where that differs."""

Quantity = tuple[str, str, str]
"""What a measurement is (name, derivation) and its unit."""


@dataclass(frozen=True, slots=True)
class Row:
    """color: as in the picture; None where it is not drawn. number: by which it is found in the picture. place: in the table,
    among those that there is room for."""

    label: str
    cells: tuple[str, ...]
    place: int = 0
    color: Color | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """left_out: rows that there was no room for. quantities_left_out: kinds of measurement, likewise."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    left_out: int = 0
    quantities_left_out: int = 0

    def first(self, rows: int) -> Table:
        """The same with so many rows at most, each in its place."""
        cut = max(0, len(self.rows) - rows)
        kept = tuple(sorted(self.rows[: len(self.rows) - cut], key=lambda row: row.place))
        return Table(self.title, self.headings, kept, self.left_out + cut, self.quantities_left_out)

    @property
    def says_more(self) -> str:
        """What was left out, in words; empty where nothing was."""
        more = []
        if self.left_out:
            more.append(f"{self.left_out:,} of {self.left_out + len(self.rows):,}")
        if self.quantities_left_out:
            more.append(f"{self.quantities_left_out} further kinds of measurement")
        return f"Not shown here: {' and '.join(more)}" if more else ""


def tables(findings: Findings, image_name: ImageName) -> list[Table]:
    """A table for each kind of finding that there is, each with all its rows, the most important first; `Table.first`."""
    at = _of_place(image_name)
    assessed = [(one, _of_classification(one)) for one in classifications_by_importance(findings)]
    made = [
        _table("Assessment", findings, assessed),
        _table("Detections", findings, [(one, at(one)) for one in detections_by_importance(findings)]),
        _table("Segments", findings, [(one, {}) for one in segments_by_importance(findings)]),
        _table("Landmarks", findings, [(one, at(one)) for one in findings.landmarks]),
        _table("Heat maps", findings, [(one, _of_heat_map(one)) for one in findings.heat_maps]),
        _of_all(findings, image_name),
    ]
    return [table for table in made if table.rows]


def numbered(findings: Findings) -> dict[str, int]:
    """Detections, the likeliest first, and then landmarks have numbers from 1, by their key."""
    return {one.key: number for number, one in enumerate(placed(findings), 1)}


def numbers_in(made: Sequence[Table]) -> frozenset[int]:
    return frozenset(row.number for table in made for row in table.rows if row.number is not None)


def _table(title: str, findings: Findings, own: Sequence[tuple[Finding, Cells]]) -> Table:
    """own: the findings with the cells that only their kind has; those of their measurements follow."""
    sites = [site(finding) for finding, _ in own]
    if any(sites):
        own = [(finding, {"Site": words, **cells}) for words, (finding, cells) in zip(sites, own, strict=True)]
    own_names = list(dict.fromkeys(name for _, cells in own for name in cells))
    keys = {finding.key for finding, _ in own}
    about = [one for one in findings.measurements if one.finding_key in keys]
    quantities = [item for item, _ in Counter(quantity(one) for one in about).most_common()]
    shown = quantities[: max(1, MOST_COLUMNS - len(own_names))]
    values = {(one.finding_key, quantity(one)): value(one) for one in reversed(about)}
    places = {segment.key: index for index, segment in enumerate(findings.segments)}
    numbers = numbered(findings)
    rows = []
    for index, (finding, cells) in enumerate(own):
        measured = (values.get((finding.key, item), "–") for item in shown)
        rows.append(
            Row(
                label(finding),
                (*(cells.get(name, "") for name in own_names), *measured),
                place=places.get(finding.key, index),
                color=color(finding),
                number=numbers.get(finding.key),
            )
        )
    return Table(title, (*own_names, *map(heading, shown)), tuple(rows), 0, len(quantities) - len(shown))


def _heading_on(measurement: Measurement, image_name: ImageName) -> str:
    """With the picture, where it was measured on one."""
    named_ = heading(quantity(measurement))
    if not measurement.pictures:
        return named_
    name = image_name(measurement.pictures[0])
    return f"{named_}, {name}" if name.startswith("frame") else f"{named_}, image {name}"


def _of_all(findings: Findings, image_name: ImageName) -> Table:
    """What was measured of no single finding: a row a measurement."""
    rows = tuple(Row(_heading_on(one, image_name), (value(one),)) for one in findings.of(None))
    return Table("All that was analysed", ("Value",), rows)


def _of_classification(finding: Classification) -> dict[str, str]:
    cells: dict[str, str] = {"State": finding.state}
    if finding.probability is not None:
        cells["Probability"] = share(finding.probability)
    if finding.threshold is not None:
        cells["Threshold"] = share(finding.threshold)
    return cells


def _of_place(image_name: ImageName) -> Callable[[Detection | Landmark], dict[str, str]]:
    def cells(finding: Detection | Landmark) -> dict[str, str]:
        found = {"Image": image_name(centre(finding)[0])}
        if isinstance(finding, Detection) and finding.score is not None:
            found["Score"] = share(finding.score)
        if isinstance(finding, Landmark) and finding.uncertainty_mm is not None:
            found["Uncertainty"] = f"± {number(finding.uncertainty_mm)} mm"
        return found

    return cells


def _of_heat_map(finding: HeatMap) -> dict[str, str]:
    low, high = finding.shown
    scale = f"{low:.4g} to {high:.4g} {unit_of(finding.unit)}".strip()
    return {"Quantity": named(finding.quantity.meaning, finding.quantity), "Scale": scale}


def label(finding: Finding) -> str:
    return named(finding.label, _concept(finding))


def _concept(finding: Finding) -> Code:
    if isinstance(finding, Classification):
        return finding.finding
    return finding.quantity if isinstance(finding, HeatMap) else finding.type


def site(finding: Finding) -> str:
    """Where in the body, where the label does not say it: "left lung"."""
    codes = [code for code in (finding.laterality, finding.finding_site) if code]
    words = " ".join(named(code.meaning, code) for code in codes).lower()
    return "" if isinstance(finding, Segment) or words in finding.label.lower() else words


def color(finding: Finding) -> Color | None:
    if isinstance(finding, Landmark):
        return LANDMARK_COLOR
    return finding.color_rgb if isinstance(finding, Segment | Detection) else None


def quantity(measurement: Measurement) -> Quantity:
    derivation = measurement.derivation.meaning if measurement.derivation else ""
    return measurement.name.meaning, derivation, unit_of(measurement.unit)


def heading(of: Quantity) -> str:
    name, derivation, unit = of
    derived = f", {derivation[:1].lower()}{derivation[1:]}" if derivation else ""
    return spelled(f"{name}{derived} ({unit})" if unit else f"{name}{derived}")


def scale_name(heat_map: HeatMap) -> str:
    unit = unit_of(heat_map.unit)
    return f"{label(heat_map)} ({unit})" if unit else label(heat_map)


def unit_of(code: Code) -> str:
    """As people write it; nothing for a number without one."""
    return UNITS.get(code.value, spelled(code.value))


def value(measurement: Measurement) -> str:
    """With half the width of its 95 % interval, where that is known."""
    shown, uncertainty = number(measurement.value), measurement.uncertainty
    if uncertainty is None:
        return shown
    decimals = len(shown.partition(".")[2]) if "e" not in shown else 2
    alike = f"{uncertainty:,.{decimals}f}"
    return f"{shown} ± {alike if float(alike.replace(',', '')) or not uncertainty else number(uncertainty)}"


def share(of: float) -> str:
    """A probability or score, 0 to 1; one that is rounded to a certainty is said to be less."""
    return "> 0.99" if 0.995 <= of < 1 else "< 0.01" if 0 < of < 0.005 else f"{of:.2f}"


def number(of: float) -> str:
    """Three or four significant digits, as far as such a measurement is repeatable; a dash for what is no number."""
    if not math.isfinite(of):
        return "–"
    size = abs(of)
    if size >= 1_000_000 or 0 < size < 0.001:
        return f"{of:.2e}"
    if size >= 100 or of == 0:
        return f"{of:,.0f}"
    return f"{of:.1f}" if size >= 10 else f"{of:.2f}" if size >= 0.1 else f"{of:.2g}"
