"""Reads results back as a viewer would: numbers from the Structured Report, masks and colours from the Segmentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from highdicom.color import CIELabColor
from pydicom.dataset import Dataset

from dicom_node.results.check_seg import unpack
from dicom_node.results.check_sr import walk
from inference.findings import Code, Findings, Segment
from inference.volume import Volume

# Concepts of DCM (PS3.16 D).
_TRACKING_IDENTIFIER = "112039"
_COMMENT = "121106"
# Of UMLS: the container whose sentences are the remarks, each under a concept of its own.
_QUALITATIVE_EVALUATIONS = "C0034375"
# UCUM units that people write in another way.
_UNITS = {"[hnsf'U]": "HU"}


@dataclass(frozen=True, slots=True)
class Number:
    """One measurement of a report: what it is about, what was measured, the value, and its unit."""

    about: str
    name: str
    value: float
    unit: str


def numbers_of(report: Dataset) -> tuple[Number, ...]:
    """The measurements of a TID 1500 report, in the order of its groups."""
    return tuple(number for group in walk(report) for number in _numbers_in(group))


def comments_of(report: Dataset) -> tuple[str, ...]:
    """What a report says in sentences: remarks, limits, and why something was not analysed."""
    return tuple(
        str(child.TextValue)
        for item in walk(report)
        for child in item.get("ContentSequence") or ()
        if child.get("ValueType") == "TEXT"
        and (_concept(child) == _COMMENT or _concept(item) == _QUALITATIVE_EVALUATIONS)
    )


def segments_of(segmentation: Dataset, volume: Volume) -> Findings:
    """The segments of a BINARY Segmentation, each mask on the grid of the volume that it was made from."""
    slices = {(source.sop_instance_uid, source.frame_number): index for index, source in enumerate(volume.sources)}
    masks = {int(item.SegmentNumber): np.zeros(volume.voxels.shape, np.bool_) for item in segmentation.SegmentSequence}
    for group, frame in zip(segmentation.PerFrameFunctionalGroupsSequence, unpack(segmentation), strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        index = slices[source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber")]
        masks[int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)][index] = frame
    return Findings(
        segments=tuple(_segment(item, masks[int(item.SegmentNumber)]) for item in segmentation.SegmentSequence)
    )


def _segment(item: Dataset, mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Segment:
    red, green, blue = CIELabColor.from_dicom_value(item.RecommendedDisplayCIELabValue).to_rgb()
    return Segment(
        key=str(item.TrackingID),
        label=str(item.SegmentLabel),
        category=_code(item.SegmentedPropertyCategoryCodeSequence),
        type=_code(item.SegmentedPropertyTypeCodeSequence),
        region=mask,
        color_rgb=(int(red), int(green), int(blue)),
    )


def _numbers_in(group: Dataset) -> Iterator[Number]:
    children = group.get("ContentSequence") or ()
    about = next((str(child.TextValue) for child in children if _concept(child) == _TRACKING_IDENTIFIER), None)
    if about is None:
        return
    for child in children:
        if child.get("ValueType") == "NUM" and child.MeasuredValueSequence:
            measured = child.MeasuredValueSequence[0]
            ucum = str(measured.MeasurementUnitsCodeSequence[0].CodeValue)
            name = str(child.ConceptNameCodeSequence[0].CodeMeaning)
            yield Number(about, name, float(measured.NumericValue), _UNITS.get(ucum, ucum))


def _concept(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeValue) if names else ""


def _code(sequence: Sequence[Dataset]) -> Code:
    item = sequence[0]
    return Code(str(item.CodeValue), str(item.CodingSchemeDesignator), str(item.CodeMeaning))
