"""Segmentations of a chest CT of 512 x 512 x 400: the node's encoder against highdicom and dcmqi, on the same voxels.

The input is a label map in memory and the headers of the CT, parsed; dcmqi, a program, reads both from files. The floor is what
has to be done at least: find which segments are in which slice, pack their bits, write them once.
"""

from __future__ import annotations

import json
import subprocess
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
import SimpleITK as sitk  # noqa: N813
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from rich.console import Console

from benchmarks.measured import Doing, Program
from dicom_node.results import seg, seg_labelmap
from dicom_node.results.encode import encode
from dicom_node.results.report import Report
from dicom_node.results.result_type import ResultType
from dicom_node.results.scene import scene_of
from inference.findings import Code, Findings, Labelled, ModelIdentity, Segment
from inference.volume import SourceFrame, Volume
from tests.conftest import find_peer
from tests.inference.series_factory import AXIAL, Shape, make_series

SLICES, ROWS, COLUMNS = 400, 512, 512
CASES = {
    "SEG, 1 segment": ("node", "node, unchecked", "highdicom", "dcmqi", "floor"),
    "SEG, 5 segments": ("node", "node, unchecked", "highdicom", "dcmqi", "floor"),
    "SEG, 100 segments": ("node", "node, unchecked", "highdicom", "dcmqi", "floor"),
    "LABELMAP, 100 segments": ("node", "node, unchecked", "highdicom", "dcmqi", "floor"),
}
BARS = (
    ("SEG, 5 segments", "node", "highdicom", 2.0),
    ("SEG, 5 segments", "node", "dcmqi", 2.0),
    ("SEG, 100 segments", "node", "highdicom", 4.0),
    ("SEG, 100 segments", "node", "dcmqi", 4.0),
    ("LABELMAP, 100 segments", "node", "highdicom", 3.0),
)

ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
LUNG = Code("39607008", "SCT", "Lung")
MODEL = ModelIdentity("organs", "1.0.0", "benchmarks", "Organs", "To be timed.", (), "2.25.1", "0" * 64)


def segments_in(case: str) -> int:
    return int(case.split()[1])


def is_labelmap(case: str) -> bool:
    return case.startswith("LABELMAP")


def labels_of(count: int) -> NDArray[np.uint8]:
    """uint8 (slices, rows, columns): ellipsoids that do not touch, one large, five as organs lie, or a hundred."""
    layers, down, across = {1: (1, 1, 1), 5: (1, 1, 5), 100: (4, 5, 5)}[count]
    labels = np.zeros((SLICES, ROWS, COLUMNS), np.uint8)
    cell = np.array([SLICES / layers, ROWS / down, COLUMNS / across])
    places = [(z, y, x) for z in range(layers) for y in range(down) for x in range(across)]
    for value, place in enumerate(places, start=1):
        centre = (np.array(place) + 0.5) * cell
        radius = cell * (0.37, 0.4, 0.4) * (1 - 0.15 * np.cos(value))
        low, high = np.floor(centre - radius).astype(int), np.ceil(centre + radius).astype(int)
        axes = [np.arange(a, b + 1) for a, b in zip(low, high, strict=True)]
        z, y, x = (((at - c) / r) ** 2 for at, c, r in zip(axes, centre, radius, strict=True))
        part = labels[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))]
        part[z[:, None, None] + y[:, None] + x <= 1] = value
    return labels


def prepare(folder: Path) -> None:
    """The CT as files, its headers in one, and for each number of segments the label map for numpy and for ITK."""
    (folder / "ct").mkdir()
    series = make_series(Shape(slices=SLICES, rows=ROWS, columns=COLUMNS, orientation=AXIAL), seed=1)
    for number, dataset in enumerate(series.datasets):
        dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = (
            "Test^Encode",
            "1",
            "",
            "",
        )
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber = "20260101", "1200", "1", ""
        dataset.ReferringPhysicianName = ""
        dataset.save_as(folder / "ct" / f"{number:04d}.dcm", enforce_file_format=True)
    sources = headers(folder)
    for count in sorted({segments_in(case) for case in CASES}):
        labels = labels_of(count)
        np.save(folder / f"{count}.npy", labels)
        image = sitk.GetImageFromArray(labels)
        steps = affine_of(sources)[:3, 2::-1]
        spacing_mm = np.linalg.norm(steps, axis=0)
        image.SetOrigin([float(one) for one in sources[0].ImagePositionPatient])
        image.SetSpacing(spacing_mm.tolist())
        image.SetDirection((steps / spacing_mm).ravel().tolist())
        sitk.WriteImage(image, str(folder / f"{count}.nrrd"), useCompression=False)
        (folder / f"{count}.json").write_text(json.dumps(dcmqi_metadata(count)))


