"""A study pushed to the running node comes back to the PACS as SEG, SR, SC and PDF that validators accept and OHIF shows."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread

from dicom_node.phantom import chest_ct
from dicom_node.results.reading import numbers_of, segments_of
from inference.findings import Segment
from inference.series import read_series
from tests.acceptance.node import NodeUnderTest, configuration
from tests.conformance.readers import dcmqi_masks
from tests.conformance.validators import dciodvfy_errors, dsrdump_errors, pixelmed_errors
from tests.conftest import SHARED_DATA
from tests.orthanc import Orthanc
from tests.viewer.ohif import Viewer, pacs_of, showing
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.timeout(PATIENCE_S)

REAL_STUDY = SHARED_DATA / "ct_chest_ge_tcga-34-2605"
PICTURE = Path(__file__).parents[2] / "docs" / "ohif.png"
# Set, the phantom is sent and the picture in the documentation is made anew: no patient stands in it.
REMAKE_PICTURE = "REMAKE_PICTURE" in os.environ


@dataclass(frozen=True)
class Delivered:
    """The study as the PACS holds it after the node sent its results there."""

    study_instance_uid: str
    images: list[Dataset]
    results: dict[str, Path]
    orthanc: Orthanc
    folder: Path

    def dataset(self, modality: str) -> Dataset:
        return dcmread(self.results[modality])


@pytest.fixture(scope="module")
def delivered(peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Delivered]:
    programs = {name: peer(name) for name in ("storescu", "dcmsend")}
    folder = tmp_path_factory.mktemp("node-in-ohif")
    images = study_files(folder / "study")
    study = str(dcmread(images[0], stop_before_pixels=True).StudyInstanceUID)
    with pacs_of(peer, folder / "orthanc").running() as orthanc:
        # The scanner sends to both, as scanners do; the viewer needs the images beside the results.
        orthanc.store(programs["dcmsend"], images)
        pacs = {"name": "pacs", "type": "dicom", "ae_title": orthanc.ae_title, "address": "127.0.0.1"}
        pacs |= {"results": ["seg", "sr", "sc", "pdf"]}
        routes = [{"name": "ct", "when": {"Modality": "CT"}, "models": ["ct_lung_density"], "destinations": ["pacs"]}]
        tree = configuration(destinations=[pacs | {"port": orthanc.dicom_port}], routes=routes)
        node = NodeUnderTest(folder, tree)
        with node.running():
            push = [programs["storescu"], "-aec", "DICOM-NODE", "127.0.0.1", str(node.port), *map(str, images)]
            subprocess.run(push, check=True, capture_output=True)
            wait_until(lambda: node.settled(study))
        results = {}
        for content in orthanc.held().values():
            modality = str(dcmread(BytesIO(content), stop_before_pixels=True).Modality)
            if modality != "CT":
                assert modality not in results, f"more than one {modality} at the PACS"
                results[modality] = folder / f"{modality}.dcm"
                results[modality].write_bytes(content)
        yield Delivered(study, [dcmread(path) for path in images], results, orthanc, folder)


@pytest.fixture(scope="module")
def viewer(delivered: Delivered, peer: Callable[[str], str]) -> Iterator[Viewer]:
    with showing(delivered.orthanc, peer("chromium"), delivered.folder / "profile") as opened:
        yield opened


def study_files(folder: Path) -> list[Path]:
    """The real chest CT where it is at hand, else the phantom."""
    if REAL_STUDY.is_dir() and not REMAKE_PICTURE:
        return sorted(path for path in REAL_STUDY.rglob("*") if path.is_file())
    return chest_ct(slices=60, rows=256, identity="ohif").write(folder)


def segments_in(delivered: Delivered) -> tuple[Segment, ...]:
    volume = read_series(delivered.images, tilt="keep").volumes[0]
    return segments_of(delivered.dataset("SEG"), volume).segments


def test_the_pacs_holds_one_of_each_and_no_validator_finds_an_error(
    delivered: Delivered, peer: Callable[[str], str]
) -> None:
    assert set(delivered.results) == {"SEG", "SR", "OT", "DOC"}
    for path in delivered.results.values():
        assert dciodvfy_errors(peer("dciodvfy"), path) == []
    assert pixelmed_errors(peer("java"), delivered.results["SR"]) == []
    assert dsrdump_errors(peer("dsrdump"), delivered.results["SR"]) == []


def test_dcmqi_reads_the_same_masks_voxel_by_voxel(delivered: Delivered, peer: Callable[[str], str]) -> None:
    volume = read_series(delivered.images, tilt="keep").volumes[0]
    masks = dcmqi_masks(peer("segimage2itkimage"), delivered.results["SEG"], volume, delivered.folder / "dcmqi")
    for segment, read in zip(segments_of(delivered.dataset("SEG"), volume).segments, masks, strict=True):
        assert segment.mask.any()
        assert np.array_equal(read, segment.mask), segment.label


def test_ohif_shows_the_masks(delivered: Delivered, viewer: Viewer) -> None:
    viewer.open(delivered.study_instance_uid)
    viewer.show(int(delivered.dataset("SEG").SeriesNumber))
    labels = [segment.label for segment in segments_in(delivered)]
    viewer.wait_for_segments(*labels)
    viewer.go_to_image(len(delivered.images) // 2)
    assert viewer.comes_to_show(lambda pixels: bool(((pixels.max(axis=2) - pixels.min(axis=2)) > 30).sum() > 5_000))
    assert viewer.errors == []
    viewer.screenshot(delivered.folder / "seg.png")


def test_ohif_shows_the_numbers_of_the_report(delivered: Delivered, viewer: Viewer) -> None:
    viewer.open(delivered.study_instance_uid)
    viewer.show(int(delivered.dataset("SR").SeriesNumber))
    right = next(
        number
        for number in numbers_of(delivered.dataset("SR"))
        if (number.about, number.name) == ("Right lung", "Volume")
    )
    viewer.wait_for_text(f"Volume: {right.value:.2f} mL")
    assert viewer.errors == []
    viewer.screenshot(delivered.folder / "sr.png")


def test_ohif_shows_the_summary(delivered: Delivered, viewer: Viewer) -> None:
    viewer.open(delivered.study_instance_uid)
    viewer.show(int(delivered.dataset("OT").SeriesNumber))
    viewer.wait_for_text("1/1")
    assert viewer.comes_to_show(lambda pixels: bool((pixels.max(axis=2) > 200).sum() > 1_000))
    assert viewer.errors == []
    viewer.screenshot(delivered.folder / "sc.png")
    if REMAKE_PICTURE:
        remake_picture([delivered.folder / name for name in ("seg.png", "sr.png")])


def test_ohif_shows_the_page(delivered: Delivered, viewer: Viewer) -> None:
    viewer.open(delivered.study_instance_uid)
    viewer.show(int(delivered.dataset("DOC").SeriesNumber))
    document = viewer.wait_for_document()
    assert document == bytes(delivered.dataset("DOC").EncapsulatedDocument)[: len(document)]
    assert document.startswith(b"%PDF-")
    assert viewer.errors == []
    viewer.screenshot(delivered.folder / "pdf.png")


def remake_picture(shots: list[Path]) -> None:
    """Masks and numbers, side by side."""
    images = [Image.open(shot) for shot in shots]
    picture = Image.new("RGB", (sum(image.width for image in images), images[0].height))
    for number, image in enumerate(images):
        picture.paste(image, (number * images[0].width, 0))
    picture.resize((picture.width * 2 // 3, picture.height * 2 // 3)).save(PICTURE, optimize=True)
