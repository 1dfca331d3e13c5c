"""Each architecture and task from a package to results at the end: what the network itself says is in valid objects."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from pydicom.dataset import Dataset
from torch import Tensor, nn

from dicom_node.attempt import run_attempt
from dicom_node.results.reading import answers_of, comments_of, numbers_of, walk
from inference.package import Package, load_package
from tests.conformance.model_jobs import SCALED, Results, Stored, run, spec_of, stored_chest
from tests.inference import made_networks
from tests.inference.made_models import ANATOMY, DENSE, EMPHYSEMA, HU, ML, NOT_INPUT, package, torchscript
from tests.inference.made_networks import Centred, exported, onnx_of, traced
from tests.inference.test_bundle import bundle

pytestmark = pytest.mark.usefixtures("in_this_process")

Peer = Callable[[str], str]
VOLUME = {"value": "118565006", "scheme": "SCT", "meaning": "Volume"}
ATTENUATION = {"value": "112031", "scheme": "DCM", "meaning": "Attenuation Coefficient"}
PROBABILITY = {"value": "122157", "scheme": "DCM", "meaning": "Probability"}
ONE_WINDOW = {"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 16], "sw_batch_size": 1}
ONE = {"value": "1", "scheme": "UCUM", "meaning": "no units"}
NODULE = {"value": "27925004", "scheme": "SCT", "meaning": "Nodule"}
NONE_ANALYSED = {"not_analysed": {"input_refused": NOT_INPUT}}
SEGMENTS = {
    "segments": [DENSE],
    "measurements": [
        {"key": "volume", "name": VOLUME, "unit": ML, "compute": "volume"},
        {"key": "mean", "name": ATTENUATION, "unit": HU, "compute": "mean"},
    ],
    **NONE_ANALYSED,
}
WINDOWS = {"mode": "windows", "patch": [16, 16, 16], "overlap": 0.5}


@pytest.fixture(autouse=True)
def where_models_run(request: pytest.FixtureRequest) -> None:
    """Here, without the seconds that a model process takes to start; long tests, and that of diffusion, use one."""
    if not request.node.get_closest_marker("long") and "drawn_by_diffusion" not in request.node.name:
        request.getfixturevalue("in_this_process")


@pytest.fixture(scope="module")
def chest(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    return stored_chest(tmp_path_factory.mktemp("objects"))


def made(folder: Path, content: bytes, kind: str = "torchscript", **changes: Any) -> Package:
    file = "network.onnx" if kind == "onnx" else "network.pt"
    return package(
        folder / "model",
        content,
        runtime={"kind": kind, "file": file},
        weights=[{"file": file, "sha256": hashlib.sha256(content).hexdigest()}],
        **({"preprocessing": SCALED, "outputs": SEGMENTS} | changes),
    )


def labels(network: nn.Module, image: Tensor) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Where the second of two channels wins, by the network in this process."""
    with torch.inference_mode():
        told = network.eval()(image)[0]
    found = (told[1] > told[0]).numpy()
    assert 0.05 < found.mean() < 0.95
    return found  # type: ignore[no-any-return]


def assert_segmented(results: Results, chest: Stored, expected: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    """The SEG holds the network's voxels, the SR their number, and no validator minds."""
    assert results.errors == {}
    assert set(results.datasets) == {"seg", "sr"}
    mask = results.mask(chest)
    # Where the channels are equal but for rounding, a voxel may fall to either side.
    assert np.count_nonzero(mask != expected) <= max(2, expected.size // 10_000)
    (ml,) = [number.value for number in numbers_of(results.report) if number.name == "Volume"]
    assert ml == pytest.approx(mask.sum() * chest.volume.voxel_volume_ml, rel=1e-4)


def example() -> Tensor:
    torch.manual_seed(0)
    return torch.rand(2, 1, 16, 16, 16)


SEGMENTERS: dict[str, Callable[[Tensor], nn.Module]] = {
    "U-Net": made_networks.unet,
    "SegResNet": made_networks.segresnet,
    "mixture of experts": lambda image: Centred(made_networks.MixtureOfExperts(), image),
}
WAYS: dict[str, Callable[[nn.Module, Tensor], bytes]] = {
    "torchscript": traced,
    "torch_export": exported,
    "onnx": onnx_of,
}


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        pytest.param(name, kind, marks=[] if (name, kind) in fast else pytest.mark.long)
        for fast in [{("U-Net", "torchscript"), ("mixture of experts", "torch_export"), ("SegResNet", "onnx")}]
        for name in SEGMENTERS
        for kind in WAYS
    ],
)
def test_a_segmentation_network_of_each_architecture_in_each_format(
    architecture: str, kind: str, chest: Stored, peer: Peer, tmp_path: Path
) -> None:
    """One large window of 16 x 32 x 32, so that the network in this process says what is expected."""
    network = SEGMENTERS[architecture](chest.image)
    content = WAYS[kind](network, chest.image)
    results = run(spec_of(chest, made(tmp_path, content, kind, use={"batch": 1})), peer("dciodvfy"))
    assert_segmented(results, chest, labels(network, chest.image))


