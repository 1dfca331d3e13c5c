"""Heat maps to Parametric Maps (PS3.3 A.75): numbers in the planes of the source, one object for each map.

One object each, because readers take one quantity and one unit from an object. Values are 32-bit floats, just as the model
gave them, since those readers that there are (3D Slicer, dcmqi, OHIF, highdicom) read floats; a voxel without value is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from highdicom.pm import RealWorldValueMapping
from pydicom.dataset import Dataset
from pydicom.uid import ParametricMapStorage

from dicom_node.results import codes, context, identity
from dicom_node.results.check_map import check_map
from dicom_node.results.dicom_file import Frames
from dicom_node.results.frame_items import MaskFrame, frame_items
from dicom_node.results.result_type import ResultType
from dicom_node.results.scene import Scene
from dicom_node.results.seg_head import BY_POSITION, add_dimensions, decimals, references, shared_groups
from dicom_node.results.sources import ResultRefused
from dicom_node.results.splice import BITS_OF_FLOATS, in_pieces
from dicom_node.results.writing import Written
from inference.findings import Code, HeatMap
from inference.transforms import Cut, cuts

CALCULATION = Code("112187", "DCM", "Unspecified method of calculation")
IMAGE_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]
SH_LENGTH = 16
LATERALITY = {"24028007": "R", "7771000": "L", "51440002": "B"}
"""Of SCT, as Frame Laterality (PS3.3 C.7.6.16.2.8) has it; U for what has no sides."""


@dataclass(frozen=True, slots=True)
class Extent:
    """The planes from the first to the last that hold a value, the least and the largest value, and whether each has one."""

    planes: range
    least: float
    largest: float
    is_whole: bool


def parts(scene: Scene) -> Sequence[Scene]:
    """One for each map that has a value on an image. Of images without a place in the patient there is none: the maps are
    drawn on the summary."""
    if not scene.is_analysed or scene.volume.pictures:
        return ()
    return [replace(scene, part=heat_map.key) for heat_map in scene.report.findings.heat_maps if has_value(heat_map)]


def applies(scene: Scene) -> bool:
    return bool(parts(scene))


def has_value(heat_map: HeatMap) -> bool:
    return any(not np.isnan(values).all() for values in heat_map.values)


def encode_map(scene: Scene, ordered: str) -> Written:
    """The Parametric Map of the scene's part. Planes before the first and after the last value are left out."""
    report, volume, heat_map = scene.report, scene.volume, map_of(scene)
    if heat_map.values.shape != volume.voxels.shape or heat_map.values.dtype != np.float32:
        raise ResultRefused(
            f"heat map {heat_map.label!r} must be float32 {volume.voxels.shape} as the volume, but is"
            f" {heat_map.values.dtype} {heat_map.values.shape}"
        )
    planes = cuts(volume)
    extent = extent_of(heat_map, planes)
    dataset = context.new_object(report, ordered, ParametricMapStorage, report.first_source.get("Modality") or "OT")
    dataset.SOPInstanceUID = identity.of_part(dataset.SOPInstanceUID, heat_map.key)
    dataset.InstanceNumber = report.findings.heat_maps.index(heat_map) + 1
    series = report.first_source.SeriesInstanceUID
    dataset.FrameOfReferenceUID = volume.frame_of_reference_uid or identity.derived_uid("frame of reference", series)
    dataset.PositionReferenceIndicator = ""
    add_image(dataset, scene, heat_map, extent)
    dataset.AcquisitionContextSequence = []
    add_dimensions(dataset, identity.dimension_organization_uid(report, ordered), (BY_POSITION,))
    dataset.SharedFunctionalGroupsSequence = [groups_of(scene, heat_map, extent)]
    frames = frame_items([MaskFrame(plane) for plane in extent.planes], scene.planes, CALCULATION)
    values = values_of(heat_map, planes[extent.planes.start : extent.planes.stop], 4 * dataset.Rows * dataset.Columns)
    return in_pieces(dataset, references(scene), frames, values)


def map_of(scene: Scene) -> HeatMap:
    return next(one for one in scene.report.findings.heat_maps if one.key == scene.part)


