"""The judges, each asked about one object. What they say must be what the table in docs/results.md says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom import dcmread

from tests.conformance.objects import Made, is_upright, measured_in, values_on_planes, values_on_volume
from tests.conformance.readers import (
    Measured,
    by_dcmjs,
    by_dcmqi,
    by_highdicom,
    dcmqi_values,
    highdicom_frames,
    highdicom_values,
    map_by_dcmqi,
    map_by_highdicom,
)
from tests.conformance.validators import dciodvfy_errors, dcmpschk_errors, dsrdump_errors
from tests.conformance.verdicts import DOCUMENTS, MASKS, MEASURED, says

Peer = Callable[[str], str]


def judge(made: Made, peer: Peer, folder: Path) -> None:
    """Ask all judges but those that take seconds: the template's and the viewer."""
    no_errors(made, "dciodvfy", of_ours(made, dciodvfy_errors(peer("dciodvfy"), made.path)))
    if made.row in DOCUMENTS:
        no_errors(made, "DCMTK", dsrdump_errors(peer("dsrdump"), made.path))
    if made.row == "gsps" and is_named(made):
        no_errors(made, "DCMTK", dcmpschk_errors(peer("dcmpschk"), made.path))
    if made.row in MASKS:
        judge_masks(made, peer, folder)
    if made.row in MEASURED:
        judge_numbers(made, peer, folder)
    if made.row == "key_images":
        judge_references(made)
    if made.row == "parametric_map":
        judge_map(made, peer, folder)


def of_ours(made: Made, errors: list[str]) -> list[str]:
    """Without what is wrong in the source already, and cannot be right in what refers to it: one UID for two things."""
    source = made.report.first_source
    if source.get("FrameOfReferenceUID") != source.StudyInstanceUID:
        return errors
    return [line for line in errors if "StudyInstanceUID has same value as FrameOfReferenceUID" not in line]


def is_named(made: Made) -> bool:
    """dcmpschk wants patients to have a name, and a birth date of these two centuries; some public images have neither."""
    source = made.report.first_source
    return bool(source.get("PatientName")) and (source.get("PatientBirthDate") or "1900") >= "1850"


def no_errors(made: Made, name: str, errors: list[str]) -> None:
    says(name, made.row, f"{len(errors)} errors")
    assert errors == [], made.path.name


def judge_masks(made: Made, peer: Peer, folder: Path) -> None:
    """Readers find each segment's values voxel by voxel, at the same places in the patient."""
    if is_upright(made.volume):
        expected = values_on_volume(made)
        readers = {
            "dcmqi": lambda: dcmqi_values(
                peer("segimage2itkimage"), made.path, made.kind, made.volume, folder / made.path.stem
            ),
            "highdicom": lambda: highdicom_values(made.path, made.volume),
        }
    elif any(source.frame_number for source in made.volume.sources):
        return
    else:
        expected = values_on_planes(made)
        uids = [str(source.SOPInstanceUID) for source in made.report.sources]
        readers = {"highdicom": lambda: highdicom_frames(made.path, uids)}
    for name, reads in readers.items():
        read = reads()
        assert expected.keys() <= read.keys()
        differ = [number for number, values in expected.items() if not np.allclose(read[number], values, atol=1e-3)]
        says(name, made.row, "other voxels" if differ else "same voxels")
        assert differ == [], (name, made.path.name)


def judge_numbers(made: Made, peer: Peer, folder: Path) -> None:
    """Readers find each measurement with its value, its unit and its code, under the finding's name."""
    expected = measured_in(made.report)
    for name, read in {
        "dcmqi": by_dcmqi(peer("tid1500reader"), made.path, folder / f"{made.path.stem}.json"),
        "highdicom": by_highdicom(made.path),
        "dcmjs": by_dcmjs(peer("node"), made.path),
    }.items():
        missing = not_found(expected, read)
        says(name, made.row, "other numbers" if missing else "same numbers")
        assert missing == [], (name, made.path.name)


def not_found(expected: list[Measured], read: list[Measured]) -> list[Measured]:
    """Those about no finding are read under whatever name their group has."""
    about = Counter(rounded(one) for one in read)
    whatever = Counter(rounded(one, "") for one in read)
    return [
        one
        for one in expected
        if (about if one.about else whatever)[rounded(one)] < Counter(map(rounded, expected))[rounded(one)]
    ]


def rounded(one: Measured, about: str | None = None) -> Measured:
    return Measured(one.about if about is None else about, one.name, one.scheme, float(f"{one.value:.5g}"), one.unit)


def judge_references(made: Made) -> None:
    """highdicom finds study and series of each image that is selected."""
    document = hd.ko.KeyObjectSelectionDocument.from_dataset(dcmread(made.path))
    known = {str(source.SOPInstanceUID): str(source.SeriesInstanceUID) for source in made.report.sources}
    images = [item for item in document.ContentSequence if item.ValueType == "IMAGE"]
    selected = [str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for item in images]
    assert selected
    resolved = {uid: document.resolve_reference(uid)[1] for uid in selected}
    says("highdicom", made.row, "references resolve" if resolved.items() <= known.items() else "dead references")
    assert resolved.items() <= known.items()


def judge_map(made: Made, peer: Peer, folder: Path) -> None:
    """Readers find each value of the heat map at its place."""
    if not is_upright(made.volume):
        return
    (heat_map,) = made.report.findings.heat_maps
    for name, read in {
        "dcmqi": map_by_dcmqi(peer("paramap2itkimage"), made.path, made.volume, folder / made.path.stem),
        "highdicom": map_by_highdicom(made.path, made.volume),
    }.items():
        is_same = np.array_equal(read, heat_map.values)
        says(name, made.row, "same values" if is_same else "other values")
        assert is_same, (name, made.path.name)