def test_a_bundle_of_the_zoo_is_run_as_it_is(chest: Stored, peer: Peer, tmp_path: Path) -> None:
    results = run(spec_of(chest, load_package(bundle(tmp_path, inferer=ONE_WINDOW))), peer("dciodvfy"))
    assert results.errors == {}
    found = [number.about for number in numbers_of(results.report) if number.name == "Volume"]
    assert found == ["Left_kidney", "Spleen"]


def test_windows_of_a_network_are_blended(chest: Stored, peer: Peer, tmp_path: Path) -> None:
    """A network that looks at each voxel by itself says the same by windows as of the whole."""

    class VoxelWise(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return torch.cat([0.4 + 0 * image, image], dim=1)

    results = run(spec_of(chest, made(tmp_path, torchscript(VoxelWise()), use=WINDOWS)), peer("dciodvfy"))
    assert_segmented(results, chest, chest.image[0, 0].numpy() > 0.4)


def test_a_vision_transformer_classifies(chest: Stored, peer: Peer, tmp_path: Path) -> None:
    """Three findings in one answer, on an image that is brought to the size that the network knows."""
    size = (8, 16, 16)
    network = made_networks.VisionTransformer(size).eval()
    scaled = nn.functional.interpolate(chest.image, size, mode="trilinear")
    with torch.inference_mode():
        expected = torch.sigmoid(network(scaled))[0].tolist()
    item = {"label": "Emphysema", "finding": EMPHYSEMA, "threshold": 0.5}
    findings = [item | {"key": f"finding_{index}", "index": index} for index in range(3)]
    changes = {
        "preprocessing": SCALED | {"size": list(size)},
        "postprocessing": {"activation": "sigmoid"},
        "outputs": {"classifications": findings, **NONE_ANALYSED},
    }
    results = run(spec_of(chest, made(tmp_path, traced(network, scaled), **changes), ("sr",)), peer("dciodvfy"))
    assert results.errors == {}
    told = [number.value for number in numbers_of(results.report) if number.name == "Probability"]
    assert told == pytest.approx([100 * share for share in expected], abs=1e-2)
    assert len(answers_of(results.report)) >= 3


@pytest.mark.long
@pytest.mark.parametrize("kind", ["torchscript", "torch_export"])
def test_a_swin_unetr_segments(kind: str, peer: Peer, tmp_path: Path) -> None:
    chest = stored_chest(tmp_path / "objects", slices=32, rows=64)
    network = made_networks.swin_unetr(chest.image)
    results = run(spec_of(chest, made(tmp_path, WAYS[kind](network, chest.image), kind)), peer("dciodvfy"))
    assert_segmented(results, chest, labels(network, chest.image))


def test_slices_with_their_neighbours_are_segmented(chest: Stored, peer: Peer, tmp_path: Path) -> None:
    """2.5D: of each slice a 2D U-Net sees the one before and the one after as channels."""
    planes = torch.nn.functional.pad(chest.image, (0, 0, 0, 0, 1, 1), mode="replicate")[0, 0]
    stacks = torch.stack([planes[index : index + 3] for index in range(16)])
    network = made_networks.unet(stacks)
    use = {"mode": "slices", "neighbours": 1, "batch": 5}
    results = run(spec_of(chest, made(tmp_path, traced(network, stacks), use=use)), peer("dciodvfy"))
    with torch.inference_mode():
        told = network(stacks)
    assert_segmented(results, chest, (told[:, 1] > told[:, 0]).numpy())


def test_several_series_go_into_one_network(chest: Stored, peer: Peer, tmp_path: Path) -> None:
    """Another phase of the study is the second channel; the report names it as evidence."""
    other = stored_chest(chest.folder, identity="phase")
    image = torch.cat([chest.image, 1 - other.image], dim=1)
    network = made_networks.unet(image)

    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, given: Tensor) -> Tensor:
            told: Tensor = self.network(torch.cat([given[:, :1], 1 - given[:, 1:]], dim=1))
            return told

    contract = {"modality": "CT", "companions": [{"name": "phase", "scope": "study", "series": {"modality": "CT"}}]}
    changes = {"input": contract, "preprocessing": SCALED | {"channels": ["series", "phase"]}}
    content = traced(Turned(), torch.cat([chest.image, other.image], dim=1))
    results = run(spec_of(chest, made(tmp_path, content, **changes), phase=other), peer("dciodvfy"))
    assert_segmented(results, chest, labels(network, image))
    assert any(_evidence(results.report, other.volume.series_instance_uid))


