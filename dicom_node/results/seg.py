"""Findings to a Segmentation (PS3.3 A.51), BINARY, in the planes of the source.

Written frame by frame, because it must point each frame to the source frame that it was made from, whatever the series
is made of: single or multi-frame instances, tilted or not. Source pixels are never read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from highdicom.color import CIELabColor
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import SegmentationStorage
from pydicom.valuerep import DSfloat

from dicom_node.results import codes, context, identity
from dicom_node.results.check_seg import check_seg
from dicom_node.results.report import Report
from dicom_node.results.result_type import ResultType
from dicom_node.results.scene import Scene
from dicom_node.results.segments import Numbered
from dicom_node.results.sources import Plane, instances_used
from dicom_node.results.writing import Written, written
from inference.findings import ModelIdentity
from inference.geometry import tolerance
from inference.volume import Volume

FRAMES_PACKED_TOGETHER = 8
"""Frames follow each other without padding (PS3.5 8.1.1): eight of them end on a whole byte, whatever their size."""


@dataclass(frozen=True, slots=True)
class MaskFrame:
    """One frame of the object: the part of a segment (counted from 0 among those described) in an acquired plane."""

    segment: int
    plane: int


def applies(scene: Scene) -> bool:
    """A Segmentation cannot show a segment without a voxel, so one at least must hold some."""
    return any(item.number for item in scene.segments)


def encode_seg(scene: Scene, _ordered: str) -> Written:
    """The Segmentation of all segments that hold a voxel."""
    report, volume, planes, segments = scene.report, scene.volume, scene.planes, scene.segments
    described = [item for item in segments if item.number]
    frames = [
        MaskFrame(index, int(plane)) for index, item in enumerate(described) for plane in np.flatnonzero(item.pixels)
    ]
    dataset = context.new_object(report, "seg", SegmentationStorage, "SEG")
    series = report.first_source.SeriesInstanceUID
    dataset.FrameOfReferenceUID = volume.frame_of_reference_uid or identity.derived_uid("frame of reference", series)
    dataset.PositionReferenceIndicator = ""
    add_image(dataset, report, planes[0], described)
    dataset.SegmentSequence = [describe(report, item) for item in described]
    dataset.ReferencedSeriesSequence = [referenced_series(report, volume)]
    add_dimensions(dataset, identity.dimension_organization_uid(report))
    dataset.SharedFunctionalGroupsSequence = [shared_groups(planes, volume.spacing_mm[0])]
    ranks = {plane: rank for rank, plane in enumerate(sorted({f.plane for f in frames}), start=1)}
    dataset.PerFrameFunctionalGroupsSequence = [frame_groups(f, ranks[f.plane], planes[f.plane]) for f in frames]
    dataset.NumberOfFrames = len(frames)
    dataset.PixelData = pack(described[f.segment].on(f.plane) for f in frames)
    dataset["PixelData"].VR = "OB"
    return written(dataset)


def check(scene: Scene, _ordered: str, seg: Written) -> list[str]:
    check_seg(seg.payload, scene.segments, scene.planes)
    return []


def add_image(dataset: Dataset, report: Report, plane: Plane, described: Sequence[Numbered]) -> None:
    """Image Pixel, Segmentation Image and content identification (PS3.3 C.8.20.2, 10.9)."""
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelRepresentation = 0
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = 0
    dataset.Rows, dataset.Columns = plane.rows, plane.columns
    dataset.BurnedInAnnotation = "NO"
    dataset.SegmentationType = "BINARY"
    dataset.SegmentsOverlap = "YES" if overlap(described) else "NO"
    dataset.ContentLabel = "AI_SEGMENTATION"
    dataset.ContentDescription = identity.series_description(report)
    dataset.ContentCreatorName = ""
    source = report.first_source
    dataset.LossyImageCompression = "01" if source.get("LossyImageCompression") == "01" else "00"
    if dataset.LossyImageCompression == "01":
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if keyword in source:
                setattr(dataset, keyword, source[keyword].value)


def describe(report: Report, item: Numbered) -> Dataset:
    """Segment Description (PS3.3 10.10 and C.8.20.2): what it is, where, who made it, in which colour to show it."""
    segment = item.segment
    description: Dataset = SegmentDescription(
        segment_number=item.number,
        segment_label=segment.label[: identity.LO_LENGTH],
        segmented_property_category=codes.concept(segment.category),
        segmented_property_type=codes.concept(segment.type),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm(report.model, report.findings.parameters),
        tracking_uid=identity.tracking_uid(report, segment),
        tracking_id=segment.label[: identity.LO_LENGTH],
        anatomic_regions=[codes.concept(segment.finding_site)] if segment.finding_site else None,
        display_color=CIELabColor.from_rgb(*segment.color_rgb),
    )
    if segment.laterality:
        laterality = [codes.concept(segment.laterality)]
        if segment.finding_site:
            description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = laterality
        else:
            kind = description.SegmentedPropertyTypeCodeSequence[0]
            kind.SegmentedPropertyTypeModifierCodeSequence = laterality
    return description


def algorithm(model: ModelIdentity, parameters: dict[str, str]) -> AlgorithmIdentificationSequence:
    """Algorithm Identification (PS3.3 10.16), with the values that stand in Contributing Equipment too."""
    return AlgorithmIdentificationSequence(
        name=model.title,
        version=model.version,
        source=model.manufacturer,
        family=codes.concept(codes.ARTIFICIAL_INTELLIGENCE),
        parameters=parameters or None,
    )


def referenced_series(report: Report, volume: Volume) -> Dataset:
    """Common Instance Reference (PS3.3 C.12.2): viewers find the images to draw on by it."""
    series = Dataset()
    series.SeriesInstanceUID = volume.series_instance_uid
    series.ReferencedInstanceSequence = [source.item() for source in instances_used(report)]
    return series


def add_dimensions(dataset: Dataset, organization_uid: str) -> None:
    """Frames are indexed by segment, then by position (PS3.3 C.7.6.17)."""
    organization = Dataset()
    organization.DimensionOrganizationUID = organization_uid
    dataset.DimensionOrganizationSequence = [organization]
    pointers = (
        ("ReferencedSegmentNumber", "SegmentIdentificationSequence"),
        ("ImagePositionPatient", "PlanePositionSequence"),
    )
    items = []
    for attribute, group in pointers:
        item = Dataset()
        item.DimensionOrganizationUID = organization_uid
        item.DimensionIndexPointer = Tag(attribute)
        item.FunctionalGroupPointer = Tag(group)
        item.DimensionDescriptionLabel = attribute
        items.append(item)
    dataset.DimensionIndexSequence = items


def shared_groups(planes: Sequence[Plane], slice_mm: float) -> Dataset:
    """What holds for every frame: pixel measures and orientation (PS3.3 C.7.6.16.2.1 and .2.4).

    slice_mm: the distance of neighbours where there is only one plane.
    """
    plane, measures, orientation, groups = planes[0], Dataset(), Dataset(), Dataset()
    normal = np.cross(plane.orientation[:3], plane.orientation[3:])
    places_mm = np.array([normal @ plane.position for plane in planes])
    distances_mm = np.abs(np.diff(places_mm)) if len(planes) > 1 else np.array([slice_mm])
    between_mm = float(np.median(distances_mm))
    measures.PixelSpacing = decimals(plane.pixel_spacing_mm)
    measures.SliceThickness = decimals([between_mm])[0]
    if np.abs(distances_mm - between_mm).max() <= 2 * tolerance(between_mm):
        measures.SpacingBetweenSlices = measures.SliceThickness
    orientation.ImageOrientationPatient = decimals(plane.orientation)
    groups.PixelMeasuresSequence = [measures]
    groups.PlaneOrientationSequence = [orientation]
    return groups


def frame_groups(frame: MaskFrame, rank: int, plane: Plane) -> Dataset:
    """What holds for one frame: its segment, its place, and the source frame that it was made from."""
    content, position, segment = Dataset(), Dataset(), Dataset()
    content.DimensionIndexValues = [frame.segment + 1, rank]
    position.ImagePositionPatient = decimals(plane.position)
    segment.ReferencedSegmentNumber = frame.segment + 1
    source = plane.reference.item()
    source.PurposeOfReferenceCodeSequence = [codes.concept(codes.SOURCE_OF_PROCESSING)]
    source.SpatialLocationsPreserved = "YES"
    derivation = Dataset()
    derivation.SourceImageSequence = [source]
    derivation.DerivationCodeSequence = [codes.concept(codes.SEGMENTATION)]
    groups = Dataset()
    groups.DerivationImageSequence = [derivation]
    groups.FrameContentSequence = [content]
    groups.PlanePositionSequence = [position]
    groups.SegmentIdentificationSequence = [segment]
    return groups


def overlap(described: Sequence[Numbered]) -> bool:
    """True where two segments share a voxel."""
    for plane in range(len(described[0].pixels)):
        here = [item for item in described if item.pixels[plane]]
        together = np.zeros(described[0].on(plane).shape, np.bool_)
        for item in here:
            together |= item.on(plane)
        if np.count_nonzero(together) < sum(item.pixels[plane] for item in here):
            return True
    return False


def pack(frames: Iterable[NDArray[np.bool_]]) -> bytes:
    """Frames to bits, the first pixel in the lowest bit (PS3.5 annex D), padded to an even length."""
    packed = b"".join(_packed_groups(frames))
    return packed + b"\0" * (len(packed) % 2)


def _packed_groups(frames: Iterable[NDArray[np.bool_]]) -> Iterator[bytes]:
    waiting: list[NDArray[np.bool_]] = []
    for frame in frames:
        waiting.append(frame.ravel())
        if len(waiting) == FRAMES_PACKED_TOGETHER:
            yield np.packbits(np.concatenate(waiting), bitorder="little").tobytes()
            waiting.clear()
    if waiting:
        yield np.packbits(np.concatenate(waiting), bitorder="little").tobytes()


def decimals(values: Iterable[float]) -> list[DSfloat]:
    """Decimal strings of at most 16 characters."""
    return [DSfloat(value, auto_format=True) for value in values]


RESULT = ResultType("seg", applies, encode_seg, check)
