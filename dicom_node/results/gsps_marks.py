"""What is drawn on which image, and in which layer: outlines of segments, places of detections and landmarks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dicom_node.results.borders import Line, borders, smoothed, thinned
from dicom_node.results.places import Shape, first_pixels, shapes
from dicom_node.results.scene import Scene
from dicom_node.results.segments import Numbered
from inference.findings import Detection, Point

SMALLEST_PART = 0.02
"""Of the largest part of the segment on that image: smaller ones are not outlined."""

COARSER = ((0.25, 24), (0.5, 8), (1.0, 3), (2.0, 1))
"""What is tried in turn: tolerance in pixels, and how many lines of one segment an image may have."""

MOST_POINTS = 300_000
"""In all images together: about 3 MB."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A Graphic Layer: what is in it, its colour, and the kind of finding."""

    description: str
    color_rgb: tuple[int, int, int]
    kind: Literal["notice", "segment", "detection", "landmark"]


NOTICE = Layer("AI result: notice", (255, 176, 59), "notice")
LANDMARKS = Layer("Landmarks", (240, 228, 66), "landmark")


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """A finding on one acquired plane: its lines, or one point; its label stands at the first point of the first."""

    plane: int
    layer: Layer
    lines: tuple[Line, ...]
    label: str


def has_marks(scene: Scene) -> bool:
    return any(item.number for item in scene.segments) or next(placed(scene), None) is not None


def marks(scene: Scene) -> list[Mark]:
    """All marks, by plane. Where they have more points than is sensible, outlines are drawn more coarsely."""
    found = [*placed(scene)]
    outlines = [(item, plane, *outlined(item, plane)) for item, plane in touched(scene)]
    for tolerance, most in COARSER:
        outlines = [
            (item, plane, [thinned(line, tolerance) for line in lines[:most]], left_out or len(lines) > most)
            for item, plane, lines, left_out in outlines
        ]
        if sum(len(line) for _, _, lines, _ in outlines for line in lines) <= MOST_POINTS:
            break
    found += [
        Mark(plane, segment_layer(item), tuple(lines), f"{item.segment.label}{' (largest parts)' * left_out}")
        for item, plane, lines, left_out in outlines
    ]
    return sorted(found, key=lambda mark: mark.plane)


def touched(scene: Scene) -> Iterator[tuple[Numbered, int]]:
    """Each segment that holds voxels, with each plane that it touches."""
    for item in scene.segments:
        for plane in np.flatnonzero(item.pixels).tolist():
            yield item, plane


def outlined(item: Numbered, plane: int) -> tuple[list[Line], bool]:
    """The borders of a segment in a plane, the largest first, and whether small parts or holes were left out."""
    lines, count = borders(item.on(plane), SMALLEST_PART, COARSER[0][1])
    return [smoothed(line) for line in lines], len(lines) < count


def placed(scene: Scene) -> Iterator[Mark]:
    """The marks of detections and landmarks; of points beside the images there are none."""
    findings, volume = scene.report.findings, scene.volume
    first = first_pixels(volume)
    for detection in findings.detections:
        score = "" if detection.score is None else f" {detection.score:.2f}"
        for shape in shapes(detection.place, volume, first):
            if not is_beside(scene, shape):
                yield Mark(shape.plane, detection_layer(detection), (shape.points,), f"{detection.label}{score}")
    for landmark in findings.landmarks:
        for shape in shapes(landmark.at, volume, first):
            if not is_beside(scene, shape):
                yield Mark(shape.plane, LANDMARKS, (shape.points,), landmark.label)


def is_beside(scene: Scene, shape: Shape) -> bool:
    """Whether any of it lies beyond its image. Lines never do, since they end at the border; a point may."""
    image = scene.planes[shape.plane]
    return bool((shape.points < 0).any() or (shape.points > (image.columns, image.rows)).any())


def beside(scene: Scene) -> list[str]:
    """The labels of what is not drawn, since it lies beside the images."""
    findings, first = scene.report.findings, first_pixels(scene.volume)
    found = [(one.label, one.place) for one in findings.detections if isinstance(one.place, Point)]
    found += [(one.label, one.at) for one in findings.landmarks]
    return [label for label, at in found if any(is_beside(scene, one) for one in shapes(at, scene.volume, first))]


def segment_layer(item: Numbered) -> Layer:
    return Layer(item.segment.label, item.segment.color_rgb, "segment")


def detection_layer(detection: Detection) -> Layer:
    """One for all of a type that share a colour: a thousand detections are no thousand layers."""
    return Layer(detection.type.meaning, detection.color_rgb, "detection")


def named_layers(scene: Scene) -> dict[Layer, str]:
    """Each layer once, that of the notice first, then in the order of the findings, with its name as a code string."""
    findings = scene.report.findings
    found = [NOTICE, *(segment_layer(item) for item in scene.segments if item.number)]
    found += [detection_layer(detection) for detection in findings.detections]
    found += [LANDMARKS] if findings.landmarks else []
    return {layer: f"AI_{number}" for number, layer in enumerate(dict.fromkeys(found))}