def _evidence(report: Dataset, series_instance_uid: str) -> list[bool]:
    studies = [
        *report.get("CurrentRequestedProcedureEvidenceSequence", ()),
        *report.get("PertinentOtherEvidenceSequence", ()),
    ]
    return [
        item.SeriesInstanceUID == series_instance_uid for study in studies for item in study.ReferencedSeriesSequence
    ]


def test_numbers_of_a_regression_are_measurements(chest: Stored, peer: Peer, tmp_path: Path) -> None:
    network = made_networks.Counts().eval()
    numbers = [
        {"key": "mean", "name": ATTENUATION, "unit": HU, "index": 0},
        {"key": "volume", "name": VOLUME, "unit": ML, "index": 1},
    ]
    changes = {"outputs": {"measurements": numbers, **NONE_ANALYSED}}
    results = run(spec_of(chest, made(tmp_path, traced(network, chest.image), **changes), ("sr",)), peer("dciodvfy"))
    assert results.errors == {}
    with torch.inference_mode():
        expected = network(chest.image)[0].tolist()
    told = {number.name: number.value for number in numbers_of(results.report)}
    assert [told["Attenuation Coefficient"], told["Volume"]] == pytest.approx(expected, rel=1e-4)


def test_boxes_of_a_detector_are_planar_findings(chest: Stored, peer: Peer, tmp_path: Path) -> None:
    network = made_networks.Detector().eval()
    kind = {"key": "nodule", "label": "Nodule", "category": ANATOMY, "type": NODULE, "index": 0, "least_score": 0.0}
    changes = {"outputs": {"detections": [kind], **NONE_ANALYSED}}
    content = exported(network, chest.image)
    results = run(spec_of(chest, made(tmp_path, content, "torch_export", **changes), ("sr",)), peer("dciodvfy"))
    assert results.errors == {}
    with torch.inference_mode():
        scores = sorted(network(chest.image)[1].tolist(), reverse=True)
    told = [number.value for number in numbers_of(results.report) if number.unit == "%"]
    assert told == pytest.approx([100 * score for score in scores], abs=1e-2)


