"""A report of 1,000 planar groups: the node's writer against highdicom, which makes a data set of each content item.

Each group has an outline of 32 points, a finding with category, site and side, a certainty and three measurements. The
node's time includes its checks of the bytes, and the library of images, which the peer leaves out. The floor writes the bytes
once.
"""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
from pydicom import dcmread
from rich.console import Console

from benchmarks import highdicom_sr
from benchmarks.encode_seg import affine_of, headers
from benchmarks.measured import Doing, Program
from dicom_node.results import sr
from dicom_node.results.encode import encode
from dicom_node.results.reading import numbers_of, walk
from dicom_node.results.report import Report
from dicom_node.results.scene import scene_of
from inference.findings import Code, Contour, Detection, Findings, Measurement, ModelIdentity
from inference.volume import SourceFrame, Volume
from tests.conftest import find_peer
from tests.inference.series_factory import AXIAL, Shape, make_series

CASE = "SR, 1,000 planar groups"
CASES = {CASE: ("node", "node, unchecked", "highdicom", "floor")}
BARS = ((CASE, "node", "highdicom", 10.0),)

GROUPS, POINTS, SLICES, PIXELS = 1000, 32, 64, 256
ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
NODULE, LUNG, RIGHT = (
    Code("27925004", "SCT", "Nodule"),
    Code("39607008", "SCT", "Lung"),
    Code("24028007", "SCT", "Right"),
)
DIAMETER, MM = Code("81827009", "SCT", "Diameter"), Code("mm", "UCUM", "millimeter")
VOLUME, ML = Code("118565006", "SCT", "Volume"), Code("mL", "UCUM", "milliliter")
DENSITY, HU = Code("112031", "DCM", "Attenuation Coefficient"), Code("[hnsf'U]", "UCUM", "Hounsfield unit")
MEAN = Code("373098007", "SCT", "Mean")
MODEL = ModelIdentity("nodules", "1.0.0", "benchmarks", "Nodules", "To be timed.", (), "2.25.1", "0" * 64)


def prepare(folder: Path) -> None:
    """The CT as files."""
    (folder / "ct").mkdir()
    series = make_series(Shape(slices=SLICES, rows=PIXELS, columns=PIXELS, orientation=AXIAL), seed=1)
    for number, dataset in enumerate(series.datasets):
        dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Test^Encode", "1", ""
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber = "20260101", "1200", "1", ""
        dataset.PatientSex = dataset.ReferringPhysicianName = ""
        dataset.save_as(folder / "ct" / f"{number:04d}.dcm", enforce_file_format=True)


def report_of(folder: Path) -> Report:
    """As the node has it after the model has run; the same each time."""
    sources = headers(folder)
    first = sources[0]
    frames = tuple(SourceFrame(str(one.SOPClassUID), str(one.SOPInstanceUID)) for one in sources)
    voxels = np.broadcast_to(np.float32(0), (SLICES, PIXELS, PIXELS))
    uids = first.FrameOfReferenceUID, first.StudyInstanceUID, first.SeriesInstanceUID
    volume = Volume(voxels, affine_of(sources), *map(str, uids), frames, first)
    random = np.random.default_rng(1)
    angles = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    found, measured = [], []
    for number in range(GROUPS):
        key, radius, (row, column) = f"n{number}", random.uniform(2, 8), random.uniform(10, PIXELS - 10, 2)
        points = np.column_stack([row + radius * np.sin(angles), column + radius * np.cos(angles)])
        place = Contour(int(random.integers(SLICES)), tuple(map(tuple, points.tolist())))
        label, score = f"Nodule {number + 1}", float(random.uniform())
        found.append(Detection(key, label, ABNORMAL, NODULE, place, score, finding_site=LUNG, laterality=RIGHT))
        measured += [
            Measurement(DIAMETER, 2 * radius, MM, key),
            Measurement(VOLUME, radius**3 / 1000, ML, key),
            Measurement(DENSITY, random.uniform(-800, 100), HU, key, derivation=MEAN),
        ]
    findings = Findings(detections=tuple(found), measurements=tuple(measured))
    return Report(sources, volume, findings, MODEL, 1, datetime(2026, 1, 1, tzinfo=UTC), frozenset(["sr"]))


def node(_case: str, folder: Path, *, is_checked: bool = True) -> Doing:
    report, file = report_of(folder), folder / "node.dcm"

    def doing() -> Path:
        if is_checked:
            (result,) = encode(report)
            assert not result.faults, result.faults
            file.write_bytes(result.payload)
        else:
            file.write_bytes(sr.encode_sr(scene_of(report), "sr").payload)
        return file

    return doing


def highdicom(_case: str, folder: Path) -> Doing:
    report, file = report_of(folder), folder / "highdicom.dcm"

    def doing() -> Path:
        file.write_bytes(highdicom_sr.document(report))
        return file

    return doing


def floor(_case: str, folder: Path) -> Doing:
    (result,) = encode(report_of(folder))
    file = folder / "floor.dcm"

    def doing() -> Path:
        file.write_bytes(result.payload)
        return file

    return doing


PROGRAMS: dict[str, Program] = {
    "node": node,
    "node, unchecked": partial(node, is_checked=False),
    "highdicom": highdicom,
    "floor": floor,
}


def verify(folder: Path, case: str, console: Console) -> None:
    """Both files hold the same numbers and outlines, group by group, and dciodvfy finds no error in ours."""
    read = []
    for name in ("node", "highdicom"):
        file = PROGRAMS[name](case, folder)()
        command = [find_peer("dciodvfy"), "-new", str(file)]
        complaints = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        errors = [line for line in (complaints.stdout + complaints.stderr).splitlines() if line.startswith("Error")]
        dataset = dcmread(file)
        outlines = [list(item.GraphicData) for item in walk(dataset) if item.ValueType == "SCOORD"]
        read.append((numbers_of(dataset), outlines))
        console.print(f"{case}: {name}: {len(outlines)} outlines, {len(errors)} validator errors")
        if name == "node":
            assert not errors, errors[:5]
        file.unlink()
    assert read[0] == read[1]
    assert len(read[0][0]) == 4 * GROUPS