def headers(folder: Path) -> list[Dataset]:
    """The CT in the order of its slices, without pixels."""
    found = [dcmread(path, stop_before_pixels=True) for path in sorted((folder / "ct").iterdir())]
    normal = np.cross(found[0].ImageOrientationPatient[:3], found[0].ImageOrientationPatient[3:])
    return sorted(found, key=lambda one: float(normal @ np.asarray(one.ImagePositionPatient, np.float64)))


def dcmqi_metadata(count: int) -> dict[str, object]:
    code = {one: {"CodeValue": c.value, "CodingSchemeDesignator": c.scheme, "CodeMeaning": c.meaning} for one, c in
            (("SegmentedPropertyCategoryCodeSequence", ANATOMY), ("SegmentedPropertyTypeCodeSequence", LUNG))}  # fmt: skip
    segments = [
        {
            "labelID": number,
            "SegmentDescription": f"Organ {number}",
            "SegmentLabel": f"Organ {number}",
            "SegmentAlgorithmType": "AUTOMATIC",
            "SegmentAlgorithmName": MODEL.title,
            "recommendedDisplayRGBValue": list(color(number)),
            **code,
        }
        for number in range(1, count + 1)
    ]
    return {"ContentCreatorName": "Test", "SeriesDescription": "Organs", "SeriesNumber": "300", "InstanceNumber": "1",
            "segmentAttributes": [segments]}  # fmt: skip


def color(number: int) -> tuple[int, int, int]:
    return 40 + number * 37 % 200, 40 + number * 91 % 200, 40 + number * 53 % 200


def affine_of(sources: Sequence[Dataset]) -> NDArray[np.float64]:
    """float64 (4, 4): (slice, row, column, 1) to mm."""
    first, second = sources[:2]
    orientation = np.array(first.ImageOrientationPatient, np.float64)
    affine = np.eye(4)
    affine[:3, 0] = np.subtract(second.ImagePositionPatient, first.ImagePositionPatient).astype(np.float64)
    affine[:3, 1] = orientation[3:] * float(first.PixelSpacing[0])
    affine[:3, 2] = orientation[:3] * float(first.PixelSpacing[1])
    affine[:3, 3] = first.ImagePositionPatient
    return affine


def report_of(case: str, labels: NDArray[np.uint8], sources: Sequence[Dataset]) -> Report:
    """As the node has it after the model has run. The voxels of the CT play no part: nothing reads them."""
    first = sources[0]
    frames = tuple(SourceFrame(str(one.SOPClassUID), str(one.SOPInstanceUID)) for one in sources)
    voxels = np.broadcast_to(np.float32(0), labels.shape)
    uids = first.FrameOfReferenceUID, first.StudyInstanceUID, first.SeriesInstanceUID
    volume = Volume(voxels, affine_of(sources), *map(str, uids), frames, first)
    segments = tuple(
        Segment(f"organ_{n}", f"Organ {n}", ANATOMY, LUNG, Labelled(labels, n), color(n))
        for n in range(1, segments_in(case) + 1)
    )
    kind = "seg_labelmap" if is_labelmap(case) else "seg"
    return Report(sources, volume, Findings(segments), MODEL, 1, datetime(2026, 1, 1, tzinfo=UTC), frozenset([kind]))


def node(case: str, folder: Path, *, is_checked: bool = True) -> Doing:
    report = report_of(case, np.load(folder / f"{segments_in(case)}.npy"), headers(folder))
    result_type: ResultType = seg_labelmap.RESULT if is_labelmap(case) else seg.RESULT
    file = folder / "node.dcm"

    def doing() -> Path:
        if is_checked:
            (result,) = encode(report)
            assert not result.faults, result.faults
            file.write_bytes(result.payload)
        else:
            scene = scene_of(report)
            assert result_type.applies(scene)
            file.write_bytes(result_type.encode(scene, result_type.kind).payload)
        return file

    return doing


