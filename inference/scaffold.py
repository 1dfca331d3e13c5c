"""A model package to begin with: complete, with weights that run and a golden case, to be changed into one's own."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from string import Template
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from torch import Tensor, nn

from inference.errors import PackageError
from inference.golden import write_case
from inference.manifest import NAME
from inference.package import MANIFEST, load_package
from inference.predict import predict
from inference.volume import SourceFrame, Volume

WEIGHTS, CASE = "network.pt2", "golden/block.npz"
ABOVE_HU = -200.0
_SIZE = (12, 32, 32)

_TEMPLATE = Template(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
_GOLDEN = """\
  - name: A block of water in air
    file: {case}
    sha256: {case_sha256}
    least_dice: 1.0
    relative: 1.0e-4"""


class DenserThan(nn.Module):
    """Two channels for an image of 0 to 1: nothing, and how far it is above a value."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.tell = nn.Conv3d(1, 2, 1)
        with torch.no_grad():
            self.tell.weight.copy_(torch.tensor([0.0, 100.0]).view(2, 1, 1, 1, 1))
            self.tell.bias.copy_(torch.tensor([0.0, -100.0 * value]))  # type: ignore[union-attr]

    def forward(self, image: Tensor) -> Tensor:
        told: Tensor = self.tell(image)
        return told


def write_package(folder: Path, name: str) -> Path:
    """Write a package called `name` into a folder that is not there yet, and return it.

    Its golden case expects what its network tells; so it passes its checks as it is.
    Raises PackageError where the folder is there already, or no model can have that name.
    """
    if not re.fullmatch(NAME, name):
        raise PackageError(f"a model's name must be lower case letters, digits and _, at most 48, but is {name!r}")
    if folder.exists():
        raise PackageError(f"{folder}: is there already; choose another name, or take it away")
    (folder / CASE).parent.mkdir(parents=True)
    weights = _weights()
    (folder / WEIGHTS).write_bytes(weights)
    words = {
        "folder": folder,
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "above": f"{ABOVE_HU:g}",
        "weights": WEIGHTS,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    (folder / MANIFEST).write_text(_TEMPLATE.substitute(words, golden="  []"), encoding="utf-8")
    volume = _block()
    case = write_case(volume, MappingProxyType({}), predict(volume, load_package(folder), "cpu"))
    (folder / CASE).write_bytes(case)
    golden = _GOLDEN.format(case=CASE, case_sha256=hashlib.sha256(case).hexdigest())
    (folder / MANIFEST).write_text(_TEMPLATE.substitute(words, golden=golden), encoding="utf-8")
    load_package(folder)
    return folder


def _weights() -> bytes:
    content = BytesIO()
    network = DenserThan((ABOVE_HU + 1200) / 2000).eval()
    free = dict.fromkeys((0, 2, 3, 4), torch.export.Dim.AUTO)
    program = torch.export.export(network, (torch.zeros(2, 1, 32, 32, 8),), dynamic_shapes=(free,))
    torch.export.save(program, content)
    return content.getvalue()


def _block() -> Volume:
    """CT of a block of water in air: 12 slices of 32 x 32, 2.5 mm apart, pixels of 1 mm."""
    voxels: NDArray[np.float32] = np.full(_SIZE, -1000.0, np.float32)
    voxels[3:9, 8:24, 10:22] = 0.0
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = 2.5, 1.0, 1.0, 1.0
    header = Dataset()
    header.Modality = "CT"
    made = Volume(voxels, affine, "2.25.1", "2.25.2", "2.25.3", (), header)
    return replace(made, sources=tuple(SourceFrame("", f"2.25.4.{index}") for index in range(len(voxels))))
