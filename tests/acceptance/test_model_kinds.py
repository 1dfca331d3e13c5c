"""Models of several kinds on a running node: a bundle of the Zoo's layout by its name in config.yaml, and one that is sampled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydicom import dcmread

from dicom_node.phantom import chest_ct
from tests.acceptance.node import NodeUnderTest, configuration
from tests.acceptance.pacs import storescu
from tests.conformance.model_jobs import SCALED
from tests.conformance.validators import dciodvfy_errors
from tests.inference.made_models import DENSE, NOT_INPUT, written
from tests.inference.made_networks import Denoiser, traced
from tests.inference.test_bundle import bundle
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.timeout(PATIENCE_S)

PROBABILITY = {"value": "122157", "scheme": "DCM", "meaning": "Probability"}
ONE_WINDOW = {"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 16], "sw_batch_size": 1}
ONE = {"value": "1", "scheme": "UCUM", "meaning": "no units"}


def sampled(folder: Path) -> Path:
    """A denoiser that the node samples, slice by slice: a segment and its probability."""
    content = traced(Denoiser(axes=2), torch.rand(4, 2, 32, 32), torch.tensor([1, 1, 1, 1]))
    share = {"key": "share", "label": "Probability", "quantity": PROBABILITY, "unit": ONE, "shown": [0.0, 1.0]}
    return written(
        folder,
        content,
        name="drawn_seg",
        weights=[{"file": "network.pt", "sha256": hashlib.sha256(content).hexdigest()}],
        preprocessing=SCALED,
        use={"mode": "slices", "sampler": {"kind": "ddim", "steps": 4, "seed": 3, "ensemble": 2}},
        postprocessing={"decide": "threshold"},
        outputs={
            "segments": [DENSE | {"index": 0}],
            "maps": [share],
            "not_analysed": {"input_refused": NOT_INPUT},
        },
    )


@pytest.mark.long
def test_a_bundle_of_the_zoo_and_a_sampled_network_leave_valid_results(
    peer: Callable[[str], str], tmp_path: Path
) -> None:
    models = [
        {"name": "abdominal_ct", "folder": str(bundle(tmp_path / "zoo", inferer=ONE_WINDOW))},
        {"name": "drawn_seg", "folder": str(sampled(tmp_path / "drawn"))},
    ]
    routes = [
        {"name": "ct", "when": {"Modality": "CT"}, "models": [item["name"] for item in models], "destinations": ["out"]}
    ]
    kinds = ["seg", "sr", "parametric_map"]
    destinations = [{"name": "out", "type": "folder", "path": "results", "results": kinds}]
    node = NodeUnderTest(tmp_path, configuration(models=models, routes=routes, destinations=destinations))
    phantom = chest_ct(slices=12, rows=32, identity="kinds of models")
    study, files = str(phantom.datasets[0].StudyInstanceUID), phantom.write(tmp_path / "study")
    with node.running():
        storescu(peer("storescu"), node.port, *files)
        wait_until(lambda: node.settled(study))
    results = sorted((tmp_path / "results").rglob("*.dcm"))
    # A Parametric Map has the modality of the images that it is made of.
    assert sorted(str(dcmread(path).Modality) for path in results) == ["CT", "SEG", "SEG", "SR", "SR"], node.log()
    for path in results:
        assert dciodvfy_errors(peer("dciodvfy"), path) == []
