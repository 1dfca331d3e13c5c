"""Weights of a named network as safetensors: the same network, and nothing of the file is run or believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets import BasicUNet
from safetensors.torch import save

from inference.bundle import manifest_of
from inference.errors import PackageError
from inference.package import load_package
from inference.runtimes import monai_bundle
from tests.inference.test_bundle import bundle, network

CPU = torch.device("cpu")
ARGUMENTS: dict[str, Any] = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "features": [4, 4, 4, 4, 4, 4]}


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return dict(BasicUNet(**ARGUMENTS).state_dict())


def load(content: bytes) -> torch.nn.Module:
    return monai_bundle.load(BytesIO(content), CPU, "BasicUNet", ARGUMENTS)


def test_a_network_is_the_same_by_safetensors_and_by_a_checkpoint(weights: dict[str, torch.Tensor]) -> None:
    checkpoint = BytesIO()
    torch.save(weights, checkpoint)
    image = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        one, other = load(save(weights))(image), load(checkpoint.getvalue())(image)
    assert torch.equal(one, other)


def header(content: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    length = int.from_bytes(content[:8], "little")
    tree = json.loads(content[8 : 8 + length])
    change(tree)
    told = json.dumps(tree).encode()
    return len(told).to_bytes(8, "little") + told + content[8 + length :]


def first(tree: dict[str, Any]) -> dict[str, Any]:
    return next(value for name, value in tree.items() if name != "__metadata__")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tree: first(tree).update(data_offsets=[0, 10**15]), "no sound safetensors"),
        (lambda tree: first(tree).update(shape=[10**9, 10**9]), "no sound safetensors"),
        (lambda tree: first(tree).update(dtype="OBJECT"), "no sound safetensors"),
        (lambda tree: tree.update(more={"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}), "no sound safetensors"),
        (lambda tree: tree.pop(next(name for name in tree if name != "__metadata__")), "no sound safetensors"),
    ],
)
def test_a_header_that_lies_is_refused(
    change: Callable[[dict[str, Any]], object], reason: str, weights: dict[str, torch.Tensor]
) -> None:
    with pytest.raises(PackageError, match=reason):
        load(header(save(weights), change))


def test_tensors_of_another_network_are_refused(weights: dict[str, torch.Tensor]) -> None:
    with pytest.raises(PackageError, match="the weights do not fit network BasicUNet"):
        load(save({name: tensor for name, tensor in weights.items() if "final_conv" not in name}))


def test_what_only_begins_as_safetensors_do_is_refused() -> None:
    with pytest.raises(PackageError, match="no sound safetensors"):
        load((20).to_bytes(8, "little") + b"{" + b"x" * 40)
    with pytest.raises(PackageError, match="would be run as code: refused"):
        load((2**40).to_bytes(8, "little") + b"{" + b"x" * 40)


def test_a_bundle_with_safetensors_is_taken_by_them(tmp_path: Path) -> None:
    folder = bundle(tmp_path)
    (folder / "models" / "model.safetensors").write_bytes(save(dict(network().state_dict())))
    assert load_package(folder).manifest.weights[0].file == "models/model.safetensors"
    digests = {"models/model.safetensors": "0" * 64}
    assert manifest_of(folder, digests)["runtime"]["kind"] == "monai_bundle"
