"""Is what a presentation state draws where it was found? Asked of the bytes: no validator looks at the mask."""

from __future__ import annotations

import math
from collections.abc import Iterator
from io import BytesIO

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.results.borders import Line, on_border
from dicom_node.results.gsps_marks import (
    LANDMARKS,
    Layer,
    detection_layer,
    is_beside,
    named_layers,
    segment_layer,
    touched,
)
from dicom_node.results.places import PIXEL_CENTRE, Float64Array, corners_of, first_pixels, shapes
from dicom_node.results.scene import Scene
from inference.findings import Box, Contour, Detection, Landmark, Point

SAME_PLACE_MM = 0.05
"""Graphic Data is float32."""

Drawn = dict[tuple[str, int], list[list[Line]]]
"""By layer and plane, the lines of each annotation."""


def check_gsps(scene: Scene, payload: bytes) -> list[str]:
    """Faults in words. Each annotation lies on one image that was read, within it; each outline follows its mask; each
    detection and landmark lies where the volume has it, by the patient coordinates of the image."""
    dataset = dcmread(BytesIO(payload))
    drawn, faults = _read(scene, dataset)
    names = named_layers(scene)
    faults += _outline_faults(scene, names, drawn)
    faults += _place_faults(scene, names, drawn)
    faults += [
        f"layer {layer} draws on image {plane} what no finding has there"
        for (layer, plane), left in drawn.items()
        if left
    ]
    return faults


def _read(scene: Scene, dataset: Dataset) -> tuple[Drawn, list[str]]:
    """What is drawn, by layer and plane, and what is wrong before anything is held against it."""
    planes = {(one.reference.sop_instance_uid, one.reference.frame_number): n for n, one in enumerate(scene.planes)}
    listed = {
        key
        for series in dataset.ReferencedSeriesSequence
        for item in series.ReferencedImageSequence
        for key in _frames(item)
    }
    described = {str(item.GraphicLayer) for item in dataset.GraphicLayerSequence}
    drawn: Drawn = {}
    faults = []
    for number, item in enumerate(dataset.GraphicAnnotationSequence, start=1):
        if item.GraphicLayer not in described:
            faults.append(f"annotation {number} is in layer {item.GraphicLayer}, which is not described")
        if not item.get("GraphicObjectSequence"):
            continue
        keys = [key for reference in item.get("ReferencedImageSequence") or () for key in _frames(reference)]
        if len(keys) != 1 or keys[0] not in planes or keys[0] not in listed:
            faults.append(f"annotation {number} must lie on one image that was read and is listed, but lies on {keys}")
            continue
        plane = planes[keys[0]]
        lines = [np.asarray(graphic.GraphicData, np.float64).reshape(-1, 2) for graphic in item.GraphicObjectSequence]
        if any(_is_outside(line, scene, plane) for line in lines):
            faults.append(f"annotation {number} reaches beyond image {plane}")
        drawn.setdefault((str(item.GraphicLayer), plane), []).append(lines)
    return drawn, faults


def _frames(reference: Dataset) -> Iterator[tuple[str, int | None]]:
    uid = str(reference.ReferencedSOPInstanceUID)
    if "ReferencedFrameNumber" not in reference:
        yield uid, None
        return
    element = reference["ReferencedFrameNumber"]
    for number in element.value if element.VM > 1 else [element.value]:
        yield uid, int(number)


def _is_outside(line: Line, scene: Scene, plane: int) -> bool:
    image = scene.planes[plane]
    return bool((line < 0).any() or (line > (image.columns, image.rows)).any())


def _outline_faults(scene: Scene, names: dict[Layer, str], drawn: Drawn) -> Iterator[str]:
    """Each segment has its outline on each image that it touches."""
    for item, plane in touched(scene):
        marks = drawn.get((names[segment_layer(item)], plane))
        if not marks:
            yield f"segment {item.number} has no outline on image {plane}"
        elif not on_border(np.concatenate(marks.pop(0)), item.on(plane)).all():
            yield f"the outline of segment {item.number} on image {plane} leaves the border of its mask"


def _place_faults(scene: Scene, names: dict[Layer, str], drawn: Drawn) -> Iterator[str]:
    """Detections and landmarks, in the order of the findings."""
    findings = scene.report.findings
    marked: list[tuple[Detection | Landmark, Point | Box | Contour, str]]
    marked = [(detection, detection.place, names[detection_layer(detection)]) for detection in findings.detections]
    marked += [(landmark, landmark.at, names[LANDMARKS]) for landmark in findings.landmarks]
    first = first_pixels(scene.volume)
    for finding, place, layer in marked:
        for shape in shapes(place, scene.volume, first):
            if is_beside(scene, shape):
                continue
            waiting = drawn.get((layer, shape.plane))
            if not waiting:
                yield f"{finding.key} is not drawn on image {shape.plane}"
            elif (apart_mm := _apart_mm(scene, waiting.pop(0)[0], place, shape.plane, first)) > SAME_PLACE_MM:
                yield f"{finding.key} is drawn {apart_mm:.2f} mm beside its place on image {shape.plane}"


def _apart_mm(scene: Scene, line: Line, place: Point | Box | Contour, plane: int, first: Float64Array) -> float:
    """The largest distance of what is drawn from the place that the volume's affine gives in that plane.

    A line that ends at the image's border is held against its place where it does not.
    """
    image, wanted = scene.planes[plane], corners_of(place)
    if len(line) != len(wanted):
        return math.inf
    at = np.full((len(wanted), 1), first[plane, 0])
    if image.has_place:
        wanted_lps = np.hstack([at, wanted, np.ones_like(at)]) @ scene.volume.affine_lps[:3].T
        drawn_lps = np.hstack([line[:, ::-1] - PIXEL_CENTRE, np.ones_like(at)]) @ image.affine_lps().T
    else:
        # In pixels: such an image lies nowhere.
        wanted_lps, drawn_lps = wanted - first[plane, 1:], line[:, ::-1] - PIXEL_CENTRE
    is_cut = ((line <= 0) | (line >= (image.columns, image.rows))).any(axis=1) & (len(line) > 1)
    return float(np.linalg.norm(drawn_lps - wanted_lps, axis=1)[~is_cut].max(initial=0.0))
