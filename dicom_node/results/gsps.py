"""Findings to a Grayscale Softcopy Presentation State (PS3.3 A.33.1): what was found, drawn over the images themselves.

Segments are outlined on each image that they touch, detections and landmarks stand where they are, each with its name, in
a layer that a viewer can switch off. On every image stands that this comes from an algorithm.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from copy import deepcopy

import numpy as np
from highdicom.color import CIELabColor
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage

from dicom_node.results import context, identity
from dicom_node.results.borders import Line
from dicom_node.results.check_gsps import check_gsps
from dicom_node.results.gsps_grey import Greys, GreyWindow, greys
from dicom_node.results.gsps_marks import NOTICE, Layer, Mark, beside, has_marks, marks, named_layers
from dicom_node.results.picture_names import is_tiled
from dicom_node.results.report import Report
from dicom_node.results.result_type import ResultType
from dicom_node.results.scene import Scene
from dicom_node.results.seg_head import decimals
from dicom_node.results.sources import Plane
from dicom_node.results.writing import Written, written

NOTICE_BOX = ((0.01, 0.93), (0.99, 0.99))
"""Top left and bottom right corner, as parts of the displayed area."""

LONGEST_TEXT = 1024


def applies(scene: Scene) -> bool:
    """Where there is anything to draw, and the images are grey, and no tiles: it is a grayscale presentation state."""
    return scene.is_analysed and scene.volume.colors is None and not is_tiled(scene.volume) and has_marks(scene)


def encode_gsps(scene: Scene, ordered: str) -> Written:
    """The presentation state. It lists only images that something is drawn on; a viewer shows others as they are."""
    report, drawn = scene.report, marks(scene)
    shown = sorted({mark.plane for mark in drawn})
    dataset = context.new_object(report, ordered, GrayscaleSoftcopyPresentationStateStorage, "PR")
    dataset.PresentationCreationDate, dataset.PresentationCreationTime = dataset.ContentDate, dataset.ContentTime
    del dataset.ContentDate, dataset.ContentTime
    dataset.Laterality = ""
    dataset.ContentLabel = "AI_RESULT"
    dataset.ContentDescription = identity.series_description(report)
    dataset.ContentCreatorName = ""
    dataset.ReferencedSeriesSequence = [referenced_series(report, [scene.planes[index] for index in shown])]
    dataset.DisplayedAreaSelectionSequence = displayed_areas(scene.planes, shown)
    add_greys(dataset, greys(scene, shown), scene.planes, report.first_source)
    names = named_layers(scene)
    dataset.GraphicLayerSequence = [
        layer_item(layer, name, n) for n, (layer, name) in enumerate(names.items(), start=1)
    ]
    dataset.GraphicAnnotationSequence = [
        notice(scene, names[NOTICE]),
        *(annotation(mark, names[mark.layer], scene.planes[mark.plane]) for mark in drawn),
    ]
    return written(dataset)


def referenced_series(report: Report, planes: Iterable[Plane]) -> Dataset:
    """Presentation State Relationship (PS3.3 C.11.11)."""
    series = Dataset()
    series.SeriesInstanceUID = report.first_source.SeriesInstanceUID
    series.ReferencedImageSequence = image_items(planes)
    return series


def image_items(planes: Iterable[Plane]) -> list[Dataset]:
    """Each instance once, with its frames where it has several."""
    frames: dict[tuple[str, str], list[int]] = defaultdict(list)
    for plane in planes:
        source = plane.reference
        numbers = frames[source.sop_class_uid, source.sop_instance_uid]
        if source.frame_number is not None:
            numbers.append(source.frame_number)
    items = []
    for (sop_class_uid, sop_instance_uid), numbers in frames.items():
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
        if numbers:
            item.ReferencedFrameNumber = numbers
        items.append(item)
    return items


def displayed_areas(planes: Sequence[Plane], shown: Sequence[int]) -> list[Dataset]:
    """All of each image, fitted to the screen (PS3.3 C.10.4)."""
    by_size: dict[tuple[int, int, tuple[float, float] | None], list[Plane]] = defaultdict(list)
    for index in shown:
        plane = planes[index]
        by_size[plane.rows, plane.columns, plane.pixel_spacing_mm].append(plane)
    items = []
    for (rows, columns, spacing_mm), some in by_size.items():
        item = Dataset()
        if len(by_size) > 1:
            item.ReferencedImageSequence = image_items(some)
        item.DisplayedAreaTopLeftHandCorner = [1, 1]
        item.DisplayedAreaBottomRightHandCorner = [columns, rows]
        item.PresentationSizeMode = "SCALE TO FIT"
        if spacing_mm:
            item.PresentationPixelSpacing = decimals(spacing_mm)
        else:
            item.PresentationPixelAspectRatio = [1, 1]
        items.append(item)
    return items


def add_greys(dataset: Dataset, shades: Greys, planes: Sequence[Plane], source: Dataset) -> None:
    """Modality LUT, Softcopy VOI LUT and Softcopy Presentation LUT (PS3.3 C.11.1, C.11.8 and C.11.6)."""
    if shades.rescale:
        dataset.RescaleSlope, dataset.RescaleIntercept = decimals((shades.rescale.slope, shades.rescale.intercept))
        dataset.RescaleType = shades.rescale.type
    are_several = len(shades.windows) > 1
    dataset.SoftcopyVOILUTSequence = [
        window_item(window, [planes[index] for index in some] if are_several else [])
        for window, some in shades.windows.items()
    ]
    if source.get("ModalityLUTSequence"):
        dataset.ModalityLUTSequence = deepcopy(source.ModalityLUTSequence)
    dataset.PresentationLUTShape = "INVERSE" if shades.is_inverse else "IDENTITY"


def window_item(window: GreyWindow, planes: Sequence[Plane]) -> Dataset:
    """planes: none for all."""
    item = Dataset()
    if planes:
        item.ReferencedImageSequence = image_items(planes)
    item.WindowCenter, item.WindowWidth = decimals((window.center, window.width))
    if window.function != "LINEAR":
        item.VOILUTFunction = window.function
    return item


def layer_item(layer: Layer, name: str, order: int) -> Dataset:
    """Graphic Layer (PS3.3 C.10.7)."""
    item = Dataset()
    item.GraphicLayer, item.GraphicLayerOrder = name, order
    item.GraphicLayerRecommendedDisplayCIELabValue = list(CIELabColor.from_rgb(*layer.color_rgb).value)
    item.GraphicLayerDescription = identity.fitted(layer.description)
    return item


def notice(scene: Scene, layer: str) -> Dataset:
    """On every image: who says this, that nobody has reviewed it, and what is not drawn."""
    report, left_out = scene.report, beside(scene)
    words = f"AI result, not reviewed: {report.model.title} {report.model.version}."
    words += f" {report.remark}" if report.remark else ""
    words += f" Not drawn, since beside the images: {', '.join(left_out)}." if left_out else ""
    text, item = Dataset(), Dataset()
    text.UnformattedTextValue = words[:LONGEST_TEXT]
    text.BoundingBoxAnnotationUnits = "DISPLAY"
    text.BoundingBoxTopLeftHandCorner, text.BoundingBoxBottomRightHandCorner = map(list, NOTICE_BOX)
    text.BoundingBoxTextHorizontalJustification = "LEFT"
    item.GraphicLayer = layer
    item.TextObjectSequence = [text]
    return item


def annotation(mark: Mark, layer: str, plane: Plane) -> Dataset:
    """One finding on one image (PS3.3 C.10.5): its lines, and its name at the highest point of the first."""
    item, text = Dataset(), Dataset()
    item.ReferencedImageSequence = image_items([plane])
    item.GraphicLayer = layer
    first = mark.lines[0]
    text.UnformattedTextValue = mark.label[:LONGEST_TEXT]
    text.AnchorPointAnnotationUnits = "PIXEL"
    text.AnchorPoint = first[first[:, 1].argmin()].tolist()
    text.AnchorPointVisibility = "N"
    item.TextObjectSequence = [text]
    item.GraphicObjectSequence = [graphic(line) for line in mark.lines]
    return item


def graphic(line: Line) -> Dataset:
    """A point, or a closed polyline, in pixels of the image."""
    item = Dataset()
    item.GraphicAnnotationUnits = "PIXEL"
    item.GraphicDimensions = 2
    item.NumberOfGraphicPoints = len(line)
    # Each number would be validated by itself, which takes longer than all the rest.
    points = np.asarray(line, np.float32).ravel().tolist()
    item.add(DataElement("GraphicData", "FL", points, already_converted=True))
    item.GraphicType = "POINT" if len(line) == 1 else "POLYLINE"
    if len(line) > 1:
        item.GraphicFilled = "N"
    return item


def check(scene: Scene, _ordered: str, state: Written) -> list[str]:
    return check_gsps(scene, state.payload)


RESULT = ResultType("gsps", applies, encode_gsps, check)
