"""Presentation states: what is drawn lies where it was found, and what does not is found out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.results import gsps_marks
from dicom_node.results.encode import encode
from dicom_node.results.gsps import check
from dicom_node.results.gsps_marks import marks
from dicom_node.results.report import Report
from dicom_node.results.scene import scene_of
from dicom_node.results.writing import Written, written
from inference.findings import Box, Contour, Detection, Findings, Landmark, Point
from inference.volume import Volume
from tests.conformance.places import BIFURCATION, placed_findings
from tests.conformance.reports import ABNORMAL, NODULE, findings_on, made_volume, not_analysed, one_segment, report_on

GEOMETRIES = ("axial", "sagittal", "oblique", "tilted", "resampled", "multi_frame")


def report_of(geometry: str = "axial", findings: Findings | None = None) -> Report:
    datasets, volume = made_volume(geometry)
    return report_on(datasets, volume, findings or placed_findings(volume), kinds=("gsps",))


def state_of(report: Report) -> Dataset:
    (result,) = encode(report)
    assert result.faults == ()
    return dcmread(BytesIO(result.payload))


@cache
def usual() -> tuple[Report, bytes]:
    report = report_of()
    return report, encode(report)[0].payload


def usual_state() -> Dataset:
    return dcmread(BytesIO(usual()[1]))


def detection(place: Point | Box | Contour) -> Findings:
    return Findings(detections=(Detection("d", "Dot", ABNORMAL, NODULE, place, 0.871),))


def drawn(state: Dataset) -> list[Dataset]:
    return [item for item in state.GraphicAnnotationSequence if "GraphicObjectSequence" in item]


def places_lps(report: Report, state: Dataset) -> list[np.ndarray]:
    """Of each annotation, its points in mm, by the attributes of the source image that it names."""
    sources = {str(source.SOPInstanceUID): source for source in report.sources}
    found = []
    for item in drawn(state):
        image = sources[item.ReferencedImageSequence[0].ReferencedSOPInstanceUID]
        row_way, column_way = np.reshape(np.asarray(image.ImageOrientationPatient, float), (2, 3))
        between_rows, between_columns = map(float, image.PixelSpacing)
        points = np.reshape(item.GraphicObjectSequence[0].GraphicData, (-1, 2)) - 0.5
        origin = np.asarray(image.ImagePositionPatient, float)
        found.append(
            origin
            + np.outer(points[:, 0] * between_columns, row_way)
            + np.outer(points[:, 1] * between_rows, column_way)
        )
    return found


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_everything_is_drawn_without_fault(geometry: str) -> None:
    report = report_of(geometry)
    state = state_of(report)
    layers = [item.GraphicLayerDescription for item in state.GraphicLayerSequence]
    assert layers[:4] == ["AI result: notice", "Right shape", "Left shape", "Shape within"]
    assert layers[4:] == ["Nodule", "Nodule", "Nodule", "Landmarks"]
    outlines = sum(np.count_nonzero(item.pixels) for item in scene_of(report).segments)
    boxes = 4 if geometry != "resampled" else len(drawn(state)) - outlines - 3
    assert len(drawn(state)) == outlines + boxes + 3


@pytest.mark.parametrize("geometry", ["axial", "sagittal", "oblique", "tilted"])
def test_a_point_lies_where_the_volume_has_it(geometry: str) -> None:
    report = report_of(geometry, detection(Point((3.0, 7.25, 11.5))))
    assert report.volume is not None
    ((place,),) = places_lps(report, state_of(report))
    np.testing.assert_allclose(place, (report.volume.affine_lps @ (3.0, 7.25, 11.5, 1.0))[:3], atol=1e-3)


def test_a_point_of_a_straightened_volume_lies_where_the_volume_has_it() -> None:
    _, volume = made_volume("resampled")
    at = on_first_pixel_of(volume, 6) + np.array([0.0, 9.0, 12.0])
    report = report_of("resampled", detection(Point((at[0], at[1], at[2]))))
    ((place,),) = places_lps(report, state_of(report))
    np.testing.assert_allclose(place, (volume.affine_lps @ (*at, 1.0))[:3], atol=1e-3)


def on_first_pixel_of(volume: Volume, plane: int) -> np.ndarray:
    assert volume.acquired is not None
    origin = np.append(volume.acquired.origins_lps[plane], 1.0)
    return np.asarray((np.linalg.inv(volume.affine_lps) @ origin)[:3])


def test_a_box_holds_the_voxels_of_both_corners_on_each_slice() -> None:
    report = report_of(findings=detection(Box((2, 5, 6), (4, 8, 12))))
    uids = [source.SOPInstanceUID for source in report.sources]
    items = drawn(state_of(report))
    assert [uids.index(item.ReferencedImageSequence[0].ReferencedSOPInstanceUID) for item in items] == [2, 3, 4]
    for item in items:
        points = np.reshape(item.GraphicObjectSequence[0].GraphicData, (-1, 2))
        assert (points.min(axis=0).tolist(), points.max(axis=0).tolist()) == ([6, 5], [13, 9])
        assert (points[0] == points[-1]).all()


def test_a_box_ends_at_the_border_of_the_image() -> None:
    report = report_of(findings=detection(Box((0, -3, 20), (0, 4, 90))))
    points = np.reshape(drawn(state_of(report))[0].GraphicObjectSequence[0].GraphicData, (-1, 2))
    assert (points.min(axis=0).tolist(), points.max(axis=0).tolist()) == ([20, 0], [37, 5])


def test_a_point_beside_the_images_is_left_out_in_words_and_the_others_are_drawn() -> None:
    _, volume = made_volume("axial")
    within = detection(Point((2, 5, 6))).detections
    outside = Detection("e", "Far away", ABNORMAL, NODULE, Point((2, -3, 5)), 0.9)
    lost = Landmark("l", "Lost mark", BIFURCATION, Point((1, 5, volume.voxels.shape[2] + 4.0)))
    state = state_of(report_of(findings=Findings(detections=(*within, outside), landmarks=(lost,))))
    (item,) = drawn(state)
    assert item.TextObjectSequence[0].UnformattedTextValue == "Dot 0.87"
    (notice,) = [one for one in state.GraphicAnnotationSequence if "GraphicObjectSequence" not in one]
    said = notice.TextObjectSequence[0].UnformattedTextValue
    assert said.endswith("Not drawn, since beside the images: Far away, Lost mark.")


def test_what_lies_beside_the_images_alone_makes_no_presentation_state() -> None:
    assert encode(report_of(findings=detection(Point((2, -3, 5))))) == ()


def test_labels_say_what_it_is_and_how_sure() -> None:
    (item,) = drawn(state_of(report_of(findings=detection(Point((2, 5, 6))))))
    (text,) = item.TextObjectSequence
    assert (text.UnformattedTextValue, list(text.AnchorPoint)) == ("Dot 0.87", [6.5, 5.5])
    assert item.GraphicObjectSequence[0].GraphicType == "POINT"


def test_a_landmark_is_drawn_in_a_layer_of_landmarks() -> None:
    findings = Findings(landmarks=(Landmark("c", "Carina", BIFURCATION, Point((1, 3, 4))),))
    state = state_of(report_of(findings=findings))
    assert [item.GraphicLayerDescription for item in state.GraphicLayerSequence][1:] == ["Landmarks"]
    assert drawn(state)[0].TextObjectSequence[0].UnformattedTextValue == "Carina"


def test_each_image_says_that_it_is_an_ai_result() -> None:
    """One annotation that names no image is for all (PS3.3 C.10.5)."""
    report = replace(usual()[0], remark="analysed 410 of 412 images")
    state = state_of(report)
    (notice,) = [item for item in state.GraphicAnnotationSequence if "GraphicObjectSequence" not in item]
    assert "ReferencedImageSequence" not in notice
    (text,) = notice.TextObjectSequence
    assert text.UnformattedTextValue == "AI result, not reviewed: Shape finder 2.1.0. analysed 410 of 412 images"
    assert state.ContentLabel == "AI_RESULT"
    assert state.ContentDescription.startswith("AI: Shape finder 2.1.0")


def test_colours_are_those_of_the_findings() -> None:
    colors = {
        item.GraphicLayerDescription: item.GraphicLayerRecommendedDisplayCIELabValue
        for item in usual_state().GraphicLayerSequence
    }
    assert colors["Right shape"] != colors["Left shape"]
    assert colors["Right shape"][1] > 0x8080  # red: a* above its middle


def test_the_window_is_that_of_the_source() -> None:
    report = report_of()
    for source in report.sources:
        source.WindowCenter, source.WindowWidth = [40, -600], [400, 1500]
    state = state_of(report)
    (window,) = state.SoftcopyVOILUTSequence
    assert (window.WindowCenter, window.WindowWidth) == (40, 400)
    assert (state.RescaleSlope, state.RescaleIntercept, state.RescaleType) == (1, -1024, "HU")


def test_images_with_windows_of_their_own_keep_them() -> None:
    report = report_of()
    for number, source in enumerate(report.sources):
        source.WindowCenter, source.WindowWidth = 40 + 10 * (number % 2), 400
    state = state_of(report)
    images = [len(window.ReferencedImageSequence) for window in state.SoftcopyVOILUTSequence]
    shown = state.ReferencedSeriesSequence[0].ReferencedImageSequence
    assert (len(images), sum(images)) == (2, len(shown))


def test_images_with_a_rescale_of_their_own_have_windows_of_stored_values() -> None:
    """One presentation state has one rescale; where images have several it has none, and stored values are windowed."""
    datasets, volume = made_volume("axial")
    findings = detection(Box((2, 5, 6), (3, 8, 12)))
    for number, source in enumerate(datasets):
        source.WindowCenter, source.WindowWidth = 40, 400
        source.RescaleSlope, source.RescaleIntercept = 1 + number, -1000
    state = state_of(report_on(datasets, volume, findings, kinds=("gsps",)))
    assert "RescaleSlope" not in state
    windows = [(float(item.WindowCenter), float(item.WindowWidth)) for item in state.SoftcopyVOILUTSequence]
    assert windows == [pytest.approx((1040 / 3, 400 / 3)), pytest.approx((1040 / 4, 400 / 4))]


def test_a_source_without_window_is_shown_in_one_that_holds_its_values() -> None:
    report = usual()[0]
    assert report.volume is not None
    (window,) = usual_state().SoftcopyVOILUTSequence
    low, high = np.percentile(report.volume.voxels, (1, 99))
    assert float(window.WindowWidth) == pytest.approx(high - low, rel=0.05)


def test_frames_of_a_multi_frame_source_are_named() -> None:
    state = state_of(report_of("multi_frame", detection(Box((2, 5, 6), (4, 8, 12)))))
    (image,) = state.ReferencedSeriesSequence[0].ReferencedImageSequence
    assert list(image.ReferencedFrameNumber) == [3, 4, 5]
    assert [item.ReferencedImageSequence[0].ReferencedFrameNumber for item in drawn(state)] == [3, 4, 5]


def test_outlines_are_drawn_coarsely_where_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = scene_of(usual()[0])

    def points() -> int:
        return sum(len(line) for mark in marks(scene) for line in mark.lines)

    fine = points()
    monkeypatch.setattr(gsps_marks, "MOST_POINTS", fine // 2)
    assert points() < fine
    assert state_of(usual()[0])


def test_what_has_no_place_is_not_drawn() -> None:
    datasets, volume = made_volume("axial")
    empty = one_segment(findings_on(volume), "none")
    assert encode(report_on(datasets, volume, empty, kinds=("gsps",))) == ()
    assert encode(replace(not_analysed(datasets), kinds=frozenset({"gsps"}))) == ()


def outline_of(state: Dataset, label: str) -> list[Dataset]:
    return [item for item in drawn(state) if item.TextObjectSequence[0].UnformattedTextValue.startswith(label)]


def moved(label: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Dataset], None]:
    def change_state(state: Dataset) -> None:
        for item in outline_of(state, label):
            for graphic in item.GraphicObjectSequence:
                points = np.reshape(graphic.GraphicData, (-1, 2))
                graphic.GraphicData = change(points).ravel().tolist()

    return change_state


def upside_down(state: Dataset) -> None:
    """The outlines of one shape on each other's images."""
    items = outline_of(state, "Right shape")
    references = [item.ReferencedImageSequence for item in items]
    for item, reference in zip(items, references[::-1], strict=True):
        item.ReferencedImageSequence = reference