def test_a_segmentation_is_drawn_by_diffusion_with_its_probability_and_what_is_unsure(
    chest: Stored, peer: Peer, tmp_path: Path
) -> None:
    """Windows of a denoiser, two drawings: SEG, SR, and two Parametric Maps."""
    maps = [
        {"key": "share", "label": "Probability", "quantity": PROBABILITY, "unit": ONE, "shown": [0.0, 1.0]},
        {
            "key": "unsure",
            "label": "Unsure",
            "of": "uncertainty",
            "quantity": PROBABILITY,
            "unit": ONE,
            "shown": [0.0, 0.5],
        },
    ]
    sampler = {"kind": "ddim", "steps": 4, "ensemble": 2, "seed": 20, "timesteps": "linspace", "schedule": "cosine"}
    changes = {
        "use": WINDOWS | {"overlap": 0.25, "batch": 9, "sampler": sampler},
        "postprocessing": {"decide": "threshold", "threshold": 0.5},
        "outputs": SEGMENTS | {"segments": [DENSE | {"index": 0}], "maps": maps},
    }
    content = traced(made_networks.Denoiser(), torch.rand(2, 2, 16, 16, 16), torch.tensor([5, 5]))
    spec = spec_of(chest, made(tmp_path, content, **changes), ("seg", "sr", "parametric_map"))
    results = run(spec, peer("dciodvfy"))
    assert results.errors == {}
    share, unsure = (_values(item) for item in results.datasets["parametric_map"])
    assert np.array_equal(results.mask(chest), share >= 0.5)
    assert 0.01 < results.mask(chest).mean() < 0.99
    assert float(unsure.max()) > 0.01
    assert any("seed 20, 2 drawn" in text for text in _texts(results.report))
    again = run(spec, peer("dciodvfy"))
    assert [item.PixelData for item in again.datasets["seg"]] == [item.PixelData for item in results.datasets["seg"]]


