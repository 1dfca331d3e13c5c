"""What a Segmentation says of itself, whatever its type: PS3.3 A.51 without frames and pixels.

Codes, colours and algorithm are highdicom's classes, which check what they are given. Source pixels are never read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from highdicom.color import CIELabColor
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.valuerep import DSfloat

from dicom_node.results import codes, context, identity
from dicom_node.results.explicit_vr import element, item, text
from dicom_node.results.frame_items import reference
from dicom_node.results.report import Report
from dicom_node.results.scene import Scene
from dicom_node.results.segments import Numbered
from dicom_node.results.sources import Plane, instances_used
from inference.findings import ModelIdentity
from inference.geometry import tolerance
from inference.volume import Volume

REFERENCED_SERIES, REFERENCED_INSTANCE, SERIES_INSTANCE = 0x00081115, 0x0008114A, 0x0020000E
BY_SEGMENT = ("ReferencedSegmentNumber", "SegmentIdentificationSequence")
BY_POSITION = ("ImagePositionPatient", "PlanePositionSequence")
BY_TILE = (
    ("RowPositionInTotalImagePixelMatrix", "PlanePositionSlideSequence"),
    ("ColumnPositionInTotalImagePixelMatrix", "PlanePositionSlideSequence"),
)
BY_LABEL = ("FrameLabel", "FrameContentSequence")

ON_SLIDE = (
    *("TotalPixelMatrixColumns", "TotalPixelMatrixRows", "TotalPixelMatrixOriginSequence", "ImageOrientationSlide"),
    *("ContainerIdentifier", "IssuerOfTheContainerIdentifierSequence", "ContainerTypeCodeSequence"),
    "SpecimenDescriptionSequence",
)


@dataclass(frozen=True, slots=True)
class Coding:
    """How a type of Segmentation holds its segments: its name, the bits of a pixel, and what indexes its frames."""

    sop_class_uid: str
    name: str
    bits: int
    dimensions: tuple[tuple[str, str], ...]


def head(scene: Scene, ordered: str, coding: Coding) -> Dataset:
    """All modules but Common Instance Reference, Per-Frame Functional Groups and Pixel Data, which are spliced in.

    Segments that hold a voxel are described.
    """
    report, volume, planes = scene.report, scene.volume, scene.planes
    dataset = context.new_object(report, ordered, coding.sop_class_uid, "SEG")
    if planes[0].has_place:
        series = report.first_source.SeriesInstanceUID
        dataset.FrameOfReferenceUID = volume.frame_of_reference_uid or identity.derived_uid(
            "frame of reference", series
        )
        dataset.PositionReferenceIndicator = ""
    elif planes[0].tile is not None:
        add_slide(dataset, volume)
    else:
        toward = {plane.toward for plane in planes}
        dataset.PatientOrientation = (list(toward.pop()) if len(toward) == 1 else []) or ""
    if scene.part:
        dataset.SOPInstanceUID = identity.derived_uid("part", dataset.SOPInstanceUID, scene.part)
        dataset.InstanceNumber = int(scene.part)
    add_image(dataset, report, planes[0], coding)
    by = algorithm(report.model, report.findings.parameters)
    dataset.SegmentSequence = [describe(report, item, by) for item in scene.segments if item.number]
    add_dimensions(dataset, identity.dimension_organization_uid(report, ordered), indexed_by(coding, planes))
    dataset.SharedFunctionalGroupsSequence = [shared_groups(planes, volume.spacing_mm[0], volume.header)]
    return dataset


def indexed_by(coding: Coding, planes: Sequence[Plane]) -> tuple[tuple[str, str], ...]:
    """What frames are indexed by: of images without a place, their label stands for it."""
    if planes[0].has_place:
        return coding.dimensions
    if planes[0].tile is not None:
        others = [dimension for dimension in coding.dimensions if dimension != BY_POSITION]
        return (*others, *BY_TILE)
    return tuple(BY_LABEL if dimension == BY_POSITION else dimension for dimension in coding.dimensions)


def add_slide(dataset: Dataset, volume: Volume) -> None:
    """Frame of Reference, and the total pixel matrix of the slide, of which only tiles that hold anything are frames
    (TILED_SPARSE, PS3.3 C.7.6.17.3 and C.8.12.4.1)."""
    slide = volume.header
    dataset.FrameOfReferenceUID = volume.frame_of_reference_uid
    dataset.PositionReferenceIndicator = slide.get("PositionReferenceIndicator") or "SLIDE_CORNER"
    dataset.DimensionOrganizationType = "TILED_SPARSE"
    for keyword in ON_SLIDE:
        if keyword in slide:
            setattr(dataset, keyword, deepcopy(slide[keyword].value))


def add_image(dataset: Dataset, report: Report, plane: Plane, coding: Coding) -> None:
    """Image Pixel, Segmentation Image and content identification (PS3.3 C.8.20.2, 10.9)."""
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelRepresentation = 0
    dataset.BitsAllocated = dataset.BitsStored = coding.bits
    dataset.HighBit = coding.bits - 1
    dataset.Rows, dataset.Columns = plane.rows, plane.columns
    dataset.BurnedInAnnotation = "NO"
    dataset.SegmentationType = coding.name
    dataset.ContentLabel = "AI_SEGMENTATION"
    dataset.ContentDescription = identity.series_description(report)
    dataset.ContentCreatorName = ""
    source = report.first_source
    dataset.LossyImageCompression = "01" if source.get("LossyImageCompression") == "01" else "00"
    if dataset.LossyImageCompression == "01":
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if keyword in source:
                setattr(dataset, keyword, source[keyword].value)


def describe(report: Report, item: Numbered, by: AlgorithmIdentificationSequence) -> Dataset:
    """Segment Description (PS3.3 10.10 and C.8.20.2): what it is, where, who made it, in which colour to show it."""
    segment = item.segment
    description: Dataset = SegmentDescription(
        segment_number=item.number,
        segment_label=identity.fitted(segment.label),
        segmented_property_category=codes.concept(segment.category),
        segmented_property_type=codes.concept(segment.type),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=by,
        tracking_uid=identity.tracking_uid(report, segment),
        tracking_id=identity.fitted(segment.label),
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


def references(scene: Scene) -> dict[int, bytes]:
    """Common Instance Reference (PS3.3 C.12.2), by which viewers find the images to draw on: the sequence's items, by tag."""
    series = element(SERIES_INSTANCE, b"UI", text(scene.volume.series_instance_uid, b"\0"))
    instances = b"".join(item(reference(source)) for source in instances_used(scene.report))
    return {REFERENCED_SERIES: item(element(REFERENCED_INSTANCE, b"SQ", instances) + series)}


