"""No validator finds an error in any result object."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_node.results import codes
from dicom_node.results.dicom_file import DicomFile
from dicom_node.results.encode import encode
from dicom_node.results.report import USUAL_KINDS, EncodedResult, ReadBesides, Report
from inference.findings import Findings
from inference.volume import SourceFrame
from tests.conformance.reports import (
    findings_on,
    made_report,
    made_volume,
    not_analysed,
    one_segment,
    real_volume,
    report_on,
)
from tests.conformance.validators import dciodvfy_errors, dsrdump_errors, pixelmed_errors
from tests.conformance.verdicts import says

Peer = Callable[[str], str]

GEOMETRIES = ("axial", "sagittal", "oblique", "tilted", "resampled", "multi_frame")
REAL_SERIES = (
    "ct_chest_ge_tcga-34-2605",
    "ct_chest_siemens_A0002_B40f",
    "ct_body_siemens_j2k",
    "ct_head_ge_tilt_varspacing",
    "mr_brain_siemens_prisma_sag",
)


def write(results: tuple[EncodedResult, ...], folder: Path) -> list[Path]:
    paths = []
    for result in results:
        paths.append(folder / f"{result.kind}.dcm")
        paths[-1].write_bytes(result.payload)
    return paths


def complaints(peer: Peer, paths: list[Path]) -> dict[str, list[str]]:
    found = {path.name: dciodvfy_errors(peer("dciodvfy"), path) for path in paths}
    for path in paths:
        if path.name == "sr.dcm":
            found["dsrdump"] = dsrdump_errors(peer("dsrdump"), path)
    return {name: lines for name, lines in found.items() if lines}


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_objects_on_made_series_are_valid(geometry: str, peer: Peer, tmp_path: Path) -> None:
    paths = write(encode(made_report(geometry)), tmp_path)
    assert [path.stem for path in paths] == list(USUAL_KINDS)
    assert complaints(peer, paths) == {}


@pytest.mark.parametrize("series", REAL_SERIES)
def test_objects_on_series_from_scanners_are_valid(series: str, peer: Peer, tmp_path: Path, shared_data: Path) -> None:
    paths = write(encode(report_on(*real_volume(shared_data / series))), tmp_path)
    assert len(paths) == len(USUAL_KINDS)
    assert complaints(peer, paths) == {}


def test_a_report_that_nothing_was_analysed_is_valid(peer: Peer, tmp_path: Path) -> None:
    paths = write(encode(not_analysed(made_volume("axial")[0])), tmp_path)
    assert [path.stem for path in paths] == ["sr", "sc"]
    assert complaints(peer, paths) == {}


def compared() -> Report:
    """A report that rests on another series of the study, and on one of an earlier study, too."""
    datasets, volume = made_volume("axial")
    phase = replace(
        volume,
        series_instance_uid="2.25.77",
        sources=tuple(SourceFrame(item.sop_class_uid, f"{item.sop_instance_uid}.7") for item in volume.sources),
    )
    prior = replace(
        phase,
        study_instance_uid="2.25.88",
        series_instance_uid="2.25.89",
        sources=tuple(SourceFrame(item.sop_class_uid, f"{item.sop_instance_uid}.8") for item in volume.sources),
    )
    besides = (ReadBesides("phase", 1, phase), ReadBesides("prior", 1, prior))
    return replace(report_on(datasets, volume), companions=besides)


def test_objects_that_rest_on_several_series_are_valid(peer: Peer, tmp_path: Path) -> None:
    paths = write(encode(compared()), tmp_path)
    assert complaints(peer, paths) == {}
    report = dcmread(tmp_path / "sr.dcm")
    assert [item.StudyInstanceUID for item in report.PertinentOtherEvidenceSequence] == ["2.25.88"]
    (own,) = report.CurrentRequestedProcedureEvidenceSequence
    assert "2.25.77" in [series.SeriesInstanceUID for series in own.ReferencedSeriesSequence]


def reports() -> dict[str, Report]:
    """What PixelMed judges by the template: several segments with an empty one, a lone one, none at all, no analysis."""
    datasets, volume = made_volume("axial")
    findings = findings_on(volume)
    return {
        "several": report_on(datasets, volume),
        "one": report_on(datasets, volume, one_segment(findings, "right")),
        "empty": report_on(datasets, volume, one_segment(findings, "none")),
        "without_seg": report_on(datasets, volume, kinds=("sr",)),
        "not_analysed": not_analysed(datasets),
        "compared": compared(),
    }


def with_measurement_title(result: EncodedResult) -> EncodedResult:
    """The same report under the title that the validator's copy of CID 7021 has.

    Under another title, which the standard allows (CID 7021 is extensible), it does not look at the content.
    """
    dataset = dcmread(BytesIO(result.payload))
    dataset.ConceptNameCodeSequence = [codes.concept(codes.IMAGING_MEASUREMENT_REPORT)]
    buffer = BytesIO()
    dataset.save_as(buffer)
    return replace(result, file=DicomFile(buffer.getvalue()))


def judge(name: str, java: str, folder: Path) -> list[str]:
    """PixelMed's verdict on one of the reports."""
    result = next(result for result in encode(reports()[name]) if result.kind == "sr")
    path = folder / f"{name}.dcm"
    path.write_bytes(with_measurement_title(result).payload)
    return pixelmed_errors(java, path)


def test_no_report_breaks_the_template(pixelmed: str, tmp_path: Path) -> None:
    names = ("several", "one", "not_analysed")
    with ThreadPoolExecutor(2) as pool:  # each takes several seconds
        verdicts = pool.map(lambda name: judge(name, pixelmed, tmp_path), names)
        found = dict(zip(names, verdicts, strict=True))
    for name in names:
        says("PixelMed", "sr, not analysed" if name == "not_analysed" else "sr", f"{len(found[name])} errors")
    assert found == {name: [] for name in names}


@pytest.mark.long
@pytest.mark.parametrize("name", ["empty", "without_seg", "compared"])
def test_no_rarer_report_breaks_the_template(name: str, pixelmed: str, tmp_path: Path) -> None:
    assert judge(name, pixelmed, tmp_path) == []


def test_a_broken_report_is_found_out(peer: Peer, tmp_path: Path) -> None:
    """A measurement without its unit is an error to dciodvfy; so the zeros above mean something."""
    datasets, volume = made_volume("axial")
    findings = findings_on(volume)
    path = write(encode(report_on(datasets, volume, Findings(findings.segments, findings.measurements))), tmp_path)[1]
    dataset = dcmread(path)
    group = dataset.ContentSequence[-2].ContentSequence[-1]
    measured = next(item for item in group.ContentSequence if item.ValueType == "NUM" and item.MeasuredValueSequence)
    del measured.MeasuredValueSequence[0].MeasurementUnitsCodeSequence
    dataset.save_as(path)
    assert dciodvfy_errors(peer("dciodvfy"), path)
