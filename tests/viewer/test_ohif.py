"""A radiologist who opens the study in OHIF sees the mask, the numbers, the summary, and why nothing was analysed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dicom_node.phantom import Phantom, chest_ct
from dicom_node.results.encode import encode
from dicom_node.results.report import EncodedResult, Report
from inference.findings import Findings, Measurement, Segment
from inference.series import read_series
from inference.volume import Volume
from tests.conformance.reports import (
    ABNORMAL,
    ANATOMY,
    CREATED,
    LEFT,
    LUNG,
    ML,
    MODEL,
    NODULE,
    RIGHT,
    VOLUME,
    not_analysed,
)
from tests.viewer.ohif import Viewer, pacs_of, showing
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.timeout(PATIENCE_S)

RED, BLUE = (230, 60, 60), (60, 100, 240)


@dataclass(frozen=True)
class Shown:
    """The open viewer, the study in it, and what was stored beside the images."""

    viewer: Viewer
    study_instance_uid: str
    results: dict[str, EncodedResult]
    volume: Volume
    findings: Findings
    folder: Path


def findings_on(phantom: Phantom, volume: Volume) -> Findings:
    """The lungs, patches within them, and a segment that is empty."""
    masks = phantom.truth.masks
    segments = (
        Segment("right", "Right lung", ANATOMY, LUNG, masks["right_lung"], RED, LUNG, RIGHT),
        Segment("left", "Left lung", ANATOMY, LUNG, masks["left_lung"], BLUE, LUNG, LEFT),
        Segment("patches", "Low attenuation", ABNORMAL, NODULE, masks["patches"], (255, 200, 60), LUNG),
        Segment("none", "Nothing found", ABNORMAL, NODULE, np.zeros_like(masks["patches"]), (160, 90, 200), LUNG),
    )
    volumes = (Measurement(VOLUME, float(s.mask.sum()) * volume.voxel_volume_ml, ML, s.key) for s in segments)
    return Findings(segments, tuple(volumes))


def too_few_images(phantom: Phantom) -> Phantom:
    """Another series of the same study, of three images."""
    datasets = tuple(deepcopy(dataset) for dataset in phantom.datasets[:3])
    for number, dataset in enumerate(datasets, start=1):
        dataset.SeriesInstanceUID, dataset.SeriesNumber = "2.25.70", 7
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"2.25.70{number}"
    return replace(phantom, datasets=datasets)


@pytest.fixture(scope="module")
def shown(peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    programs = {name: peer(name) for name in ("dcmsend", "chromium")}
    folder = tmp_path_factory.mktemp("viewer")
    phantom = chest_ct(slices=32, rows=256)
    volume = read_series(phantom.datasets).volumes[0]
    report = Report(phantom.datasets, volume, findings_on(phantom, volume), MODEL, 1, CREATED)
    few = too_few_images(phantom)
    results = {result.kind: result for result in encode(report)}
    results["not analysed"] = encode(not_analysed(few.datasets))[0]
    files = phantom.write(folder / "images") + few.write(folder / "few")
    for name, result in results.items():
        files.append(folder / f"{name}.dcm")
        files[-1].write_bytes(result.payload)
    with (
        pacs_of(peer, folder / "orthanc").running() as orthanc,
        showing(orthanc, programs["chromium"], folder / "profile", files, programs["dcmsend"]) as viewer,
    ):
        yield Shown(viewer, volume.study_instance_uid, results, volume, report.findings, folder)


def like(pixels: NDArray[np.uint8], color: tuple[int, int, int]) -> NDArray[np.int64]:
    """Columns of the pixels that lean towards a colour, as a mask drawn over grey does."""
    tint = pixels.astype(int) - pixels.mean(axis=2, keepdims=True)
    wanted = np.asarray(color) - np.mean(color)
    closeness = (tint @ wanted) / np.maximum(np.linalg.norm(tint, axis=2) * np.linalg.norm(wanted), 1e-9)
    return np.nonzero((closeness > 0.9) & (np.linalg.norm(tint, axis=2) > 30))[1]


def test_the_mask_lies_where_the_lungs_are(shown: Shown) -> None:
    viewer = shown.viewer
    viewer.open(shown.study_instance_uid)
    viewer.show(shown.results["seg"].series_number)
    viewer.wait_for_segments("Right lung", "Left lung", "Low attenuation")
    viewer.go_to_image(16)
    assert viewer.comes_to_show(lambda pixels: min(len(like(pixels, RED)), len(like(pixels, BLUE))) > 5_000)
    pixels = viewer.pixels()
    viewer.screenshot(shown.folder / "seg.png")
    assert like(pixels, RED).mean() < pixels.shape[1] / 2 < like(pixels, BLUE).mean()
    assert viewer.errors == []


def test_the_numbers_stand_beside_the_outlines(shown: Shown) -> None:
    viewer = shown.viewer
    viewer.open(shown.study_instance_uid)
    viewer.show(shown.results["sr"].series_number)
    right = next(m.value for m in shown.findings.measurements if m.finding_key == "right")
    viewer.wait_for_text(f"Volume: {float(f'{right:.6g}'):.2f} mL")
    viewer.screenshot(shown.folder / "sr.png")
    assert viewer.errors == []


def test_every_measured_segment_can_be_walked_to(shown: Shown) -> None:
    viewer = shown.viewer
    viewer.open(shown.study_instance_uid)
    viewer.show(shown.results["sr"].series_number)
    viewer.wait_for_text("Volume:")
    script = (
        "() => services.displaySetService.getActiveDisplaySets().filter(d => d.Modality === 'SR' && d.measurements)"
        ".flatMap(d => d.measurements).map(m => [m.TrackingIdentifier, m.loaded])"
    )
    assert viewer.page.evaluate(script) == [[segment.label, True] for segment in shown.findings.segments]


def test_the_summary_is_a_picture(shown: Shown) -> None:
    viewer = shown.viewer
    viewer.open(shown.study_instance_uid)
    viewer.show(shown.results["sc"].series_number)
    viewer.wait_for_text("1/1")
    assert viewer.comes_to_show(lambda pixels: min(len(like(pixels, RED)), len(like(pixels, BLUE))) > 500)
    viewer.screenshot(shown.folder / "sc.png")
    assert viewer.errors == []


def test_the_reason_for_no_analysis_is_read_as_text(shown: Shown) -> None:
    viewer = shown.viewer
    viewer.open(shown.study_instance_uid)
    viewer.show(shown.results["not analysed"].series_number)
    viewer.wait_for_text("Not analysed, because the images end above the diaphragm", "Intended use: Finds shapes")
    viewer.screenshot(shown.folder / "not_analysed.png")
    assert viewer.errors == []
