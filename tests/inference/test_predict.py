"""From volume to coded findings: the contract first, then the model, then nothing that its manifest does not declare."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydicom.dataset import Dataset

from inference.devices import chosen_device
from inference.errors import InferenceError
from inference.package import BUILT_IN, Package, load_package
from inference.predict import contrast_agent_of, facts_of, predict
from inference.runtimes.python import Analysis, coded
from tests.inference.chests import turned, volume_from


@pytest.fixture(scope="module")
def package() -> Package:
    return load_package(BUILT_IN / "ct_lung_density")


def test_facts_of_a_volume_are_those_of_its_grid() -> None:
    voxels = np.zeros((30, 40, 50), np.float32)
    volume = volume_from(voxels, (8.0, 0.7, 0.7), ConvolutionKernel=["Br38f", "3"], ImageType="ORIGINAL")
    facts = facts_of(volume)
    assert (facts.instances, facts.rows, facts.columns) == (30, 40, 50)
    assert (facts.slice_spacing_mm, facts.coverage_mm) == (8.0, 240.0)
    assert facts.image_orientation == pytest.approx((1, 0, 0, 0, 1, 0))
    assert facts.convolution_kernel == "Br38f 3"
    assert facts.image_type == ("ORIGINAL",)
    assert facts.pixel_spacing_mm == (0.7, 0.7)
    assert facts_of(turned(volume, (2, 1, 0), (False, False, False))).orientation == "sagittal"


def test_a_contrast_agent_is_found_by_its_name_or_its_code_and_of_no_image_nothing_is_known() -> None:
    header, agent = Dataset(), Dataset()
    assert contrast_agent_of(header) is None
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    assert contrast_agent_of(header) == ""
    agent.CodeMeaning = "Iohexol"
    header.ContrastBolusAgentSequence = [agent]
    assert contrast_agent_of(header) == "Iohexol"
    header.ContrastBolusAgent = "Omnipaque"
    assert contrast_agent_of(header) == "Omnipaque"


def test_a_volume_outside_the_contract_is_not_analysed_and_says_all_reasons(package: Package) -> None:
    volume = volume_from(np.zeros((4, 64, 64), np.float32), (12.0, 1.0, 1.0), Modality="MR")
    findings = predict(volume, package)
    assert findings.not_analysed is not None
    assert findings.not_analysed.code.value == "NOTINPUT"
    assert findings.not_analysed.text == (
        "modality MR is not CT; 4 images < 20; slice spacing 12.0 mm > 10.0 mm; images cover 48 mm < 150 mm"
    )


def test_cuda_that_is_not_there_is_an_error_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen_device("auto") == torch.device("cpu")
    with pytest.raises(InferenceError, match="device cuda is asked for"):
        chosen_device("cuda")


@pytest.mark.parametrize(
    "analysis",
    [
        Analysis(masks={"liver": np.zeros((1, 1, 1), np.bool_)}),
        Analysis(masks={"left_lung": np.zeros((1, 1, 1), np.bool_)}, values={("left_lung", "mass"): 1.0}),
        Analysis(remarks=(("mood", "text"),)),
        Analysis(refusal=("mood", "text")),
    ],
)
def test_an_answer_that_the_manifest_does_not_declare_is_refused(package: Package, analysis: Analysis) -> None:
    with pytest.raises(InferenceError, match="which its manifest does not declare"):
        coded(analysis, package)


def test_segments_come_in_the_order_of_the_manifest(package: Package) -> None:
    mask = np.zeros((1, 1, 1), np.bool_)
    findings = coded(Analysis(masks={"airways": mask, "left_lung": mask, "right_lung": mask}), package)
    assert [segment.key for segment in findings.segments] == ["right_lung", "left_lung", "airways"]
    assert findings.segments[0].laterality is not None
    assert findings.segments[0].laterality.meaning == "Right"
