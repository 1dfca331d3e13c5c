"""Measurement groups of images that are taken one by one: each names the image, or the frame, that it is about.

A segment is a planar region (TID 1410) of each picture on which it was found, with what was measured there. What is said of
a picture as a whole stands in a group (TID 1501) with the border of that picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from dicom_node.results import codes, identity, sr_groups, sr_tree
from dicom_node.results.contour import outline
from dicom_node.results.picture_names import is_tiled, name_of
from dicom_node.results.report import Report
from dicom_node.results.scene import Scene, Segmentation
from dicom_node.results.segments import Numbered
from dicom_node.results.sr_groups import ANY, PLANAR, Images
from dicom_node.results.sr_tree import Item
from inference.findings import Classification, Measurement, Segment
from inference.sides import SIDES

MOST_BORDERS = 3
"""Of the pictures that a word is about: the first, the middle one and the last."""

Pictures = tuple[int, ...]
Numbers = Mapping[tuple[str | None, Pictures], list[Item]]


def groups_of(scene: Scene, segmentation: Segmentation | None) -> list[Item]:
    """The measurement groups of a report: of a volume, or of pictures."""
    if scene.volume.pictures:
        return picture_groups(scene, sr_groups.images_of(scene, segmentation))
    return sr_groups.measurement_groups(scene, segmentation)


def picture_groups(scene: Scene, images: Images) -> list[Item]:
    """A group for each segment on each picture, and each classification, detection and landmark; numbers of pictures last."""
    report, findings = scene.report, scene.report.findings
    numbers = _by_place(findings.measurements)
    groups = []
    for item in scene.segments:
        groups += _of_segment(report, images, item, numbers)
    for answer in findings.classifications:
        said = numbers.get((answer.key, answer.pictures), [])
        groups.append(_of_classification(report, images, answer, said))
    groups += [sr_groups.of_detection(report, images, one, _all_of(numbers, one.key)) for one in findings.detections]
    groups += [sr_groups.of_landmark(report, images, one, _all_of(numbers, one.key)) for one in findings.landmarks]
    groups += [_of_pictures(report, images, pictures, said) for (key, pictures), said in numbers.items() if key is None]
    return groups


def _of_segment(report: Report, images: Images, item: Numbered, numbers: Numbers) -> list[Item]:
    """One group for each picture that has a pixel of it; one that says where it was looked for, where none has."""
    planes = np.flatnonzero(item.pixels).tolist()
    segment = item.segment
    if not planes:
        place = sr_groups.scoord(images.planes[images.shown], sr_groups.border(images.planes[images.shown]))
        return [_region(report, segment, None, _all_of(numbers, segment.key), place)]
    if is_tiled(images.volume):
        best = item.key_plane
        place = sr_groups.scoord(images.planes[best], outline(item.on(best)))
        return [_region(report, segment, None, numbers.get((segment.key, ()), []), place)]
    groups = []
    for plane in planes:
        picture = images.volume.pictures[plane]
        sided = segment if segment.laterality else replace(segment, laterality=SIDES.get(picture.laterality))
        place = sr_groups.scoord(images.planes[plane], outline(item.on(plane)))
        told = numbers.get((segment.key, (plane,)), [])
        groups.append(_region(report, sided, (images, plane) if len(planes) > 1 else None, told, place))
    return groups


def _region(
    report: Report, segment: Segment, among: tuple[Images, int] | None, numbers: Sequence[Item], place: Item
) -> Item:
    """TID 1410. among: the picture, where the segment is found on several."""
    uid, label = identity.tracking_uid(report, segment), segment.label
    if among:
        images, plane = among
        uid = _uid_on(uid, images, (plane,))
        label = f"{label}, {name_of(images.volume, plane)}"
    named = [sr_tree.code(codes.FINDING_CATEGORY, segment.category), sr_groups.named_finding(segment.type, segment)]
    tracked = sr_groups.tracking(uid, label)
    return sr_groups.group(PLANAR, [*tracked, *named, *sr_groups.sites(segment), *numbers, place])


def _of_classification(report: Report, images: Images, item: Classification, numbers: Sequence[Item]) -> Item:
    return sr_groups.of_classification(report, images, item, numbers, _borders(images, item.pictures))


def _of_pictures(report: Report, images: Images, pictures: Pictures, numbers: Sequence[Item]) -> Item:
    """TID 1501: what was measured on a picture, or on all that was analysed."""
    uid, label = identity.tracking_uid(report, None), "All images analysed"
    if pictures:
        uid, label = _uid_on(uid, images, pictures), name_of(images.volume, *pictures)
    return sr_groups.group(ANY, [*sr_groups.tracking(uid, label), *numbers, *_borders(images, pictures)])


def _borders(images: Images, pictures: Pictures) -> list[Item]:
    """The whole of the pictures; of many, some."""
    about = pictures or tuple(range(len(images.planes)))
    some = dict.fromkeys([about[len(about) // 2], about[0], about[-1]] if len(about) > MOST_BORDERS else about)
    return [sr_groups.scoord(images.planes[index], sr_groups.border(images.planes[index])) for index in some]


def _uid_on(uid: str, images: Images, pictures: Pictures) -> str:
    """By the images themselves, whatever their place among others."""
    sources = [images.planes[index].reference for index in pictures]
    return identity.derived_uid(uid, *(f"{one.sop_instance_uid} {one.frame_number or 1}" for one in sources))


def _by_place(measurements: Iterable[Measurement]) -> dict[tuple[str | None, Pictures], list[Item]]:
    found: dict[tuple[str | None, Pictures], list[Item]] = {}
    for measurement in measurements:
        if math.isfinite(measurement.value):
            found.setdefault((measurement.finding_key, measurement.pictures), []).append(sr_groups.number(measurement))
    return found


def _all_of(numbers: Numbers, key: str) -> list[Item]:
    return [item for (of, _), items in numbers.items() if of == key for item in items]
