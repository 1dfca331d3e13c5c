"""Reads results back as a viewer would: numbers from the Structured Report, masks and colours from the Segmentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from highdicom.color import CIELabColor
from pydicom.dataset import Dataset

from dicom_node.results.check_seg import unpack
from inference.findings import Code, Findings, Segment
from inference.volume import Volume

# Concepts of DCM (PS3.16 D).
_TRACKING_IDENTIFIER, _TRACKING_UID = "112039", "112040"
_COMMENT = "121106"
# Finding and its site, and of SCT its category: they name what a group is about.
_NO_QUESTIONS = {"121071", "363698007", "276214006"}
# Of UMLS: the container whose sentences are the remarks, each under a concept of its own.
_QUALITATIVE_EVALUATIONS = "C0034375"
# UCUM units that people write in another way.
_UNITS = {"[hnsf'U]": "HU"}


@dataclass(frozen=True, slots=True)
class Answer:
    """A question of a report about one finding, and its answer: "Pneumothorax", "Present"."""

    about: str
    question: str
    answer: str


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


def answers_of(report: Dataset) -> tuple[Answer, ...]:
    """What the groups of a TID 1500 report say is there, or is not."""
    return tuple(
        Answer(about, str(child.ConceptNameCodeSequence[0].CodeMeaning), str(child.ConceptCodeSequence[0].CodeMeaning))
        for group in walk(report)
        if (about := _about(group))
        for child in group.ContentSequence
        if child.get("ValueType") == "CODE" and _concept(child) not in _NO_QUESTIONS
    )


def tracking_uids(report: Dataset) -> tuple[set[str], set[str]]:
    """Tracking Unique Identifiers of the groups that hold a 2D SCOORD, and of all groups."""
    placed, tracked = set(), set()
    for group in walk(report):
        children = group.get("ContentSequence") or ()
        uids = {str(child.UID) for child in children if _concept(child) == _TRACKING_UID}
        tracked |= uids
        if any(child.get("ValueType") == "SCOORD" for child in children):
            placed |= uids
    return placed, tracked


def walk(item: Dataset) -> Iterator[Dataset]:
    """The content item and all below it."""
    yield item
    for child in item.get("ContentSequence") or ():
        yield from walk(child)


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
    groups = segmentation.PerFrameFunctionalGroupsSequence
    packed, shape = np.frombuffer(segmentation.PixelData, np.uint8), (segmentation.Rows, segmentation.Columns)
    for group, frame in zip(groups, unpack(packed, len(groups), shape), strict=True):
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
    about = _about(group)
    if about is None:
        return
    for child in group.ContentSequence:
        if child.get("ValueType") == "NUM" and child.MeasuredValueSequence:
            measured = child.MeasuredValueSequence[0]
            ucum = str(measured.MeasurementUnitsCodeSequence[0].CodeValue)
            name = str(child.ConceptNameCodeSequence[0].CodeMeaning)
            yield Number(about, name, float(measured.NumericValue), _UNITS.get(ucum, ucum))


def _about(group: Dataset) -> str | None:
    """What a measurement group is about, in the words of its finding; None where there is no such group."""
    children = group.get("ContentSequence") or ()
    return next((str(child.TextValue) for child in children if _concept(child) == _TRACKING_IDENTIFIER), None)


def _concept(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeValue) if names else ""


def _code(sequence: Sequence[Dataset]) -> Code:
    item = sequence[0]
    return Code(str(item.CodeValue), str(item.CodingSchemeDesignator), str(item.CodeMeaning))
