"""Measurement groups of TID 1500: one for each finding, whatever its kind, and one for what is said of the whole volume.

Viewers show measurements where coordinates are, and nothing of a report in which a tracked finding has none: so every group
has a place on an image. Why each kind has the place that it has: docs/results.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.results import codes, identity, sr_tree
from dicom_node.results.places import first_pixels, shapes
from dicom_node.results.report import Report
from dicom_node.results.scene import Scene, Segmentation
from dicom_node.results.segments import Numbered, key_plane
from dicom_node.results.sources import Plane
from dicom_node.results.sr_evaluations import state_of
from dicom_node.results.sr_tree import Coordinates, Item, SegmentReference
from inference.findings import Box, Classification, Code, Contour, Detection, Landmark, Measurement, Point, Segment
from inference.volume import Volume

SIGNIFICANT_DIGITS = 6
PLANAR, VOLUMETRIC, ANY = "1410", "1411", "1501"
MOST_POINTS = 8191
"""In one SCOORD: the length of Graphic Data has 16 bits, and a point 8 bytes."""

Placed = Segment | Classification | Detection | Landmark


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """What a group may point at: the acquired planes, and the Segmentation, if there is one.

    shown: the plane on which to display what has no place of its own.
    """

    planes: Sequence[Plane]
    volume: Volume
    first_pixels: NDArray[np.float64]
    series_instance_uid: str
    segmentation: Segmentation | None
    shown: int


def has_places(scene: Scene) -> bool:
    """Whether anything that was found, or looked for, has a place of its own on the images."""
    findings = scene.report.findings
    return bool(scene.segments or findings.detections or findings.landmarks)


def measurement_groups(scene: Scene, segmentation: Segmentation | None) -> list[Item]:
    """A group for each segment, classification, detection and landmark, in the model's order; that of the whole volume last."""
    report = scene.report
    findings, images = report.findings, images_of(scene, segmentation)
    numbers = _by_finding(findings.measurements)
    groups = []
    groups += [of_segment(report, images, item, numbers.get(item.segment.key, [])) for item in scene.segments]
    groups += [of_classification(report, images, item, numbers.get(item.key, [])) for item in findings.classifications]
    groups += [of_detection(report, images, item, numbers.get(item.key, [])) for item in findings.detections]
    groups += [of_landmark(report, images, item, numbers.get(item.key, [])) for item in findings.landmarks]
    if None in numbers:
        groups.append(of_volume(report, images, numbers[None]))
    return groups


def images_of(scene: Scene, segmentation: Segmentation | None) -> Images:
    planes = scene.planes
    shown = key_plane(scene.segments, len(planes))
    series = str(scene.report.first_source.SeriesInstanceUID)
    return Images(planes, scene.volume, first_pixels(scene.volume), series, segmentation, shown)


def of_volume(report: Report, images: Images, numbers: Sequence[Item]) -> Item:
    """TID 1501: what was measured in all that was analysed."""
    tracked = tracking(identity.tracking_uid(report, None), "All images analysed")
    return group(ANY, [*tracked, *numbers, *searched(images)])


def of_segment(report: Report, images: Images, item: Numbered, numbers: Sequence[Item]) -> Item:
    """TID 1411: by reference to the segment and its outline, or by outlines, or by what was searched in vain for it."""
    segment = item.segment
    if not item.number:
        places = searched(images)
    elif images.segmentation is None:
        places = outlines(images.planes, item)
    else:
        reference = SegmentReference(images.segmentation.reference, item.number)
        best = item.key_plane
        places = [
            sr_tree.image(codes.REFERENCED_SEGMENT, reference),
            sr_tree.uid(codes.SOURCE_SERIES, images.series_instance_uid, "CONTAINS"),
            scoord(images.planes[best], item.outline_on(best), codes.OUTLINE),
        ]
    named = [sr_tree.code(codes.FINDING_CATEGORY, segment.category), named_finding(segment.type, segment)]
    return group(VOLUMETRIC, [*_tracked(report, segment), *named, *sites(segment), *numbers, *places])


def of_classification(
    report: Report, images: Images, item: Classification, numbers: Sequence[Item], places: Sequence[Item] = ()
) -> Item:
    """TID 1501: question and answer. Only what is present is named as a finding, for a reader who looks no further.

    places: of what it is said, where that is not all that was searched.
    """
    named = [named_finding(item.finding, item)] if item.state == "present" else []
    probability = [] if item.probability is None else [_share(codes.PROBABILITY, item.probability)]
    threshold = [] if item.threshold is None else [_share(codes.THRESHOLD, item.threshold)]
    answer = sr_tree.code(item.finding, state_of(item), children=_side(item) if not item.finding_site else ())
    said = [*sites(item), *probability, *threshold, *numbers, answer]
    return group(ANY, [*_tracked(report, item), *named, *said, *(places or searched(images))])


def of_detection(report: Report, images: Images, item: Detection, numbers: Sequence[Item]) -> Item:
    """TID 1410 where it lies on one image, 1411 where on several; the score as a certainty in percent (as in TID 4006)."""
    places = regions(images, item.place)
    named = [sr_tree.code(codes.FINDING_CATEGORY, item.category), named_finding(item.type, item)]
    score = [] if item.score is None else [_share(codes.CERTAINTY, item.score)]
    content = [*_tracked(report, item), *named, *sites(item), *score, *numbers, *places]
    return group(PLANAR if len(places) == 1 else VOLUMETRIC, content)


