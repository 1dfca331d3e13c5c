"""Other precisions than fp32: how long the network takes, and how far its labels are those of fp32.

bf16 is torch's autocast. int8 is onnxruntime's static quantisation (QDQ, weights by channel), calibrated on windows of noise;
fp32 of onnxruntime stands beside it, so that what the runtime gains is not taken for what the numbers gain.
"""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import yaml

from benchmarks.inference_models import NETWORKS, SEED, SEGRESNET, dice
from benchmarks.inference_process import NODE, Warm
from inference.manifest import Manifest
from inference.package import MANIFEST, load_package

FP32, BF16, ONNX_FP32, INT8 = "fp32", "bf16", "onnx fp32", "onnx int8"
_WINDOWS = 4


def measure(bundle: Path, folder: Path, device: str) -> dict[str, dict[str, float]]:
    """By precision: seconds of the network and of all of predict, and Dice to the labels of fp32, the least of all classes."""
    into = folder / "precisions"
    into.mkdir()
    found, reference = {}, None
    for name, package in packages(bundle, into):
        kept = into / "labels.npy"
        with Warm(NODE, sys.executable, package, folder, device) as node:
            node.ask(f"labels {kept}")
            answer = dict(node.ask(f"labels {kept}"))
        labels = np.load(kept)
        reference = labels if reference is None else reference
        found[name] = answer | {"Dice to fp32": min(dice(labels, reference).values())}
    return found


def packages(bundle: Path, into: Path) -> Iterator[tuple[str, Path]]:
    """The same network as packages with a model.yaml."""
    manifest = load_package(bundle).manifest
    yield FP32, bundle
    weights = (bundle / "models" / "model.pt").read_bytes()
    runtime = manifest.runtime.model_dump() | {"file": "model.pt"}
    yield BF16, written(into / "bf16", manifest, weights, runtime, precision="bf16")
    files = subprocess.run(
        [sys.executable, "-m", __name__, str(bundle), str(into)], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines()[-2:]
    for name, file in zip((ONNX_FP32, INT8), files, strict=True):
        content = Path(file).read_bytes()
        yield name, written(into / name.replace(" ", "_"), manifest, content, {"kind": "onnx", "file": "model.onnx"})


def written(
    folder: Path, manifest: Manifest, weights: bytes, runtime: Mapping[str, object], precision: str = "fp32"
) -> Path:
    folder.mkdir()
    tree = manifest.model_dump(mode="json", exclude_defaults=True)
    tree["runtime"] = runtime
    tree["weights"] = [{"file": runtime["file"], "sha256": hashlib.sha256(weights).hexdigest()}]
    tree["use"]["precision"] = precision
    (folder / str(runtime["file"])).write_bytes(weights)
    (folder / MANIFEST).write_text(yaml.safe_dump(json.loads(json.dumps(tree))))
    return folder


def main() -> None:
    """Write the network of a bundle as ONNX, in fp32 and in int8, and print their paths."""
    bundle, into = Path(sys.argv[1]), Path(sys.argv[2])
    import torch
    from monai.networks import nets
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    use = load_package(bundle).manifest.use
    assert use is not None
    assert use.patch is not None
    network = getattr(nets, SEGRESNET)(**NETWORKS[SEGRESNET]).eval()
    network.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True))
    windows = torch.rand((_WINDOWS, 1, 1, *use.patch), generator=torch.Generator().manual_seed(SEED))
    plain, small = into / "fp32.onnx", into / "int8.onnx"
    torch.onnx.export(network, (windows[0],), plain, input_names=["image"], output_names=["told"], dynamo=False)

    class Windows(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(windows)

        def get_next(self) -> dict[str, object] | None:
            window = next(self._left, None)
            return None if window is None else {"image": window.numpy()}

    quantize_static(
        plain, small, Windows(), quant_format=QuantFormat.QDQ, per_channel=True, weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"],
    )  # fmt: skip
    print(plain)
    print(small)


if __name__ == "__main__":
    main()
