"""Every object of a source, written to files, each with the report that it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.result_kinds import MAP, MAPS, REFERRING, REPORTS, kind_of
from dicom_node.results.encode import TYPES, encode
from dicom_node.results.report import Report
from dicom_node.results.segments import numbered
from inference.findings import Findings, Segment
from inference.transforms import mask_on_acquired
from inference.volume import Volume
from tests.conformance.everything import TOO_SHORT, apart_on, everything_on
from tests.conformance.readers import LARGEST_FRACTION, Measured
from tests.conformance.reports import CREATED, MODEL

SIGNIFICANT_DIGITS = 6


@dataclass(frozen=True, eq=False)
class Made:
    """An object. row: its line in the table of verdicts."""

    row: str
    kind: str
    path: Path
    report: Report

    @property
    def volume(self) -> Volume:
        assert self.report.volume is not None
        return self.report.volume


def objects_of(
    datasets: list[Dataset], volume: Volume | None, folder: Path, kinds: Mapping[str, object] = TYPES
) -> Iterator[Made]:
    """All that is made of findings of every kind, then of segments that do not overlap, then where nothing was analysed.

    Reports beside Parametric Maps refer to these.
    """
    ordered = frozenset(f"{kind}-{MAPS}" if kind in REFERRING and MAP in kinds else kind for kind in kinds)
    nothing = Report(datasets, None, Findings(not_analysed=TOO_SHORT), MODEL, 2, CREATED, ordered)
    reports = {"nothing": nothing}
    if volume is not None:
        everything = replace(nothing, volume=volume, findings=everything_on(volume), revision=1)
        reports = {"all": everything, "apart": replace(everything, findings=apart_on(volume)), **reports}
    for name, report in reports.items():
        for result in encode(report):
            assert result.faults == (), (result.kind, result.faults)
            kind = kind_of(result.kind)
            path = folder / f"{name}-{kind}.dcm"
            path.write_bytes(result.payload)
            yield Made("sr, not analysed" if name == "nothing" and kind in REPORTS else kind, kind, path, report)


def is_upright(volume: Volume) -> bool:
    """Whether an image with three directions at right angles can hold it, as ITK's and highdicom's volumes are."""
    directions = volume.affine_lps[:3, :3] / np.linalg.norm(volume.affine_lps[:3, :3], axis=0)
    return volume.acquired is None and bool(np.allclose(directions.T @ directions, np.eye(3), atol=1e-3))


def segments_in(made: Made) -> dict[int, Segment]:
    """By Segment Number, those that hold a voxel."""
    return {item.number: item.segment for item in numbered(made.report.findings, made.volume) if item.number}


def values_on_volume(made: Made) -> dict[int, NDArray[np.float32]]:
    """What a reader must find of each segment on the grid of the volume."""
    return {number: _values(made, segment, segment.mask) for number, segment in segments_in(made).items()}


def values_on_planes(made: Made) -> dict[int, NDArray[np.float32]]:
    """What a reader must find of each mask in the planes as acquired."""
    return {
        number: np.asarray(mask_on_acquired(segment.mask, made.volume), np.float32)
        for number, segment in segments_in(made).items()
        if not segment.has_probabilities
    }


def _values(made: Made, segment: Segment, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    if made.kind == "seg_fractional" and segment.has_probabilities:
        return np.rint(np.asarray(segment.array, np.float32) * LARGEST_FRACTION) / np.float32(LARGEST_FRACTION)
    return np.asarray(mask, np.float32)


def measured_in(report: Report) -> list[Measured]:
    """The measurements that a reader must find; of those about nothing in particular, about nothing."""
    labels = {finding.key: getattr(finding, "label", "") for finding in report.findings.keyed()}
    return [
        Measured(
            labels[m.finding_key] if m.finding_key else "",
            m.name.value,
            m.name.scheme,
            float(f"{m.value:.{SIGNIFICANT_DIGITS}g}"),
            m.unit.value,
        )
        for m in report.findings.measurements
        if np.isfinite(m.value)
    ]
