"""No validator finds an error in pictures and pages, whatever they show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.results.encode import encode
from dicom_node.results.report import Report
from tests.conformance.made_findings import every_kind, many_detections, many_segments
from tests.conformance.reports import made_report, not_analysed, real_volume, report_on
from tests.conformance.test_validators import GEOMETRIES, REAL_SERIES
from tests.conformance.validators import dciodvfy_errors

KINDS = ("sc", "pdf")

Peer = Callable[[str], str]


def errors(report: Report, peer: Peer, folder: Path) -> list[str]:
    results = encode(replace(report, kinds=frozenset(KINDS)))
    assert [result.kind for result in results] == list(KINDS)
    found = []
    for result in results:
        path = folder / f"{result.kind}.dcm"
        path.write_bytes(result.payload)
        found += [*result.faults, *dciodvfy_errors(peer("dciodvfy"), path)]
    return found


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_every_kind_of_finding_is_valid_on_made_series(geometry: str, peer: Peer, tmp_path: Path) -> None:
    report = made_report(geometry)
    assert report.volume is not None
    assert errors(replace(report, findings=every_kind(report.volume)), peer, tmp_path) == []


QUICK = ("ct_chest_siemens_A0002_B40f", "mr_brain_siemens_prisma_sag")


@pytest.mark.parametrize(
    "series", [*QUICK, *(pytest.param(name, marks=pytest.mark.long) for name in REAL_SERIES if name not in QUICK)]
)
def test_every_kind_of_finding_is_valid_on_series_from_scanners(
    series: str, peer: Peer, tmp_path: Path, shared_data: Path
) -> None:
    datasets, volume = real_volume(shared_data / series)
    assert errors(report_on(datasets, volume, every_kind(volume)), peer, tmp_path) == []


def test_very_many_findings_are_valid(peer: Peer, tmp_path: Path) -> None:
    report = made_report("axial")
    assert report.volume is not None
    for findings in (many_segments(report.volume, 100), many_detections(report.volume, 1000)):
        assert errors(replace(report, findings=findings), peer, tmp_path) == []


def test_what_was_not_analysed_is_valid(peer: Peer, tmp_path: Path) -> None:
    assert errors(not_analysed(made_report("axial").sources), peer, tmp_path) == []
