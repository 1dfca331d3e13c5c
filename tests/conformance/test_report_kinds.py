"""Reports of each kind of finding, alone and all together: no validator finds an error, other people read the numbers."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from highdicom import sr as hd
from pydicom import dcmread

from dicom_node.result_kinds import REPORTS, names_maps
from dicom_node.results.encode import encode
from inference.findings import Findings
from tests.conformance.kinds import KINDS, findings_of, findings_of_every_kind
from tests.conformance.reports import CREATED, made_volume, not_analysed, report_on
from tests.conformance.test_validators import with_measurement_title
from tests.conformance.validators import dciodvfy_errors, dsrdump_errors, pixelmed_errors
from tests.dicom_node.test_results_reports import detections
from tests.waiting import LIMIT_S

Peer = Callable[[str], str]

UNCERTAINTY_TAKEN_FOR_A_SOURCE = re.compile(
    r"Error: Template (1419 ROIMeasurements/\[Row 5\] NUM \*/\[Row (13|14)\]|300 Measurement/\[Row 1\] NUM \*/\[Row (9|10)\])"
    r" NUM \*: .*/NUM \(371884006,SCT,\"\+/-, range of measurement uncertainty\"\): Incorrect relationship - expected"
    r" INFERRED FROM - found HAS PROPERTIES"
)
"""PixelMed holds any number below a number against the row for what it was computed from; TID 310 has the uncertainty."""

SEGMENT_TAKEN_FOR_PLANAR = re.compile(
    r"Error: Template 1410 PlanarROIMeasurements/\[Row 1\] CONTAINER \(125007,DCM,\"Measurement Group\"\)/\[Row (5|7)\]"
    r" (SCOORD \(111030,DCM,\"Image Region\"\)|IMAGE \(121214,DCM,\"Referenced Segmentation Frame\"\)): within .*: Missing"
    r" conditional content item"
)
"""PixelMed holds all groups against TID 1410 where just one image region is in the whole report (docs/results.md)."""


def findings_named(name: str) -> Findings:
    volume = made_volume("axial")[1]
    every = findings_of_every_kind(volume)
    if name == "every":
        return every
    if name == "one region":
        return Findings(segments=every.segments[:2], detections=every.detections[:1])
    return findings_of(name, volume)


def write(name: str, ordered: str, folder: Path, *, retitled: bool = False) -> Path:
    datasets, volume = made_volume("axial")
    kinds = ("seg", "parametric_map", ordered) if names_maps(ordered) else ("seg", ordered)
    results = encode(report_on(datasets, volume, findings_named(name), kinds=kinds))
    (result,) = [one for one in results if one.kind == ordered]
    assert result.faults == ()
    path = folder / f"{name}-{ordered}.dcm"
    path.write_bytes((with_measurement_title(result) if retitled else result).payload)
    return path


@pytest.mark.parametrize("kind", [*REPORTS, "sr-maps"])
def test_reports_of_each_kind_of_finding_are_valid(kind: str, peer: Peer, tmp_path: Path) -> None:
    for name in ("every", *KINDS):
        path = write(name, kind, tmp_path)
        assert (name, dciodvfy_errors(peer("dciodvfy"), path)) == (name, [])
        assert (name, dsrdump_errors(peer("dsrdump"), path)) == (name, [])


def test_what_was_not_analysed_is_valid_in_each_kind_of_report(peer: Peer, tmp_path: Path) -> None:
    report = not_analysed(made_volume("axial")[0])
    for result in encode(
        type(report)(report.sources, None, report.findings, report.model, 1, CREATED, frozenset(REPORTS))
    ):
        path = tmp_path / f"{result.kind}.dcm"
        path.write_bytes(result.payload)
        assert result.faults == ()
        assert dciodvfy_errors(peer("dciodvfy"), path) == []
        assert dsrdump_errors(peer("dsrdump"), path) == []


def unexplained(java: str, path: Path) -> list[str]:
    """PixelMed's errors, without those that docs/results.md shows to be false."""
    found = pixelmed_errors(java, path)
    return [line for line in found if not UNCERTAINTY_TAKEN_FOR_A_SOURCE.fullmatch(line)]


