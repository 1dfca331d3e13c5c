"""Is a measurement group as its template says (PS3.16 TID 1410, 1411, 1501)?

What must be there is counted in each group; highdicom, which knows the templates, is asked about the rest.
Groups of one shape, with the same kinds of item under the same names, are alike to the template: one of them is asked about,
and of many like items that follow one another, such as a region on each image, two.
"""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from itertools import groupby, islice

from highdicom import sr as hd
from pydicom.charset import convert_encodings
from pydicom.filereader import read_dataset

from dicom_node.results.sr_reading import Child, Container, Name

_OnRegions = hd.PlanarROIMeasurementsAndQualitativeEvaluations | hd.VolumetricROIMeasurementsAndQualitativeEvaluations
_MEASUREMENT_GROUP = ("125007", "DCM")
_ONCE = {("112039", "DCM"): "tracking identifier", ("112040", "DCM"): "tracking UID"}
_IMAGE_REGION, _REFERENCED_SEGMENT = ("111030", "DCM"), ("121191", "DCM")
_BROKEN = (ValueError, TypeError, AttributeError, KeyError, IndexError, RuntimeError)

_TEMPLATES: dict[str, type[hd.MeasurementsAndQualitativeEvaluations | _OnRegions]] = {
    "1410": hd.PlanarROIMeasurementsAndQualitativeEvaluations,
    "1411": hd.VolumetricROIMeasurementsAndQualitativeEvaluations,
    "1501": hd.MeasurementsAndQualitativeEvaluations,
}

Shape = tuple[str, tuple[tuple[str, Name], ...]]


def faults_of_groups(containers: Iterable[Container], character_set: bytes) -> list[str]:
    """What is wrong with the groups, in words; highdicom judges the first of each shape.

    character_set: the value of (0008,0005).
    """
    encodings = convert_encodings(character_set.decode("ascii").strip().split("\\"))
    faults, seen = [], set()
    for group in containers:
        if group.name != _MEASUREMENT_GROUP:
            continue
        faults += _miscounted(group)
        if (shape := shape_of(group)) not in seen:
            seen.add(shape)
            faults += _faults(group, encodings)
    return faults


def _miscounted(group: Container) -> list[str]:
    """What highdicom sees to when it makes a group, but not when it reads one."""
    names = [child.name for child in group.children]
    faults = [
        f"a measurement group must have one {what}, but has {names.count(name)}"
        for name, what in _ONCE.items()
        if names.count(name) != 1
    ]
    regions, segments = names.count(_IMAGE_REGION), names.count(_REFERENCED_SEGMENT)
    if group.template == "1410" and regions != 1:
        faults.append(f"a group of TID 1410 must have one image region, but has {regions}")
    if group.template == "1411" and not ((regions and not segments) or (segments == 1 and not regions)):
        faults.append(f"a group of TID 1411 must have regions or a segment, but has {regions} and {segments}")
    return faults


def shape_of(group: Container) -> Shape:
    """Template, and kind and name of each child; of several alike that follow one another, one."""
    return group.template, tuple(kind for kind, _ in groupby(map(_kind, group.children)))


def _kind(child: Child) -> tuple[str, Name]:
    return child.value_type, child.name


def _told_apart(group: Container) -> list[int]:
    """Which children there are to be judged: the first two of each run of like ones."""
    kinds = groupby(range(len(group.children)), key=lambda index: _kind(group.children[index]))
    return [index for _, run in kinds for index in islice(run, 2)]


def _faults(group: Container, encodings: list[str]) -> list[str]:
    template = _TEMPLATES.get(group.template)
    if template is None:
        return [f"a measurement group names the template {group.template!r}, which is none for such a group"]
    dataset = read_dataset(BytesIO(group.encoded), False, True, parent_encoding=encodings)
    try:
        content = dataset.ContentSequence
        dataset.ContentSequence = [content[index] for index in _told_apart(group)]
        read = template.from_sequence([dataset])
        if not isinstance(read, hd.MeasurementsAndQualitativeEvaluations):
            _ = read.reference_type, read.roi  # each raises where there is none
        read.get_measurements()
        read.get_qualitative_evaluations()
    except _BROKEN as error:
        return [f"a measurement group breaks TID {group.template}: {error}"]
    return []
