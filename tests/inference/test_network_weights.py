"""Weights are what the manifest says before a byte of them is parsed, and hold nothing that would be run."""

from __future__ import annotations

import io
import os
import pickle
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from inference import network
from inference.errors import InferenceError, PackageError
from inference.network import network_of
from inference.package import load_package
from tests.inference.made_models import Above, manifest, onnx_above, package, torch_export, torchscript, written

CPU = torch.device("cpu")
EXPORTED = {"kind": "torch_export", "file": "network.pt"}


class Canary:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.mkdir, (str(self._path),)


def exported() -> bytes:
    return torch_export(Above(0.0), torch.rand(1, 1, 4, 4, 4), {})


def changed(archive: bytes, entries: dict[str, bytes]) -> bytes:
    """The archive with some entries replaced, and others added, as somebody would who means harm."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(out, "w") as target:
        names = source.namelist()
        folder = names[0].split("/")[0]
        entries = {f"{folder}/{name}": content for name, content in entries.items()}
        for name in names:
            target.writestr(name, entries.pop(name, source.read(name)))
        for name, content in entries.items():
            target.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize("position", [0, 100, -1])
def test_one_flipped_bit_is_refused_before_anything_is_parsed(
    position: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path, torchscript(Above(0.0)))
    content = bytearray((folder / "network.pt").read_bytes())
    content[position] ^= 1
    (folder / "network.pt").write_bytes(content)
    monkeypatch.setitem(network._LOADERS, "torchscript", lambda *_: pytest.fail("the weights were parsed"))
    with pytest.raises(PackageError, match="SHA-256 must be"):
        load_package(folder)


def test_weights_that_change_after_they_were_verified_are_refused(tmp_path: Path) -> None:
    made = package(tmp_path, torchscript(Above(0.0)))
    (tmp_path / "network.pt").write_bytes(torchscript(Above(1.0)))
    with pytest.raises(PackageError, match="SHA-256 must be"):
        network_of(made, CPU)


@pytest.mark.parametrize("kind", ["torchscript", "torch_export", "onnx"])
@pytest.mark.parametrize("content", [b"", b"no network", pickle.dumps({"a": 1})], ids=["empty", "text", "pickle"])
def test_a_file_that_is_no_network_is_refused_in_words(kind: str, content: bytes, tmp_path: Path) -> None:
    made = package(tmp_path, content, runtime={"kind": kind, "file": "network.pt"})
    with pytest.raises(PackageError, match=r"not what runtime\.kind|no \.pt2 archive"):
        network_of(made, CPU)


def test_a_plain_pickle_in_place_of_weights_is_not_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    buffer = io.BytesIO()
    torch.save({"weights": Canary(canary)}, buffer)
    for kind in ("torchscript", "torch_export"):
        made = package(tmp_path / kind, buffer.getvalue(), runtime={"kind": kind, "file": "network.pt"})
        with pytest.raises(PackageError):
            network_of(made, CPU)
    assert not canary.exists()


@pytest.mark.parametrize("where", ["sample inputs", "a constant", "a weight"])
def test_a_pickle_within_an_exported_program_is_not_run(where: str, tmp_path: Path) -> None:
    """Torch itself would run the first two: this canary sings where it is asked to load them."""
    canary = tmp_path / "canary"
    pickled = io.BytesIO()
    torch.save(Canary(canary), pickled)
    entries = {
        "sample inputs": {"data/sample_inputs/model.pt": pickled.getvalue()},
        "a constant": {"data/constants/opaque_obj_0": pickle.dumps(Canary(canary))},
        "a weight": {"data/weights/weight_0": pickled.getvalue()},
    }[where]
    content = changed(exported(), entries)
    made = package(tmp_path / "model", content, runtime=EXPORTED)
    with pytest.raises(PackageError, match="would be run as code: refused"):
        network_of(made, CPU)
    assert not canary.exists()


def test_the_canary_sings_where_nobody_looks(tmp_path: Path) -> None:
    """Without our look into the archive torch runs what is in its sample inputs: so that look is needed."""
    canary = tmp_path / "canary"
    pickled = io.BytesIO()
    torch.save(Canary(canary), pickled)
    content = changed(exported(), {"data/sample_inputs/model.pt": pickled.getvalue()})
    with suppress(Exception):
        torch.export.load(io.BytesIO(content))
    assert canary.exists()


def test_an_onnx_file_that_names_others_is_refused(tmp_path: Path) -> None:
    """External data may lie anywhere on the disk."""
    model = onnx.load_from_string(onnx_above(0.0))
    tensor = model.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/hostname")
    made = package(tmp_path, model.SerializeToString(), runtime={"kind": "onnx", "file": "network.pt"})
    with pytest.raises(PackageError, match="not what runtime"):
        network_of(made, CPU)


def test_an_onnx_network_of_two_inputs_is_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(onnx_above(0.0))
    model.graph.input.append(onnx.helper.make_tensor_value_info("age", onnx.TensorProto.FLOAT, [1]))
    made = package(tmp_path, model.SerializeToString(), runtime={"kind": "onnx", "file": "network.pt"})
    with pytest.raises(PackageError, match="takes 2: image, age"):
        network_of(made, CPU)


def test_without_onnxruntime_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    made = package(tmp_path, onnx_above(0.0), runtime={"kind": "onnx", "file": "network.pt"})
    with pytest.raises(InferenceError, match=r"pip install 'dicom-node\[onnx\]'"):
        network_of(made, CPU)


def test_an_exported_program_without_anything_foreign_is_taken(tmp_path: Path) -> None:
    made = package(tmp_path, exported(), runtime=EXPORTED)
    told = network_of(made, CPU)(torch.full((1, 1, 4, 4, 4), 3.0))
    assert isinstance(told, torch.Tensor)
    assert told[0, 1].unique().tolist() == [3.0]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"use": None}, "use must be given for runtime.kind torchscript"),
        (
            {"runtime": {"kind": "onnx", "file": "network.pt"}, "use": {"precision": "bf16"}},
            "use.precision must be fp32",
        ),
        (
            {"runtime": {"kind": "torchscript", "file": "other.pt"}},
            "runtime.file other.pt must be listed under weights",
        ),
        ({"runtime": {"kind": "pickle", "file": "network.pt"}}, "runtime"),
        ({"use": {"mode": "windows"}}, "patch must be given for mode windows"),
        ({"use": {"neighbours": 1}}, "neighbours are for mode slices"),
        ({"use": {"mode": "slices", "flips": [[0]]}}, "a slice has no axis 0"),
        ({"preprocessing": {"axes": "RASX"}}, "preprocessing.axes"),
        (
            {"preprocessing": {"size": [1, 1, 1], "spacing_mm": [1.0, 1.0, 1.0]}},
            "size and spacing_mm exclude each other",
        ),
        ({"preprocessing": {"fit": [1, 1, 1], "size_multiple": [4, 4, 4]}}, "fit and size_multiple exclude each other"),
        ({"preprocessing": {"channels": ["prior"]}}, "channels must hold series"),
        ({"preprocessing": {"channels": ["series", "prior"]}}, "prior, which is no required companion"),
        ({"preprocessing": {"intensity": [{"kind": "clip", "low": 2.0, "high": 1.0}]}}, "low must be below high"),
        (
            {"preprocessing": {"intensity": [{"kind": "standardise", "mean": 2.0}]}},
            "mean and std must be given together",
        ),
        (
            {"preprocessing": {"intensity": [{"kind": "scale", "low": 2.0}]}},
            r"preprocessing.intensity\[0\].high: must be",
        ),
        ({"postprocessing": {"cleaning": [{"kind": "remove_small"}]}}, "below_ml must be given for remove_small"),
        ({"postprocessing": {"clening": []}}, "postprocessing.clening: unknown key, did you mean cleaning"),
    ],
)
def test_a_manifest_that_cannot_be_followed_is_refused(changes: dict[str, Any], rule: str, tmp_path: Path) -> None:
    tree = manifest(b"weights", **changes)
    with pytest.raises(PackageError, match=rule):
        load_package(written(tmp_path, b"weights", **{key: tree[key] for key in changes}))


@pytest.mark.parametrize(
    ("outputs", "rule"),
    [
        ({"segments": []}, "outputs must be of one kind"),
        ({"segments": "without index"}, "dense must have an index"),
        ({"segments": "index 0"}, "segment dense has index 0"),
        ({"segments": "twice"}, "key dense is given twice"),
        ({"segments": "same index"}, "index 1 is given twice"),
    ],
)
def test_outputs_that_a_network_cannot_give_are_refused(outputs: dict[str, Any], rule: str, tmp_path: Path) -> None:
    given = manifest(b"")["outputs"]
    (segment,) = given["segments"]
    nameless = {key: value for key, value in segment.items() if key != "index"}
    segments = {
        "without index": [nameless],
        "index 0": [segment | {"index": 0}],
        "twice": [segment, segment | {"index": 2}],
        "same index": [segment, segment | {"key": "other"}],
    }
    chosen = outputs["segments"]
    changed_outputs = given | {"segments": segments[chosen] if isinstance(chosen, str) else chosen}
    with pytest.raises(PackageError, match=rule):
        load_package(written(tmp_path, b"weights", outputs=changed_outputs))