def highdicom(case: str, folder: Path) -> Doing:
    labels, sources = np.load(folder / f"{segments_in(case)}.npy"), headers(folder)
    algorithm = hd.AlgorithmIdentificationSequence(MODEL.title, codes.cid7162.ArtificialIntelligence, MODEL.version)
    described = [
        SegmentDescription(
            number,
            f"Organ {number}",
            codes.SCT.AnatomicalStructure,
            codes.SCT.Lung,
            SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=hd.UID(),
            tracking_id=f"Organ {number}",
            display_color=hd.color.CIELabColor.from_rgb(*color(number)),
        )
        for number in range(1, segments_in(case) + 1)
    ]
    kind = SegmentationTypeValues.LABELMAP if is_labelmap(case) else SegmentationTypeValues.BINARY
    file = folder / "highdicom.dcm"

    def doing() -> Path:
        made = hd.seg.Segmentation(
            sources,
            labels,
            kind,
            described,
            hd.UID(),
            300,
            hd.UID(),
            1,
            "Test",
            "Test",
            "1",
            "1",
            omit_empty_frames=True,
        )
        made.save_as(file)
        return file

    return doing


def dcmqi(case: str, folder: Path) -> Doing:
    count, file = segments_in(case), folder / "dcmqi.dcm"
    command = [find_peer("itkimage2segimage"), "--inputImageList", f"{folder}/{count}.nrrd"]
    command += ["--inputDICOMDirectory", f"{folder}/ct", "--inputMetadata", f"{folder}/{count}.json"]
    command += ["--outputDICOM", str(file), *(["--segmentationType", "labelmap"] if is_labelmap(case) else [])]

    def doing() -> Path:
        subprocess.run(command, check=True, capture_output=True)
        return file

    return doing


def floor(case: str, folder: Path) -> Doing:
    labels, file = np.load(folder / f"{segments_in(case)}.npy"), folder / "floor.bin"

    def doing() -> Path:
        if is_labelmap(case):
            file.write_bytes(labels.data)
            return file
        packed = [
            np.packbits(plane == value, bitorder="little").tobytes()
            for plane in labels
            for value in np.flatnonzero(np.bincount(plane.ravel()))[1:]
        ]
        file.write_bytes(b"".join(packed))
        return file

    return doing


PROGRAMS: dict[str, Program] = {
    "node": node,
    "node, unchecked": partial(node, is_checked=False),
    "highdicom": highdicom,
    "dcmqi": dcmqi,
    "floor": floor,
}


def verify(folder: Path, case: str, console: Console) -> None:
    """The files of all three hold the voxels of the label map, as highdicom reads them, and dciodvfy finds no error in ours."""
    labels, affine = np.load(folder / f"{segments_in(case)}.npy"), affine_of(headers(folder))
    for name in ("node", "highdicom", "dcmqi"):
        file = PROGRAMS[name](case, folder)()
        command = [find_peer("dciodvfy"), "-new", str(file)]
        complaints = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        errors = [line for line in (complaints.stdout + complaints.stderr).splitlines() if line.startswith("Error")]
        same = np.array_equal(voxels_of(file, labels.shape, affine), labels)
        console.print(f"{case}: {name}: {'same voxels' if same else 'OTHER VOXELS'}, {len(errors)} validator errors")
        if name == "node":
            assert same
            assert not errors, errors[:5]
        file.unlink()


def voxels_of(file: Path, shape: tuple[int, ...], affine: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The segments as a label map on the grid of the CT, by their positions; slices without a frame are zero."""
    with warnings.catch_warnings(action="ignore"):
        read = hd.seg.segread(BytesIO(file.read_bytes()))
        volume = read.get_volume(combine_segments=True)
    to_grid = np.linalg.inv(affine) @ volume.affine
    indices = np.rint((to_grid @ np.stack([np.arange(len(volume.array)), *np.zeros((2, len(volume.array))),
                                           np.ones(len(volume.array))]))[0]).astype(int)  # fmt: skip
    found = np.zeros(shape, np.uint8)
    found[indices] = volume.array
    return found