def extent_of(heat_map: HeatMap, planes: Sequence[Cut]) -> Extent:
    """Raises ResultRefused for a map with infinite values, or with none on the planes that were acquired."""
    used, least, largest, missing = [], np.inf, -np.inf, 0
    for index, cut in enumerate(planes):
        values = cut(heat_map.values, np.nan)
        low, high = float(np.fmin.reduce(values, axis=None)), float(np.fmax.reduce(values, axis=None))
        if not np.isnan(low):
            used.append(index)
            least, largest = min(least, low), max(largest, high)
            missing += bool(np.isnan(values.sum()))
    if not used or not np.isfinite([least, largest]).all():
        raise ResultRefused(f"heat map {heat_map.label!r} must have finite values, but has {least} to {largest}")
    between = range(used[0], used[-1] + 1)
    return Extent(between, least, largest, not missing and len(used) == len(between))


def add_image(dataset: Dataset, scene: Scene, heat_map: HeatMap, extent: Extent) -> None:
    """Floating Point Image Pixel and Parametric Map Image (PS3.3 C.7.6.24 and C.8.32.2)."""
    plane, source = scene.planes[0], scene.report.first_source
    dataset.ImageType = IMAGE_TYPE
    if not heat_map.finding_site:
        dataset.Laterality = ""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.Rows, dataset.Columns = plane.rows, plane.columns
    dataset.NumberOfFrames = len(extent.planes)
    dataset.BitsAllocated = BITS_OF_FLOATS
    if not extent.is_whole:
        dataset.FloatPixelPaddingValue = dataset.FloatPixelPaddingRangeLimit = math.nan
    dataset.BurnedInAnnotation = dataset.RecognizableVisualFeatures = "NO"
    dataset.ContentQualification = scene.report.model.card.qualification.upper()
    dataset.ContentLabel = "AI_MAP"
    dataset.ContentDescription = identity.fitted(f"AI: {heat_map.label}")
    dataset.ContentCreatorName = ""
    dataset.LossyImageCompression = "01" if source.get("LossyImageCompression") == "01" else "00"
    if dataset.LossyImageCompression == "01":
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if keyword in source:
                setattr(dataset, keyword, source[keyword].value)


def groups_of(scene: Scene, heat_map: HeatMap, extent: Extent) -> Dataset:
    """What holds for every frame: pixel measures and orientation, what the numbers are, how to show them, and of what
    part of the body they are."""
    groups = shared_groups(scene.planes, scene.volume.spacing_mm[0])
    kind, identical, window = Dataset(), Dataset(), Dataset()
    kind.FrameType = IMAGE_TYPE
    groups.ParametricMapFrameTypeSequence = [kind]
    identical.RescaleIntercept, identical.RescaleSlope, identical.RescaleType = 0, 1, "US"
    groups.PixelValueTransformationSequence = [identical]
    low, high = heat_map.shown
    window.WindowCenter, window.WindowWidth = decimals(((low + high) / 2, high - low))
    window.VOILUTFunction = "LINEAR_EXACT"
    groups.FrameVOILUTSequence = [window]
    groups.RealWorldValueMappingSequence = [
        RealWorldValueMapping(
            lut_label=identity.fitted(heat_map.label, SH_LENGTH),
            lut_explanation=identity.fitted(heat_map.label),
            unit=codes.concept(heat_map.unit),
            value_range=(extent.least, extent.largest),
            slope=1.0,
            intercept=0.0,
            quantity_definition=codes.concept(heat_map.quantity),
        )
    ]
    if heat_map.finding_site:
        anatomy = Dataset()
        anatomy.AnatomicRegionSequence = [codes.concept(heat_map.finding_site)]
        side = heat_map.laterality.value if heat_map.laterality else ""
        anatomy.FrameLaterality = LATERALITY.get(side, "U")
        groups.FrameAnatomySequence = [anatomy]
    return groups


def values_of(heat_map: HeatMap, planes: Sequence[Cut], size_bytes: int) -> Frames:
    """The values of each plane, little endian: where they lie in the map, unless the planes are cut otherwise."""

    def values_on(index: int) -> memoryview:
        return np.ascontiguousarray(planes[index](heat_map.values, np.nan), "<f4").reshape(-1).view(np.uint8).data

    return Frames(len(planes), size_bytes, values_on)


def check(scene: Scene, _ordered: str, written: Written) -> list[str]:
    return check_map(written.file, map_of(scene), scene)


RESULT = ResultType("parametric_map", applies, encode_map, check, parts)
