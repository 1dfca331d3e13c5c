"""Reports to encode: findings of known shape on made series of every geometry, and on series from real scanners."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from dicom_node.results.report import USUAL_KINDS, Report
from inference.findings import Code, Findings, Measurement, ModelCard, ModelIdentity, NotAnalysed, Remark, Segment
from inference.series import read_series
from inference.volume import Volume
from tests.inference.series_factory import AXIAL, SAGITTAL, Shape, as_multi_frame, make_series

ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
LUNG = Code("39607008", "SCT", "Lung")
NODULE = Code("27925004", "SCT", "Nodule")
RIGHT, LEFT = Code("24028007", "SCT", "Right"), Code("7771000", "SCT", "Left")
VOLUME = Code("118565006", "SCT", "Volume")
DENSITY = Code("112031", "DCM", "Attenuation Coefficient")
MEAN = Code("373098007", "SCT", "Mean")
ML, HU = Code("mL", "UCUM", "milliliter"), Code("[hnsf'U]", "UCUM", "Hounsfield unit")

MODEL = ModelIdentity(
    name="shape_finder",
    version="2.1.0",
    manufacturer="dicom-node tests",
    title="Shape finder",
    intended_use="Finds shapes of known size in images made by tests.",
    limits=("Sees nothing but what was put there.",),
    device_uid="2.25.290190309",
    content_sha256="0" * 64,
    card=ModelCard("Phantoms of any age.", "Nothing.", ("Dice 1 (0.99 to 1), on 3 phantoms",)),
)

CREATED = datetime(2026, 3, 4, 15, 6, 7, tzinfo=timezone(timedelta(hours=1)))

OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, -0.8)
"""Row and column directions turned about two axes: (3-4-5) triangles, so that they are exact."""

SHAPES = {
    "axial": Shape(slices=12, rows=41, columns=37, orientation=AXIAL),
    "sagittal": Shape(slices=9, rows=40, columns=32, orientation=SAGITTAL),
    "oblique": Shape(slices=8, rows=33, columns=35, orientation=OBLIQUE),
    "tilted": Shape(slices=10, rows=38, columns=34, orientation=AXIAL, lean_mm=0.9),
}
"""Sizes whose frames do not end on a whole byte are among them."""


def made_volume(name: str) -> tuple[list[Dataset], Volume]:
    """The data sets of a made series and its volume; "multi_frame" is one enhanced CT instance, "resampled" a tilted
    stack made straight."""
    shape = SHAPES[{"multi_frame": "axial", "resampled": "tilted"}.get(name, name)]
    datasets = list(make_series(shape, seed=len(name)).datasets)
    for dataset in datasets:
        dress(dataset)
    if name == "multi_frame":
        whole = as_multi_frame(datasets)
        dress(whole)
        datasets = [whole]
    volume = read_series(datasets, tilt="resample" if name == "resampled" else "keep").volumes[0]
    return datasets, volume


def dress(dataset: Dataset) -> None:
    """Add a patient and a study, with names that need their character set."""
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName, dataset.PatientID, dataset.IssuerOfPatientID = "Müller^Jürgen", "T-1", "Tests"
    dataset.PatientBirthDate, dataset.PatientSex = "19500203", "M"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20260304", "101500", "7"
    dataset.AccessionNumber, dataset.StudyDescription = "ACC7", "CT Thorax für Tests"
    dataset.ReferringPhysicianName = "Weiß^Eva"
    dataset.SeriesNumber, dataset.TimezoneOffsetFromUTC = 4, "-0330"


def real_volume(folder: Path) -> tuple[list[Dataset], Volume]:
    """A series from a scanner, with the gantry's tilt kept."""
    datasets = [dcmread(path) for path in sorted(folder.iterdir())]
    for number, dataset in enumerate(datasets, start=1):
        if not dataset.get("SOPInstanceUID"):  # one public series had its UIDs removed
            dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"2.25.{number}"
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.0", "2.25.9"
    return datasets, read_series(datasets, tilt="keep", spacing="resample").volumes[0]


def ellipsoid(volume: Volume, centre: Sequence[float], radius: Sequence[float]) -> NDArray[np.bool_]:
    """Both as fractions of the volume's extent along slices, rows and columns."""
    axes = [(np.arange(size, dtype=np.float32) + 0.5) / size for size in volume.voxels.shape]
    z, y, x = (((at - c) / r) ** 2 for at, c, r in zip(axes, centre, radius, strict=True))
    return z[:, None, None] + y[:, None] + x <= 1


def findings_on(volume: Volume) -> Findings:
    """Two shapes that differ in place and size along every axis, one within the first, and one that is empty."""
    right = ellipsoid(volume, (0.4, 0.35, 0.3), (0.35, 0.25, 0.2))
    left = ellipsoid(volume, (0.6, 0.6, 0.7), (0.3, 0.3, 0.15))
    within = ellipsoid(volume, (0.3, 0.3, 0.3), (0.2, 0.12, 0.1)) & right
    segments = (
        Segment("right", "Right shape", ANATOMY, LUNG, right, (230, 80, 80), LUNG, RIGHT),
        Segment("left", "Left shape", ANATOMY, LUNG, left, (80, 140, 240), LUNG, LEFT),
        Segment("within", "Shape within", ABNORMAL, NODULE, within, (255, 200, 60), LUNG, RIGHT),
        Segment("none", "Shape not there", ABNORMAL, NODULE, np.zeros_like(right), (160, 90, 200), LUNG, LEFT),
    )
    measurements = []
    for segment in segments:
        ml = float(segment.mask.sum()) * volume.voxel_volume_ml
        hu = float(volume.voxels[segment.mask].mean()) if segment.mask.any() else float("nan")
        measurements.append(Measurement(VOLUME, ml, ML, segment.key))
        measurements.append(Measurement(DENSITY, hu, HU, segment.key, derivation=MEAN))
    remark = Remark(Code("112225", "DCM", "Slice Thickness"), "Slices are thicker than 2.5 mm; volumes are less exact.")
    return Findings(segments, tuple(measurements), remarks=(remark,), parameters={"threshold": "-950"})


def report_on(
    datasets: Sequence[Dataset], volume: Volume, findings: Findings | None = None, kinds: Sequence[str] = USUAL_KINDS
) -> Report:
    """The report of shape_finder on the volume."""
    return Report(datasets, volume, findings or findings_on(volume), MODEL, 1, CREATED, frozenset(kinds))


def made_report(name: str, kinds: Sequence[str] = USUAL_KINDS) -> Report:
    return report_on(*made_volume(name), kinds=kinds)


def one_segment(findings: Findings, key: str) -> Findings:
    """The findings as a model would make them that looks for one thing only."""
    return Findings(
        tuple(segment for segment in findings.segments if segment.key == key),
        tuple(measurement for measurement in findings.measurements if measurement.finding_key == key),
    )


def not_analysed(datasets: Sequence[Dataset]) -> Report:
    reason = NotAnalysed(Code("130576", "DCM", "Anatomy coverage incomplete"), "the images end above the diaphragm")
    return Report(datasets, None, Findings(not_analysed=reason), MODEL, 1, CREATED)
