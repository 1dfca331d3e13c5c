"""A model that somebody brings: the package of docs/models.md, named in the configuration, and its results at the PACS."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from dicom_node.results.reading import numbers_of, segments_of
from inference.scaffold import ABOVE_HU
from inference.series import read_series
from tests.acceptance.node import NodeUnderTest, configuration, dicom_node
from tests.acceptance.pacs import destination, storescu
from tests.acceptance.studies import made_study
from tests.conformance.validators import dciodvfy_errors
from tests.orthanc import Orthanc
from tests.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(PATIENCE_S)]


def documented_commands() -> list[list[str]]:
    """Those of docs/models.md, in their order."""
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    block = text.partition("## From nothing to results at the PACS")[2].partition("```sh\n")[2].partition("```")[0]
    found = [line.partition("#")[0].split() for line in block.splitlines()]
    assert [words[:3] for words in found] == [["dicom-node", "models", name] for name in ("new", "check", "activate")]
    return [words[1:] for words in found]


def test_a_new_package_outlines_what_is_dense_and_its_results_come_to_the_pacs(
    orthanc: Orthanc, peer: Callable[[str], str], tmp_path: Path
) -> None:
    study = made_study(tmp_path / "study", "somebody's model")
    routes = [{"name": "demo", "when": {"Modality": "CT"}, "models": ["demo_seg"], "destinations": ["results"]}]
    tree = configuration(models=[{"name": "demo_seg"}], routes=routes, destinations=[destination(orthanc)])
    node = NodeUnderTest(tmp_path, tree)
    for command in documented_commands():
        done = dicom_node(*command, folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    with node.running():
        storescu(peer("storescu"), node.port, *study.files)
        wait_until(lambda: node.settled(study.uid))
    held = [dcmread(BytesIO(content)) for content in orthanc.held().values()]
    results = {
        str(item.Modality): item for item in held if item.StudyInstanceUID == study.uid and item.Modality != "CT"
    }
    assert set(results) == {"SEG", "SR", "OT"}
    volume = read_series([dcmread(path) for path in study.files]).volumes[0]
    (segment,) = segments_of(results["SEG"], volume).segments
    # All that is dense is one part with the phantom's body; nothing of it is small enough to be taken away.
    assert np.array_equal(segment.mask, volume.voxels > ABOVE_HU)
    (ml,) = [number.value for number in numbers_of(results["SR"]) if number.name == "Volume"]
    assert ml == pytest.approx(segment.mask.sum() * volume.voxel_volume_ml, rel=1e-4)
    for modality, item in results.items():
        path = tmp_path / f"{modality}.dcm"
        item.save_as(path)
        assert dciodvfy_errors(peer("dciodvfy"), path) == []
