"""Jobs on images that are taken one by one: results that validators accept and readers find on the right image and frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from torch import nn

from dicom_node.attempt import JobOutcome, JobSpec, run_attempt
from dicom_node.results.reading import comments_of, numbers_of, tracking_uids, walk
from inference.package import load_package
from storage.objects import open_store
from tests.conformance.validators import dciodvfy_errors, pixelmed_errors
from tests.inference import made_models
from tests.inference.made_models import DENSE, NOT_INPUT, Above, FixedBoxes, torchscript
from tests.inference.made_pictures import clip, disc, grey, header, radiograph, slide
from tests.inference.made_pictures import written as written_images
from tests.inference.test_by_picture import AGE, AREA, EFFUSION, MASS, Means

pytestmark = pytest.mark.usefixtures("in_this_process")

FIRST, SECOND = disc((40, 30), (20, 12), 6, 3000, 200), disc((24, 36), (10, 20), 5, 2000, 100)
SEGMENTED = {"segments": [DENSE], "measurements": [AREA], "not_analysed": {"input_refused": NOT_INPUT}}
KINDS = ("seg", "sr", "sc")


def run(
    folder: Path, images: Sequence[Dataset], network: nn.Module, kinds: Sequence[str] = KINDS, **manifest: Any
) -> JobOutcome:
    """A job of a made model on these images; the objects are read by `result`."""
    objects = open_store((folder / "objects").as_uri())
    keys = []
    for path in written_images(images, folder / "sent"):
        keys.append(f"instances/{path.name}")
        objects.put(keys[-1], [path.read_bytes()])
    package = load_package(made_models.written(folder / "model", torchscript(network), **manifest))
    outcome = run_attempt(
        JobSpec(
            study_instance_uid=images[0].StudyInstanceUID,
            series_instance_uid=images[0].SeriesInstanceUID,
            revision=1,
            created_at=1_790_000_000.0,
            objects_url=(folder / "objects").as_uri(),
            object_keys=tuple(keys),
            package_folder=str(package.folder),
            package_sha256=package.content_sha256,
            device="cpu",
            kinds=tuple(kinds),
            report_not_analysed=True,
        )
    )
    assert (outcome.error, outcome.storage_error, dict(outcome.not_made)) == (None, None, {})
    assert [item.faults for item in outcome.results if item.faults] == []
    return outcome


def results(folder: Path, outcome: JobOutcome) -> list[tuple[str, Dataset]]:
    objects = open_store((folder / "objects").as_uri())
    return [(item.kind, dcmread(BytesIO(objects.get(item.object_key)))) for item in outcome.results]


def sound(peer: Callable[[str], str], folder: Path, found: Sequence[tuple[str, Dataset]]) -> list[str]:
    """What dciodvfy says against any of them."""
    said = []
    for number, (kind, dataset) in enumerate(found):
        path = folder / f"{number}_{kind}.dcm"
        dataset.save_as(path)
        said += [f"{kind}: {line}" for line in dciodvfy_errors(peer("dciodvfy"), path)]
    return said


def by_highdicom(segmentation: Dataset, source: Dataset) -> NDArray[np.bool_]:
    """bool (frames, rows, columns) of segment 1 on a source instance; highdicom follows the references."""
    buffer = BytesIO()
    segmentation.save_as(buffer)
    read = hd.seg.segread(BytesIO(buffer.getvalue()))
    if "NumberOfFrames" in source:
        frames = list(range(1, int(source.NumberOfFrames) + 1))
        masks = read.get_pixels_by_source_frame(
            source.SOPInstanceUID, frames, segment_numbers=[1], assert_missing_frames_are_empty=True
        )
    else:
        masks = read.get_pixels_by_source_instance(
            [source.SOPInstanceUID], segment_numbers=[1], assert_missing_frames_are_empty=True
        )
    return np.asarray(masks[..., 0] > 0)


def images_of(report: Dataset) -> list[tuple[str, int | None]]:
    """SOP instance and frame of every coordinate of a report, in its order."""
    found = []
    for item in walk(report):
        if item.get("ValueType") == "SCOORD":
            (reference,) = item.ContentSequence[0].ReferencedSOPSequence
            found.append((str(reference.ReferencedSOPInstanceUID), reference.get("ReferencedFrameNumber")))
    return found


def test_radiographs_of_two_sizes_come_back_as_masks_on_each_and_areas_where_lengths_may_be_told(
    peer: Callable[[str], str], tmp_path: Path
) -> None:
    images = [
        radiograph(FIRST, PixelSpacing=[0.5, 0.4], ImagerPixelSpacing=[0.6, 0.48]),
        radiograph(4095 - SECOND, number=2, photometric="MONOCHROME1", ImagerPixelSpacing=[0.2, 0.2]),
    ]
    kinds = ("seg", "seg_labelmap", "sr", "sr_text", "sc", "gsps", "key_images", "pdf")
    outcome = run(
        tmp_path, images, Above(1000.0, axes=2), kinds, input={"modality": "CR", "images": "each"}, outputs=SEGMENTED
    )
    found = results(tmp_path, outcome)
    assert sound(peer, tmp_path, found) == []
    assert [kind for kind, _ in found].count("seg") == 2
    for kind in ("seg", "seg_labelmap"):
        for segmentation, source, stored in zip(
            [dataset for one, dataset in found if one == kind], images, (FIRST, SECOND), strict=True
        ):
            assert "FrameOfReferenceUID" not in segmentation
            assert np.array_equal(by_highdicom(segmentation, source)[0], stored > 1000)
    report = next(dataset for kind, dataset in found if kind == "sr")
    areas = [(number.about, number.value, number.unit) for number in numbers_of(report)]
    pixels = [int(np.count_nonzero(stored > 1000)) for stored in (FIRST, SECOND)]
    assert areas == [
        ("Dense, image 1", pytest.approx(pixels[0] * 0.2), "mm2"),
        ("Dense, image 2", pixels[1], "{pixels}"),
    ]
    assert images_of(report) == [(image.SOPInstanceUID, None) for image in images]
    placed, tracked = tracking_uids(report)
    assert placed == tracked
    assert len(tracked) == 2


@pytest.mark.long
def test_reports_on_images_and_frames_are_as_their_templates_say(peer: Callable[[str], str], tmp_path: Path) -> None:
    images = [radiograph(FIRST, ImageLaterality="R"), radiograph(SECOND, number=2, ImageLaterality="L")]
    answered = {"classifications": [EFFUSION], "measurements": [AGE], "not_analysed": {"input_refused": NOT_INPUT}}
    boxed = {"detections": [MASS], "not_analysed": {"input_refused": NOT_INPUT}}
    networks: list[tuple[nn.Module, dict[str, Any]]] = [
        (Above(1000.0, axes=2), SEGMENTED),
        (Means(), answered),
        (FixedBoxes([[4.0, 6.0, 12.0, 20.0]], [0.8], [0]), boxed),
    ]
    for number, (network, outputs) in enumerate(networks):
        folder = tmp_path / str(number)
        outcome = run(folder, images, network, ("sr",), input={"modality": "CR", "images": "each"}, outputs=outputs)
        ((_, report),) = results(folder, outcome)
        report.save_as(folder / "sr.dcm")
        assert pixelmed_errors(peer("java"), folder / "sr.dcm") == []


def test_the_same_job_gives_the_same_bytes(tmp_path: Path) -> None:
    taken: dict[str, Any] = {"input": {"modality": "CR", "images": "each"}, "outputs": SEGMENTED}
    images = [radiograph(FIRST), radiograph(SECOND, number=2)]
    first, second = (run(tmp_path / name, images, Above(1000.0, axes=2), **taken) for name in ("one", "two"))
    assert [item.content_sha256 for item in first.results] == [item.content_sha256 for item in second.results]


def test_a_cine_is_marked_on_its_frames(peer: Callable[[str], str], tmp_path: Path) -> None:
    frames = np.stack([np.repeat(disc((30, 40), (15, 6 + 7 * n), 4, 200, 20)[..., None], 3, -1) for n in range(5)])
    source = clip(frames.astype(np.uint8))
    taken = {"modality": "US", "images": "each", "pictures": {"every_frame": 2}}
    outcome = run(tmp_path, [source], Above(100.0, axes=2), input=taken, outputs=SEGMENTED)
    found = results(tmp_path, outcome)
    assert sound(peer, tmp_path, found) == []
    (segmentation,) = [dataset for kind, dataset in found if kind == "seg"]
    wanted = frames[..., 0] > 100
    wanted[1::2] = False
    assert np.array_equal(by_highdicom(segmentation, source), wanted)
    report = next(dataset for kind, dataset in found if kind == "sr")
    assert images_of(report) == [(source.SOPInstanceUID, number) for number in (1, 3, 5)]
    assert [number.about for number in numbers_of(report)] == ["Dense, frame 1", "Dense, frame 3", "Dense, frame 5"]
    assert {number.unit for number in numbers_of(report)} == {"mm2"}


def test_an_angiography_in_grey_is_marked_on_its_frames(peer: Callable[[str], str], tmp_path: Path) -> None:
    frames = np.stack([disc((30, 40), (15, 6 + 7 * n), 4, 900, 20) for n in range(4)])
    source = grey(header("xa", "XA", "1.2.840.10008.5.1.4.1.1.12.1"), frames, bits=10)
    outcome = run(
        tmp_path,
        [source],
        Above(100.0, axes=2),
        ("seg", "sr", "gsps"),
        input={"modality": "XA", "images": "each"},
        outputs=SEGMENTED,
    )
    found = results(tmp_path, outcome)
    assert sound(peer, tmp_path, found) == []
    assert np.array_equal(by_highdicom(found[0][1], source), frames > 100)
    assert {number.unit for number in numbers_of(found[1][1])} == {"{pixels}"}
    assert "gsps" in dict(found)


def test_mammograms_are_classified_one_by_one_with_their_sides(peer: Callable[[str], str], tmp_path: Path) -> None:
    views = [("R", "CC", 3600), ("L", "CC", 400), ("R", "MLO", 3200), ("L", "MLO", 300)]
    images = [
        radiograph(np.full((20, 16), value), modality="MG", number=n, ImageLaterality=side, ViewPosition=view)
        for n, (side, view, value) in enumerate(views, start=1)
    ]
    outputs = {
        "classifications": [EFFUSION],
        "measurements": [AGE],
        "not_analysed": {"input_refused": NOT_INPUT},
    }
    outcome = run(tmp_path, images, Means(), input={"modality": "MG", "images": "each"}, outputs=outputs)
    found = results(tmp_path, outcome)
    assert sound(peer, tmp_path, found) == []
    report = next(dataset for kind, dataset in found if kind == "sr")
    groups = {
        str(next(child for child in item.ContentSequence if child.ValueType == "TEXT").TextValue): item
        for item in walk(report)
        if item.get("ContentTemplateSequence") and item.ContentTemplateSequence[0].TemplateIdentifier == "1501"
    }
    first = groups["Effusion, image 1 (R CC)"]
    said = {
        str(inner.ConceptCodeSequence[0].CodeMeaning)
        for child in first.ContentSequence
        for inner in child.get("ContentSequence") or ()
        if inner.ValueType == "CODE"
    }
    assert "Right" in said
    assert images_of(first) == [(images[0].SOPInstanceUID, None)]
    boxed = run(
        tmp_path / "boxed",
        images,
        FixedBoxes([[4.0, 6.0, 12.0, 12.0]], [0.8], [0]),
        ("sr",),
        input={"modality": "MG", "images": "each"},
        outputs={"detections": [MASS], "not_analysed": {"input_refused": NOT_INPUT}},
    )
    ((_, located),) = results(tmp_path / "boxed", boxed)
    library = {
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID): str(
            item.ContentSequence[0].ConceptCodeSequence[0].CodeMeaning
        )
        for item in walk(located)
        if item.get("ValueType") == "IMAGE" and item.get("ContentSequence")
    }
    assert library == {image.SOPInstanceUID: "Right" if image.ImageLaterality == "R" else "Left" for image in images}
    assert sound(peer, tmp_path, [("sr", located)]) == []
    assert "Effusion, image 4 (L MLO)" in groups
    assert [number.value for number in numbers_of(report) if number.name == "Bone age"] == [36.0, 4.0, 32.0, 3.0]


def test_boxes_are_planar_regions_of_their_image(peer: Callable[[str], str], tmp_path: Path) -> None:
    images = [radiograph(FIRST), radiograph(SECOND, number=2)]
    outcome = run(
        tmp_path,
        images,
        FixedBoxes([[4.0, 6.0, 12.0, 20.0]], [0.8], [0]),
        input={"modality": "CR", "images": "each"},
        outputs={"detections": [MASS], "not_analysed": {"input_refused": NOT_INPUT}},
    )
    found = results(tmp_path, outcome)
    assert sound(peer, tmp_path, found) == []
    report = next(dataset for kind, dataset in found if kind == "sr")
    assert images_of(report) == [(image.SOPInstanceUID, None) for image in images]
    templates = [
        str(item.ContentTemplateSequence[0].TemplateIdentifier)
        for item in walk(report)
        if item.get("ContentTemplateSequence")
    ]
    assert templates == ["1500", "1410", "1410"]


def test_what_is_said_of_a_clip_refers_to_its_frames(peer: Callable[[str], str], tmp_path: Path) -> None:
    source = clip(np.full((6, 16, 16, 3), 200, np.uint8))
    outputs = {"classifications": [EFFUSION], "not_analysed": {"input_refused": NOT_INPUT}}
    outcome = run(tmp_path, [source], Means(), input={"modality": "US", "images": "clip"}, outputs=outputs)
    found = results(tmp_path, outcome)
    assert sound(peer, tmp_path, found) == []
    report = next(dataset for kind, dataset in found if kind == "sr")
    assert images_of(report) == [(source.SOPInstanceUID, number) for number in (4, 1, 6)]


@pytest.mark.parametrize("kind", ["seg", "seg_fractional", "seg_labelmap"])
def test_a_slide_comes_back_in_tiles_that_make_the_mask_and_empty_ones_are_left_out(
    peer: Callable[[str], str], tmp_path: Path, kind: str
) -> None:
    matrix = np.repeat(disc((50, 70), (20, 30), 12, 220, 30)[..., None], 3, -1).astype(np.uint8)
    matrix[45:, 66:] = 220
    source = slide(matrix, (16, 24))
    outcome = run(
        tmp_path,
        [source],
        Above(100.0, axes=2),
        (kind, "sr"),
        input={"modality": "SM", "images": "each"},
        use={"mode": "windows", "patch": [20, 20]},
        outputs=SEGMENTED,
    )
    found = results(tmp_path, outcome)
    assert sound(peer, tmp_path, found) == []
    ((_, segmentation), (_, report)) = found
    assert segmentation.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert segmentation.DimensionOrganizationType == "TILED_SPARSE"
    read = hd.seg.segread(tmp_path / f"0_{kind}.dcm")
    mask = read.get_total_pixel_matrix(combine_segments=kind == "seg_labelmap")
    assert np.array_equal(np.squeeze(mask) > 0, matrix[..., 0] > 100)
    tiles = [
        (row, column)
        for row in range(0, 50, 16)
        for column in range(0, 70, 24)
        if (matrix[row : row + 16, column : column + 24, 0] > 100).any()
    ]
    places = [group.PlanePositionSlideSequence[0] for group in segmentation.PerFrameFunctionalGroupsSequence]
    assert len(tiles) < int(source.NumberOfFrames)
    assert [
        (place.RowPositionInTotalImagePixelMatrix - 1, place.ColumnPositionInTotalImagePixelMatrix - 1)
        for place in places
    ] == tiles
    for place, (row, column) in zip(places, tiles, strict=True):
        # Rows run against X and columns against Y.
        assert float(place.XOffsetInSlideCoordinateSystem) == pytest.approx(20 - row * 0.0005)
        assert float(place.YOffsetInSlideCoordinateSystem) == pytest.approx(40 - column * 0.0005)
    (area,) = numbers_of(report)
    assert area.value == pytest.approx(np.count_nonzero(matrix[..., 0] > 100) * 0.0005**2, rel=1e-4)
    ((uid, frame),) = images_of(report)
    assert (uid, frame) == (source.SOPInstanceUID, 5)


def test_an_image_that_was_set_aside_is_missed_in_the_report(tmp_path: Path) -> None:
    images = [radiograph(FIRST, ViewPosition="PA"), radiograph(SECOND, number=2, ViewPosition="LL")]
    taken = {"modality": "CR", "images": "each", "pictures": {"views": ["PA"]}}
    outcome = run(tmp_path, images, Above(1000.0, axes=2), input=taken, outputs=SEGMENTED)
    report = dict(results(tmp_path, outcome))["sr"]
    assert "1 of 2 images of the series were not analysed" in comments_of(report)
    assert "view LL is not PA" in outcome.summary


def test_a_series_without_an_image_that_the_model_takes_is_reported_as_not_analysed(
    peer: Callable[[str], str], tmp_path: Path
) -> None:
    taken = {"modality": "CR", "images": "each", "pictures": {"samples_per_pixel": 3}}
    outcome = run(tmp_path, [radiograph(FIRST)], Above(1.0, axes=2), input=taken, outputs=SEGMENTED)
    assert "1 samples a pixel, and the model reads 3" in str(outcome.not_analysed)
    found = results(tmp_path, outcome)
    assert [kind for kind, _ in found] == ["sr", "sc"]
    assert sound(peer, tmp_path, found) == []


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("highdicom_test_files/dx_image.dcm", "DX"),
        pytest.param("pydicom_test_files/examples_ybr_color.dcm", "US", marks=pytest.mark.long),
        pytest.param("pydicom_test_files/examples_palette.dcm", "US", marks=pytest.mark.long),
        pytest.param("highdicom_test_files/sm_image_dots.dcm", "SM", marks=pytest.mark.long),
    ],
)
def test_real_images_give_sound_results(
    peer: Callable[[str], str], shared_data: Path, tmp_path: Path, name: str, modality: str
) -> None:
    source = dcmread(shared_data / name)
    taken = {"modality": modality, "images": "each", "pictures": {"every_frame": 15}}
    outcome = run(tmp_path, [source], Above(100.0, axes=2), input=taken, outputs=SEGMENTED)
    found = results(tmp_path, outcome)
    assert sound(peer, tmp_path, found) == []
    assert by_highdicom(found[0][1], source).any()