def of_landmark(report: Report, images: Images, item: Landmark, numbers: Sequence[Item]) -> Item:
    """TID 1410 by a point; how sure the place is, as a radius."""
    radius = []
    if item.uncertainty_mm is not None:
        radius = [sr_tree.number(codes.PLACE_UNCERTAINTY, rounded(item.uncertainty_mm), codes.MILLIMETRE)]
    named = [sr_tree.code(codes.FINDING_CATEGORY, codes.ANATOMY), named_finding(item.type, item)]
    content = [*_tracked(report, item), *named, *sites(item), *radius, *numbers, *regions(images, item.at)]
    return group(PLANAR, content)


def group(template: str, children: Iterable[Item]) -> Item:
    return sr_tree.container(codes.MEASUREMENT_GROUP, children, template)


def _tracked(report: Report, finding: Placed) -> list[Item]:
    return tracking(identity.tracking_uid(report, finding), finding.label)


def tracking(uid: str, identifier: str) -> list[Item]:
    """TID 4108: by this a finding is known again in the next revision."""
    return [
        sr_tree.text(codes.TRACKING_IDENTIFIER, identifier, "HAS OBS CONTEXT"),
        sr_tree.uid(codes.TRACKING_UID, uid, "HAS OBS CONTEXT"),
    ]


def named_finding(type_: Code, finding: Placed) -> Item:
    """What was found; with its side, where no site is named that could have one."""
    return sr_tree.code(codes.FINDING, type_, children=_side(finding) if not finding.finding_site else ())


def sites(finding: Placed) -> list[Item]:
    """Where in the body, and on which side."""
    if finding.finding_site is None:
        return []
    return [sr_tree.code(codes.FINDING_SITE, finding.finding_site, "HAS CONCEPT MOD", _side(finding))]


def _side(finding: Placed) -> list[Item]:
    return [sr_tree.code(codes.LATERALITY, finding.laterality, "HAS CONCEPT MOD")] if finding.laterality else []


def _by_finding(measurements: Iterable[Measurement]) -> dict[str | None, list[Item]]:
    """The measurements that have a value. The density of nothing is no number, and is not reported: DICOM could say "not
    a number" (CID 42), but viewers do not expect a measurement without value."""
    found: dict[str | None, list[Item]] = {}
    for measurement in measurements:
        if math.isfinite(measurement.value):
            found.setdefault(measurement.finding_key, []).append(number(measurement))
    return found


def number(measurement: Measurement) -> Item:
    """NUM of TID 1419 with unit, method, derivation and uncertainty (CID 225, in the unit of the value)."""
    return sr_tree.number(
        measurement.name, rounded(measurement.value), measurement.unit, children=tuple(_properties(measurement))
    )


def _properties(measurement: Measurement) -> Iterator[Item]:
    if measurement.method:
        yield sr_tree.code(codes.MEASUREMENT_METHOD, measurement.method, "HAS CONCEPT MOD")
    if measurement.derivation:
        yield sr_tree.code(codes.DERIVATION, measurement.derivation, "HAS CONCEPT MOD")
    if measurement.uncertainty is not None and math.isfinite(measurement.uncertainty):
        half_width = rounded(measurement.uncertainty)
        yield sr_tree.number(codes.UNCERTAINTY, half_width, measurement.unit, "HAS PROPERTIES")


def _share(name: Code, value: float) -> Item:
    """From 0 to 1, in percent."""
    return sr_tree.number(name, rounded(100 * value), codes.PERCENT)


def rounded(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def searched(images: Images) -> list[Item]:
    """The borders of the image to show, the first and the last: all that was analysed."""
    slices = dict.fromkeys([images.shown, 0, len(images.planes) - 1])
    return [scoord(images.planes[index], border(images.planes[index])) for index in slices]


def outlines(planes: Sequence[Plane], item: Numbered) -> list[Item]:
    """The outline of the segment's largest parts on every slice, the key slice first, as viewers show the first."""
    slices = dict.fromkeys([item.key_plane, *np.flatnonzero(item.pixels).tolist()])
    return [scoord(planes[index], item.outline_on(index)) for index in slices]


def regions(images: Images, place: Point | Box | Contour) -> list[Item]:
    """The place on each plane that it reaches, the middle one first, as viewers show the first."""
    found = list(shapes(place, images.volume, images.first_pixels))
    found.insert(0, found.pop(len(found) // 2))
    return [
        scoord(images.planes[one.plane], _with_middles(one.points) if isinstance(place, Box) else one.points)
        for one in found
    ]


def _with_middles(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """A rectangle by its corners and the middles between them.

    Eight points, not four: a viewer that takes four for its own rectangle tool would offer to edit it.
    """
    middles = (corners[:-1] + corners[1:]) / 2
    return np.vstack([np.stack([corners[:-1], middles], axis=1).reshape(-1, 2), corners[-1:]])


def border(plane: Plane) -> NDArray[np.float64]:
    """Column and row around the whole image."""
    across, down = plane.columns, plane.rows
    corners = [(0, 0), (across, 0), (across, down), (0, down), (0, 0)]
    return _with_middles(np.asarray(corners, np.float64))


def scoord(plane: Plane, points: NDArray[np.float64], name: Code = codes.IMAGE_REGION) -> Item:
    """A point or a closed polyline on a source image, in its pixel coordinates.

    One that would leave the image is kept at its edge; one with too many points loses some.
    """
    points = np.clip(points, 0.0, (plane.columns, plane.rows))
    if len(points) > MOST_POINTS:
        kept = np.linspace(0, len(points) - 1, MOST_POINTS).round().astype(int)
        points = points[kept]
    coordinates = Coordinates("POINT" if len(points) == 1 else "POLYLINE", points)
    selected = sr_tree.image(codes.SOURCE, plane.reference, "SELECTED FROM")
    return Item("SCOORD", name, coordinates, "CONTAINS", (selected,))
