"""Measurement groups: one for each segment, TID 1411 of PS3.16.

A segment that holds voxels is named by reference to the Segmentation; beside it stands its outline on the slice where it
is largest. TID 1411 is extensible, and the outline is such an extension (111041, DCM, "Outline"): viewers that show
measurements where coordinates are need it, and "Image Region" would be the wrong name, for the template allows that one
only in place of the segment. A segment without voxels is measured on what was searched: the whole of the first
and the last image, as image regions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from highdicom import sr as hd
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.results import codes, identity
from dicom_node.results.contour import outline
from dicom_node.results.report import Report
from dicom_node.results.scene import Segmentation
from dicom_node.results.segments import Numbered, key_plane
from dicom_node.results.sources import Plane
from inference.findings import Code, Findings, Measurement, Segment

SIGNIFICANT_DIGITS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """What a group may point at: the plane of each slice, and the Segmentation where there is one."""

    planes: Sequence[Plane]
    series_instance_uid: str
    segmentation: Segmentation | None


def measurement_groups(report: Report, images: Images, segments: Sequence[Numbered]) -> list[Dataset]:
    """One group for each segment, in the model's order."""
    shown = key_plane(segments, len(images.planes))
    return [group(report, images, item, shown) for item in segments]


def group(report: Report, images: Images, item: Numbered, shown: int) -> Dataset:
    """TID 1411 for one segment. shown: the slice on which an empty one is to be displayed."""
    segment = item.segment
    reference, regions = None, None
    if not item.number:
        regions = searched(images.planes, shown)
    elif images.segmentation is None:
        regions = outlines(images.planes, item)
    else:
        reference = hd.ReferencedSegment(
            sop_class_uid=images.segmentation.reference.sop_class_uid,
            sop_instance_uid=images.segmentation.reference.sop_instance_uid,
            segment_number=item.number,
            source_series=hd.SourceSeriesForSegmentation(images.series_instance_uid),
        )
    laterality = codes.concept(segment.laterality) if segment.laterality else None
    sites = [hd.FindingSite(codes.concept(segment.finding_site), laterality)] if segment.finding_site else None
    container = hd.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.TrackingIdentifier(identity.tracking_uid(report, segment), segment.label),
        referenced_segment=reference,
        referenced_regions=regions,
        finding_category=codes.concept(segment.category),
        finding_type=codes.concept(segment.type),
        finding_sites=sites,
        measurements=[number(m) for m in measured(report.findings, segment)],
    )[0]
    if reference is not None:
        best = item.key_plane
        container.ContentSequence.append(scoord(images.planes[best], outline(item.on(best)), codes.OUTLINE))
    return container


def measured(findings: Findings, segment: Segment) -> list[Measurement]:
    """The measurements of the segment that have a value. The density of nothing is no number, and is not reported:
    DICOM could say "not a number" (CID 42), but viewers do not expect a measurement without value."""
    return [m for m in findings.measurements if m.finding_key == segment.key and math.isfinite(m.value)]


def number(measurement: Measurement) -> hd.Measurement:
    """NUM of TID 1419 with unit, derivation and method."""
    return hd.Measurement(
        name=codes.concept(measurement.name),
        value=float(f"{measurement.value:.{SIGNIFICANT_DIGITS}g}"),
        unit=codes.concept(measurement.unit),
        derivation=codes.concept(measurement.derivation) if measurement.derivation else None,
        method=codes.concept(measurement.method) if measurement.method else None,
    )


def searched(planes: Sequence[Plane], shown: int) -> list[hd.ImageRegion]:
    """The borders of the image to show, the first and the last: the volume in which nothing was found."""
    slices = dict.fromkeys([shown, 0, len(planes) - 1])
    return [region(planes[index], border(planes[index])) for index in slices]


def outlines(planes: Sequence[Plane], item: Numbered) -> list[hd.ImageRegion]:
    """The outline of the segment's largest part on every slice, the key slice first, as viewers show the first."""
    slices = dict.fromkeys([item.key_plane, *np.flatnonzero(item.pixels).tolist()])
    return [region(planes[index], outline(item.on(index))) for index in slices]


def border(plane: Plane) -> NDArray[np.float64]:
    """Column and row of the image's corners and of the middles between them.

    Eight points, not four: a viewer that takes four for its own rectangle tool would offer to edit it.
    """
    across, down = plane.columns / 2, plane.rows / 2
    path = [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (1, 2), (0, 2), (0, 1), (0, 0)]
    return np.asarray(path, np.float64) * (across, down)


def region(plane: Plane, points: NDArray[np.float64]) -> hd.ImageRegion:
    """Image Region of TID 1411."""
    source = plane.reference
    image = hd.SourceImageForRegion(source.sop_class_uid, source.sop_instance_uid, frames(plane))
    return hd.ImageRegion(hd.GraphicTypeValues.POLYLINE, points, image)


def scoord(plane: Plane, points: NDArray[np.float64], name: Code) -> hd.ScoordContentItem:
    """A closed polyline on a source image, in its pixel coordinates."""
    item = hd.ScoordContentItem(
        name=codes.concept(name),
        graphic_type=hd.GraphicTypeValues.POLYLINE,
        graphic_data=points,
        relationship_type=hd.RelationshipTypeValues.CONTAINS,
    )
    image = hd.ImageContentItem(
        name=codes.concept(codes.SOURCE),
        referenced_sop_class_uid=plane.reference.sop_class_uid,
        referenced_sop_instance_uid=plane.reference.sop_instance_uid,
        referenced_frame_numbers=frames(plane),
        relationship_type=hd.RelationshipTypeValues.SELECTED_FROM,
    )
    item.ContentSequence = hd.ContentSequence([image])
    return item


def frames(plane: Plane) -> list[int] | None:
    """Referenced Frame Number, of a multi-frame instance only."""
    return None if plane.reference.frame_number is None else [plane.reference.frame_number]