def test_all_kinds_of_finding_in_one_report_break_no_template(pixelmed: str, tmp_path: Path) -> None:
    """That with the references to heat maps has all that the one without has."""
    assert unexplained(pixelmed, write("every", "sr-maps", tmp_path)) == []


@pytest.mark.long
@pytest.mark.parametrize("ordered", ["sr", "sr_comprehensive", "sr-alone", "sr-maps"])
@pytest.mark.parametrize("name", ["every", *KINDS])
def test_no_kind_of_finding_breaks_the_template(name: str, ordered: str, pixelmed: str, tmp_path: Path) -> None:
    assert unexplained(pixelmed, write(name, ordered, tmp_path, retitled=True)) == []


@pytest.mark.long
def test_the_one_case_in_which_pixelmed_chooses_the_wrong_template(pixelmed: str, tmp_path: Path) -> None:
    """Where it stops to complain, the exception in docs/results.md can go."""
    found = pixelmed_errors(pixelmed, write("one region", "sr", tmp_path))
    assert found
    assert [line for line in found if not SEGMENT_TAKEN_FOR_PLANAR.fullmatch(line)] == []


def test_dcmqi_reads_the_numbers_of_every_kind_of_finding(peer: Peer, tmp_path: Path) -> None:
    path, output = write("every", "sr", tmp_path), tmp_path / "read.json"
    command = [peer("tid1500reader"), "--inputDICOM", str(path), "--outputMetadata", str(output)]
    subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S)
    read = {
        (group["TrackingIdentifier"], item["quantity"]["CodeValue"], item["units"]["CodeValue"]): float(item["value"])
        for group in json.loads(output.read_text())["Measurements"]
        for item in group["measurementItems"]
    }
    assert read == pytest.approx(numbers_expected("every"), rel=1e-5)


def test_highdicom_reads_the_numbers_with_their_units_and_codes(tmp_path: Path) -> None:
    content = hd.srread(write("every", "sr", tmp_path)).content
    groups = [
        *content.get_volumetric_roi_measurement_groups(),
        *content.get_planar_roi_measurement_groups(),
        *content.get_image_measurement_groups(),
    ]
    read = {
        (str(group.tracking_identifier), str(number.name.value), str(number.unit.value)): number.value
        for group in groups
        for number in group.get_measurements()
    }
    assert read == pytest.approx(numbers_expected("every"), rel=1e-5)
    deep = next(group for group in groups if group.tracking_identifier == "Nodule in a deep box")
    assert len(deep.roi) == 4
    assert deep.get_measurements()[0].method.meaning == "Threshold"


def numbers_expected(name: str) -> dict[tuple[str, str, str], float]:
    """By label, code of the quantity and code of the unit: what the findings say, shares in percent."""
    findings = findings_named(name)
    labels: dict[str | None, str] = {
        finding.key: finding.label for finding in findings.keyed() if hasattr(finding, "label")
    }
    labels[None] = "All images analysed"
    expected = {
        (labels[m.finding_key], m.name.value, m.unit.value): m.value
        for m in findings.measurements
        if m.value == m.value
    }
    for item in findings.classifications:
        if item.probability is not None and item.threshold is not None:
            expected[item.label, "122157", "%"] = 100 * item.probability
            expected[item.label, "122411", "%"] = 100 * item.threshold
    for detection in findings.detections:
        if detection.score is not None:
            expected[detection.label, "111012", "%"] = 100 * detection.score
    for landmark in findings.landmarks:
        if landmark.uncertainty_mm is not None:
            expected[landmark.label, "PLACE95", "mm"] = landmark.uncertainty_mm
    return expected


def test_a_report_of_a_thousand_findings_is_valid_and_highdicom_reads_each(peer: Peer, tmp_path: Path) -> None:
    datasets, volume = made_volume("axial")
    findings = detections(1000, len(volume.sources))
    for result in encode(report_on(datasets, volume, findings, kinds=("sr", "sr_text"))):
        path = tmp_path / f"{result.kind}.dcm"
        path.write_bytes(result.payload)
        assert dciodvfy_errors(peer("dciodvfy"), path) == []
        assert dsrdump_errors(peer("dsrdump"), path) == []
    measured = dcmread(BytesIO((tmp_path / "sr.dcm").read_bytes())).ContentSequence[-2].ContentSequence
    assert len([item for item in measured if item.ValueType == "CONTAINER"]) == 1000