def add_dimensions(dataset: Dataset, organization_uid: str, pointers: Sequence[tuple[str, str]]) -> None:
    """What frames are indexed by, as attributes and the functional groups that hold them (PS3.3 C.7.6.17)."""
    organization = Dataset()
    organization.DimensionOrganizationUID = organization_uid
    dataset.DimensionOrganizationSequence = [organization]
    items = []
    for attribute, group in pointers:
        item = Dataset()
        item.DimensionOrganizationUID = organization_uid
        item.DimensionIndexPointer = Tag(attribute)
        item.FunctionalGroupPointer = Tag(group)
        item.DimensionDescriptionLabel = attribute
        items.append(item)
    dataset.DimensionIndexSequence = items


def shared_groups(planes: Sequence[Plane], slice_mm: float, slide: Dataset | None = None) -> Dataset:
    """What holds for every frame: pixel measures and orientation (PS3.3 C.7.6.16.2.1 and .2.4).

    slice_mm: the distance of neighbours where there is only one plane. slide: the header of the slide that planes are tiles of.
    """
    plane, measures, orientation, groups = planes[0], Dataset(), Dataset(), Dataset()
    if plane.tile is not None and slide is not None:
        of_source = slide.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.PixelSpacing = decimals(plane.pixel_spacing_mm or ())
        measures.SliceThickness = decimals([float(of_source.get("SliceThickness") or slice_mm)])[0]
        groups.PixelMeasuresSequence = [measures]
        return groups
    if not plane.has_place:
        # The source frame says all of it, and Pixel Measures are taken for those of slices, which have a thickness.
        return groups
    normal = np.cross(plane.orientation[:3], plane.orientation[3:])
    places_mm = np.array([normal @ plane.position for plane in planes])
    distances_mm = np.abs(np.diff(places_mm)) if len(planes) > 1 else np.array([slice_mm])
    between_mm = float(np.median(distances_mm))
    measures.PixelSpacing = decimals(plane.pixel_spacing_mm or ())
    measures.SliceThickness = decimals([between_mm])[0]
    if np.abs(distances_mm - between_mm).max() <= 2 * tolerance(between_mm):
        measures.SpacingBetweenSlices = measures.SliceThickness
    orientation.ImageOrientationPatient = decimals(plane.orientation)
    groups.PixelMeasuresSequence = [measures]
    groups.PlaneOrientationSequence = [orientation]
    return groups


def decimals(values: Iterable[float]) -> list[DSfloat]:
    """Decimal strings of at most 16 characters."""
    return [DSfloat(value, auto_format=True) for value in values]
