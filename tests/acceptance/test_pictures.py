"""Images without a place in the patient on their way: a radiograph and an ultrasound cine, pushed, analysed, and at the PACS."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from dicom_node.results.reading import numbers_of
from tests.acceptance.node import NodeUnderTest, configuration
from tests.acceptance.pacs import destination, storescu
from tests.conformance.validators import dciodvfy_errors
from tests.dicom_node.test_job_pictures import SEGMENTED, by_highdicom, images_of
from tests.inference.made_models import Above, torchscript, written
from tests.inference.made_pictures import clip, disc, radiograph
from tests.inference.made_pictures import written as written_images
from tests.orthanc import Orthanc
from tests.waiting import PATIENCE_S, wait_until

# Each kind of picture goes through a job in tests/dicom_node/test_job_pictures.py.
pytestmark = [pytest.mark.long, pytest.mark.timeout(PATIENCE_S)]


def route(modality: str, model: str) -> dict[str, Any]:
    return {"name": model, "when": {"Modality": modality}, "models": [model], "destinations": ["results"]}


def test_a_radiograph_and_a_cine_come_to_the_pacs_with_their_findings_on_image_and_frame(
    orthanc: Orthanc, peer: Callable[[str], str], tmp_path: Path
) -> None:
    network = torchscript(Above(100.0, axes=2))
    folders = {
        modality: written(
            tmp_path / name,
            network,
            name=name,
            input={"modality": modality, "images": "each"},
            outputs=SEGMENTED,
        )
        for modality, name in (("CR", "chest_cr"), ("US", "cine_us"))
    }
    frames = np.stack([np.repeat(disc((40, 50), (20, 8 + 9 * n), 5, 200, 20)[..., None], 3, -1) for n in range(4)])
    sources = {
        "CR": radiograph(disc((60, 50), (30, 20), 9, 3000, 50), name="acceptance cr", PixelSpacing=[0.2, 0.2]),
        "US": clip(frames.astype(np.uint8), name="acceptance us"),
    }
    tree = configuration(
        models=[{"name": folder.name, "folder": str(folder)} for folder in folders.values()],
        routes=[route(modality, folder.name) for modality, folder in folders.items()],
        destinations=[destination(orthanc)],
        completeness={"settle_s": 0.5, "quiet_s": 5},
    )
    node = NodeUnderTest(tmp_path, tree)
    with node.running():
        files = written_images(list(sources.values()), tmp_path / "sent")
        storescu(peer("storescu"), node.port, *files)
        for source in sources.values():
            wait_until(lambda uid=source.StudyInstanceUID: node.settled(str(uid)))  # type: ignore[misc]
    held = [dcmread(BytesIO(content)) for content in orthanc.held().values()]
    for modality, source in sources.items():
        found = {
            str(item.Modality): item
            for item in held
            if item.StudyInstanceUID == source.StudyInstanceUID and item.SOPInstanceUID != source.SOPInstanceUID
        }
        assert set(found) == {"SEG", "SR", "OT"}, node.log()
        stored = frames[..., 0] if modality == "US" else source.pixel_array[None]
        assert np.array_equal(by_highdicom(found["SEG"], source), stored > 100)
        numbers = [1, 2, 3, 4] if modality == "US" else [None]
        assert images_of(found["SR"]) == [(source.SOPInstanceUID, number) for number in numbers]
        mm = 0.5 if modality == "US" else 0.2
        areas = [np.count_nonzero(frame > 100) * mm * mm for frame in stored]
        assert [number.value for number in numbers_of(found["SR"])] == pytest.approx(areas, rel=1e-4)
        for name, item in found.items():
            path = tmp_path / f"{modality}_{name}.dcm"
            item.save_as(path)
            assert dciodvfy_errors(peer("dciodvfy"), path) == []
