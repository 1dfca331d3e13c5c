"""Is a measurement group as its template says? highdicom is asked, which knows the templates (PS3.16 TID 1410, 1411, 1501).

Groups of one shape, with the same kinds of item under the same names, are alike to the template: one of them is asked about.
"""

from __future__ import annotations

from io import BytesIO
from itertools import groupby

from highdicom import sr as hd
from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from dicom_node.results.content_bytes import CONTENT, ContentBytes, ReadItem, Span

_CHARACTER_SET = 0x00080005
_IMAGING_MEASUREMENTS, _MEASUREMENT_GROUP = ("126010", "DCM"), ("125007", "DCM")
_BROKEN = (ValueError, TypeError, AttributeError, KeyError, IndexError, RuntimeError)

_TEMPLATES = {
    "1410": hd.PlanarROIMeasurementsAndQualitativeEvaluations,
    "1411": hd.VolumetricROIMeasurementsAndQualitativeEvaluations,
    "1501": hd.MeasurementsAndQualitativeEvaluations,
}

Shape = tuple[tuple[str, tuple[str, str]] | str, ...]


def faults_of_shapes(payload: bytes) -> list[str]:
    """What is wrong with the first group of each shape, in words."""
    read = ContentBytes(payload)
    top = read.top()
    declared = top.get(_CHARACTER_SET)
    terms = payload[declared.start : declared.end].decode("ascii").strip().split("\\") if declared else ["ISO_IR 6"]
    faults, seen = [], set()
    for group in _groups(read, top[CONTENT]):
        shape = _shape(read, group)
        if shape not in seen:
            seen.add(shape)
            faults += _faults(payload, group, convert_encodings(terms))
    return faults


def _groups(read: ContentBytes, content: Span) -> list[ReadItem]:
    return [
        group
        for item in read.content(content)
        if item.name == _IMAGING_MEASUREMENTS
        for group in read.content(item.children)
        if group.name == _MEASUREMENT_GROUP
    ]


def _shape(read: ContentBytes, group: ReadItem) -> Shape:
    """Template, and kind and name of each child; of several alike that follow one another, one."""
    kinds = [(child.value_type, child.name) for child in read.content(group.children)]
    return group.template, *(kind for kind, _ in groupby(kinds))


def _faults(payload: bytes, group: ReadItem, encodings: list[str]) -> list[str]:
    template = _TEMPLATES.get(group.template)
    if template is None:
        return [f"a measurement group names the template {group.template!r}, which is none for such a group"]
    raw = BytesIO(payload[group.whole.start : group.whole.end])
    dataset: Dataset = read_dataset(raw, is_implicit_VR=False, is_little_endian=True, parent_encoding=encodings)
    try:
        read = template.from_sequence([dataset])
        if isinstance(read, hd.MeasurementsAndQualitativeEvaluations):
            read.get_measurements(), read.get_qualitative_evaluations()
        else:
            read.reference_type, read.roi, read.get_measurements()
    except _BROKEN as error:
        return [f"a measurement group breaks TID {group.template}: {error}"]
    return []