def _values(parametric_map: Dataset) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(slices, rows, columns), slices to the head as in the phantom."""
    values = np.frombuffer(parametric_map.FloatPixelData, "<f4")
    return values.reshape(int(parametric_map.NumberOfFrames), parametric_map.Rows, parametric_map.Columns)


def _texts(report: Dataset) -> list[str]:
    return [str(item.TextValue) for item in walk(report) if "TextValue" in item]


def test_an_image_is_restored_by_diffusion_and_what_changed_is_told(chest: Stored, peer: Peer, tmp_path: Path) -> None:
    """The restored image and its difference to the acquired one are Parametric Maps in HU, with numbers of both."""
    becomes = {"becomes": [-1024.0, 1024.0], "quantity": ATTENUATION, "unit": HU}
    maps = [
        {"key": "restored", "label": "Restored image", "shown": [-1000.0, 1000.0], **becomes},
        {"key": "change", "label": "Restored less acquired", "of": "difference", "shown": [-500.0, 500.0], **becomes},
    ]
    mean = {"key": "mean", "name": ATTENUATION, "unit": HU, "compute": "mean", "of": ["change"]}
    changes = {
        "use": {"mode": "slices", "neighbours": 1, "sampler": {"kind": "ddim", "steps": 4, "prediction": "v"}},
        "outputs": {"maps": maps, "measurements": [mean], **NONE_ANALYSED},
    }
    content = traced(made_networks.Denoiser(axes=2, inputs=4), torch.rand(2, 4, 32, 32), torch.tensor([5, 5]))
    spec = spec_of(chest, made(tmp_path, content, **changes), ("sr", "sc", "parametric_map"))
    results = run(spec, peer("dciodvfy"))
    assert results.errors == {}
    restored, change = (_values(item) for item in results.datasets["parametric_map"])
    assert change == pytest.approx(restored - chest.volume.voxels, abs=1e-2)
    (told,) = [number.value for number in numbers_of(results.report)]
    assert told == pytest.approx(float(change.mean()), rel=1e-3)
    assert any("'Restored image'" in text for text in comments_of(results.report))


@pytest.mark.long
def test_a_diffusion_model_of_monai_runs_as_onnx(chest: Stored, peer: Peer, tmp_path: Path) -> None:
    content = onnx_of(made_networks.monai_denoiser(), torch.rand(2, 2, 32, 32), torch.tensor([5, 5]))
    changes = {
        "use": {"mode": "slices", "sampler": {"kind": "ddim", "steps": 3}},
        "postprocessing": {"decide": "threshold"},
        "outputs": SEGMENTS | {"segments": [DENSE | {"index": 0}]},
    }
    results = run(spec_of(chest, made(tmp_path, content, "onnx", **changes)), peer("dciodvfy"))
    assert results.errors == {}
    assert 0.01 < results.mask(chest).mean() < 0.99


@pytest.mark.parametrize("precision", ["bf16", pytest.param("fp16", marks=pytest.mark.long)])
def test_half_precision_says_nearly_the_same(precision: str, chest: Stored, peer: Peer, tmp_path: Path) -> None:
    network = made_networks.unet(chest.image)
    results = run(
        spec_of(chest, made(tmp_path, traced(network, chest.image), use={"precision": precision})), peer("dciodvfy")
    )
    assert results.errors == {}
    assert np.mean(results.mask(chest) == labels(network, chest.image)) > 0.97


def test_weights_in_int8_of_an_exported_program_say_nearly_the_same(chest: Stored, peer: Peer, tmp_path: Path) -> None:
    expected = labels(made_networks.unet(chest.image), chest.image)
    network = made_networks.quantised(made_networks.unet(chest.image), chest.image)
    content = exported(network, chest.image)
    results = run(spec_of(chest, made(tmp_path, content, "torch_export")), peer("dciodvfy"))
    assert_segmented(results, chest, labels(network, chest.image))
    assert np.mean(results.mask(chest) == expected) > 0.95
    assert any(tensor.dtype == torch.int8 for tensor in network.state_dict().values())


@pytest.mark.long
def test_what_torchao_quantises_is_run(chest: Stored, peer: Peer, tmp_path: Path) -> None:
    """The whole way: export, calibration, conversion to int8, export; each slice by a 2D U-Net."""
    slices = chest.image[0].transpose(0, 1)
    network = made_networks.unet(slices)
    content = made_networks.by_torchao(network, slices)
    results = run(
        spec_of(chest, made(tmp_path, content, "torch_export", use={"mode": "slices", "batch": 16})), peer("dciodvfy")
    )
    assert results.errors == {}
    with torch.inference_mode():
        told = network(slices)
    assert np.mean(results.mask(chest) == (told[:, 1] > told[:, 0]).numpy()) > 0.95


def test_what_onnxruntime_quantises_is_run(chest: Stored, peer: Peer, tmp_path: Path) -> None:
    """Static quantisation with QuantizeLinear and DequantizeLinear around each operation."""
    network = made_networks.unet(chest.image)
    content = made_networks.by_onnxruntime(network, chest.image, tmp_path)
    assert b"QuantizeLinear" in content
    told = onnxruntime.InferenceSession(content).run(None, {"image": chest.image.numpy()})[0][0]
    results = run(spec_of(chest, made(tmp_path, content, "onnx", use={"batch": 1})), peer("dciodvfy"))
    assert_segmented(results, chest, told[1] > told[0])
    assert np.mean(results.mask(chest) == labels(network, chest.image)) > 0.9


@pytest.mark.parametrize(
    ("prune", "share"),
    [(partial(made_networks.pruned, share=0.6), 0.55), (made_networks.pruned_two_of_four, 0.45)],
    ids=["the smallest", "two of four"],
)
def test_pruned_weights_are_run_and_their_zeros_are_those_of_the_file(
    prune: Callable[[nn.Module], nn.Module], share: float, chest: Stored, peer: Peer, tmp_path: Path
) -> None:
    centred = Centred(prune(made_networks.unet(chest.image)).network, chest.image)  # type: ignore[arg-type]
    written = made(tmp_path, traced(centred, chest.image))
    with made_networks.older_ways():
        kept = dict(torch.jit.load(written.folder / written.manifest.weights[0].file).named_parameters())
    pruned = [f"{name}.weight" for name, part in centred.named_modules() if isinstance(part, nn.Conv3d)]
    assert all(torch.equal(kept[name], weight) for name, weight in centred.named_parameters())
    assert sum(int((kept[name] == 0).sum()) for name in pruned) / sum(kept[name].numel() for name in pruned) > share
    results = run(spec_of(chest, written), peer("dciodvfy"))
    assert_segmented(results, chest, labels(centred, chest.image))


def test_a_series_that_a_contract_refuses_is_reported_with_each_reason(
    chest: Stored, peer: Peer, tmp_path: Path
) -> None:
    contract = {
        "modality": "CT",
        "convolution_kernels": ["Br[34].*"],
        "contrast": "present",
        "max_pixel_spacing_mm": 1.5,
    }
    spec = spec_of(chest, made(tmp_path, torchscript(nn.Identity()), input=contract))
    reasons = str(run_attempt(spec).not_analysed)
    assert re.fullmatch(
        r"convolution kernel B30f is not Br\[34\]\.\*; no contrast agent is stated, and the model takes images with contrast"
        r" only; pixel spacing 12\.00 mm > 1\.50 mm",
        reasons,
    )