def elsewhere(state: Dataset) -> None:
    drawn(state)[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID = "2.25.5"


def without_first(state: Dataset) -> None:
    state.GraphicAnnotationSequence.remove(outline_of(state, "Right shape")[0])


def doubled(state: Dataset) -> None:
    state.GraphicAnnotationSequence.append(outline_of(state, "Right shape")[0])


def other_layer(state: Dataset) -> None:
    drawn(state)[0].GraphicLayer = "AI_99"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (moved("Right shape", lambda points: points + np.array([1, 0])), "leaves the border of its mask"),
        (moved("Right shape", lambda points: points[:, ::-1]), "leaves the border of its mask"),
        (moved("Left shape", lambda points: (37, 0) + points * (-1, 1)), "leaves the border of its mask"),
        (moved("Dot", lambda points: points + np.array([0, 0.5])), "dot is drawn 0.40 mm beside its place"),
        (moved("Box", lambda points: points[:, ::-1]), "box is drawn .* mm beside its place"),
        (moved("Ring", lambda points: points[:-1]), "ring is drawn inf mm beside its place"),
        (moved("Carina", lambda points: points + 1000), "reaches beyond image"),
        (upside_down, "leaves the border of its mask"),
        (elsewhere, "must lie on one image that was read"),
        (without_first, "segment 1 has no outline on image"),
        (doubled, "draws on image .* what no finding has there"),
        (other_layer, "is in layer AI_99, which is not described"),
    ],
)
def test_what_is_drawn_in_the_wrong_place_is_found_out(change: Callable[[Dataset], None], fault: str) -> None:
    state = usual_state()
    change(state)
    faults = check(scene_of(usual()[0]), "gsps", Written(state, written(state).file))
    assert any(re.search(fault, said) for said in faults), faults
