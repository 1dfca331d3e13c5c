"""Packages without code, made in a test: networks whose answer is known because it was chosen."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import onnx
import torch
import yaml
from torch import Tensor, nn

from inference.package import MANIFEST, Package, load_package

LUNG = {"value": "39607008", "scheme": "SCT", "meaning": "Lung"}
ANATOMY = {"value": "91723000", "scheme": "SCT", "meaning": "Anatomical Structure"}
EMPHYSEMA = {"value": "87433001", "scheme": "SCT", "meaning": "Pulmonary emphysema"}
ML = {"value": "mL", "scheme": "UCUM", "meaning": "milliliter"}
HU = {"value": "[hnsf'U]", "scheme": "UCUM", "meaning": "Hounsfield unit"}
NOT_INPUT = {"value": "NOTINPUT", "scheme": "99TEST", "meaning": "Not what the model takes"}
DENSE = {
    "key": "dense",
    "label": "Dense",
    "category": ANATOMY,
    "type": LUNG,
    "color_rgb": [1, 2, 3],
    "index": 1,
}


class Above(nn.Module):
    """Two channels: 0, and how far the first channel of the image is above a value. Their larger one tells."""

    def __init__(self, value: float, axes: int = 3) -> None:
        super().__init__()
        kind = nn.Conv3d if axes == 3 else nn.Conv2d
        self.tell = kind(1, 2, 1)
        with torch.no_grad():
            self.tell.weight.copy_(torch.tensor([0.0, 1.0]).view(2, 1, *[1] * axes))
            self.tell.bias.copy_(torch.tensor([0.0, -value]))  # type: ignore[union-attr]

    def forward(self, image: Tensor) -> Tensor:
        told: Tensor = self.tell(image[:, :1])
        return told


class MeanOf(nn.Module):
    """(1, 2): the mean of the image in thousands, and its negative."""

    def forward(self, image: Tensor) -> Tensor:
        mean = image.mean(dim=(1, 2, 3, 4)) / 1000
        return torch.stack([mean, -mean], dim=1)


class FixedBoxes(nn.Module):
    def __init__(self, corners: list[list[float]], scores: list[float], classes: list[int]) -> None:
        super().__init__()
        self.corners = nn.Buffer(torch.tensor(corners))
        self.scores = nn.Buffer(torch.tensor(scores))
        self.classes = nn.Buffer(torch.tensor(classes))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.corners + 0 * image.mean(), self.scores + 0, self.classes + 0


def torchscript(network: nn.Module) -> bytes:
    content = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(network.eval()), content)
    return content.getvalue()


def torch_export(network: nn.Module, example: Tensor, dynamic: Mapping[int, Any]) -> bytes:
    content = BytesIO()
    torch.export.save(torch.export.export(network.eval(), (example,), dynamic_shapes=(dict(dynamic),)), content)
    return content.getvalue()


def onnx_above(value: float) -> bytes:
    """What `Above` is, as ONNX: for an image of any size."""
    image = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["b", 1, "x", "y", "z"])
    told = onnx.helper.make_tensor_value_info("told", onnx.TensorProto.FLOAT, ["b", 2, "x", "y", "z"])
    weights = onnx.helper.make_tensor("weights", onnx.TensorProto.FLOAT, [2, 1, 1, 1, 1], [0.0, 1.0])
    bias = onnx.helper.make_tensor("bias", onnx.TensorProto.FLOAT, [2], [0.0, -value])
    node = onnx.helper.make_node("Conv", ["image", "weights", "bias"], ["told"])
    graph = onnx.helper.make_graph([node], "above", [image], [told], [weights, bias])
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = made.SerializeToString()
    return content


def manifest(content: bytes, **changes: Any) -> dict[str, Any]:
    """Of a network that segments what is dense on any CT."""
    tree: dict[str, Any] = {
        "name": "demo_seg",
        "version": "1.0.0",
        "title": "Demo",
        "manufacturer": "Test",
        "intended_use": "Tests.",
        "limits": ["None of it is true."],
        "runtime": {"kind": "torchscript", "file": "network.pt"},
        "weights": [{"file": "network.pt", "sha256": hashlib.sha256(content).hexdigest()}],
        "input": {"modality": "CT"},
        "preprocessing": {},
        "use": {},
        "postprocessing": {},
        "outputs": {"segments": [DENSE], "not_analysed": {"input_refused": NOT_INPUT}},
        "resources": {"timeout_s": 60.0, "device": "cpu"},
    }
    return tree | changes


def written(folder: Path, content: bytes, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tree = manifest(content, **changes)
    (folder / tree["runtime"]["file"]).write_bytes(content)
    (folder / MANIFEST).write_text(yaml.safe_dump(tree))
    return folder


def package(folder: Path, content: bytes, **changes: Any) -> Package:
    return load_package(written(folder, content, **changes))
