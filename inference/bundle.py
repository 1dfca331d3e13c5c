"""Bundles of the MONAI Model Zoo, as they are: metadata and inference configuration read as a manifest of this project.

A bundle's configuration may hold Python expressions and name any class. Here it is data: transforms, inferer and network
are looked up in closed lists, of expressions only those that say a plain value are read, and nothing that a bundle names is
imported because it names it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from inference.anatomy import codes_of
from inference.bundle_config import Config, Step
from inference.errors import PackageError
from inference.findings import Code
from inference.plain_yaml import plain_yaml

NOT_INPUT = Code("NOTINPUT", "99DICOMNODE", "Series is outside the model's input contract")
METADATA = "configs/metadata.json"
INFERENCE = ("configs/inference.json", "configs/inference.yaml")
WEIGHTS = ("models/model.safetensors", "models/model.pt", "models/model.ts")
MAX_CONFIG_BYTES = 4 * 1024**2

_MODALITIES = {"CT": "CT", "MR": "MR", "MRI": "MR"}
_COLORS = (
    (213, 94, 0), (0, 158, 115), (86, 180, 233), (230, 159, 0), (204, 121, 167), (0, 114, 178), (240, 228, 66), (150, 150, 150),
)  # fmt: skip
_NOTHING_TO_DO = {
    "LoadImaged", "EnsureChannelFirstd", "AddChanneld", "AsChannelFirstd", "EnsureTyped", "ToTensord", "CastToTyped",
    "ToDeviced", "Invertd", "SaveImaged", "CopyItemsd", "DeleteItemsd", "SelectItemsd",
}  # fmt: skip
"""What our own reading and writing of images does."""


def is_bundle(folder: Path) -> bool:
    return (folder / METADATA).is_file()


def manifest_of(folder: Path, digests: Mapping[str, str]) -> dict[str, Any]:
    """The bundle in `folder` as the keys of a model.yaml. digests: SHA-256 of its files, by relative path.

    Raises PackageError where it holds what has no place here, naming it.
    """
    metadata = _read(folder / METADATA)
    config = Config(_inference(folder), folder)
    named = Path("models", config.checkpoint() or "model.pt")
    # The same tensors in a file that can hold nothing else are taken before those in one that can.
    wanted = (str(named.with_suffix(".safetensors")), str(named), *WEIGHTS)
    weights = next((name for name in wanted if name in digests), None)
    if weights is None:
        raise PackageError(f"{folder}: holds none of {', '.join(WEIGHTS)}; fetch the bundle with its weights")
    network = None if weights.endswith(".ts") else config.step("network_def", "net", "network")
    image = _at(folder, metadata, "network_data_format", "inputs", "image")
    modality = _MODALITIES.get(str(image.get("modality", "")).upper())
    if modality is None:
        raise PackageError(
            f"{folder / METADATA}: the modality of the image is {image.get('modality')!r}, and neither CT nor MR"
        )
    if (channels := image.get("num_channels", 1)) != 1:
        raise PackageError(
            f"{folder / METADATA}: its image has {channels} channels, and nothing says which series they are: write a model.yaml"
            " with input.companions and preprocessing.channels (docs/models.md)"
        )
    outputs = _outputs(_at(folder, metadata, "network_data_format", "outputs", "pred"))
    return {
        "name": re.sub(r"[^a-z0-9_]+", "_", folder.resolve().name.lower()),
        "version": str(metadata.get("version", "")),
        "title": _short(str(metadata.get("name") or folder.name), 48),
        "manufacturer": _short(str(metadata.get("authors") or "MONAI"), 64),
        "intended_use": str(
            metadata.get("intended_use") or metadata.get("description") or "Not stated by its authors."
        ),
        "limits": (str(metadata.get("description") or "Its limits are not stated by its authors."),),
        "model_card": _card(metadata),
        "runtime": {"kind": "torchscript" if network is None else "monai_bundle", "file": weights}
        | ({} if network is None else {"network": network.name, "arguments": network.arguments}),
        "weights": ({"file": weights, "sha256": digests[weights]},),
        "input": {"modality": modality, "gantry_tilt": "resample", "image_type_excludes": ("LOCALIZER",)},
        "preprocessing": _preprocessing(config.steps("preprocessing")),
        "use": _use(config.step("inferer")),
        "postprocessing": _postprocessing(config.steps("postprocessing"), outputs["segments"]),
        "outputs": outputs,
        "resources": {"timeout_s": 600.0},
    }


def _preprocessing(steps: Sequence[Step]) -> dict[str, Any]:
    found: dict[str, Any] = {"intensity": ()}
    for step in steps:
        if step.name in _NOTHING_TO_DO:
            continue
        made = _PREPARES.get(step.name)
        if made is None:
            raise step.refused(f"is not known here; known are {', '.join(sorted(_PREPARES))}")
        for key, value in made(step).items():
            found[key] = (*found["intensity"], value) if key == "intensity" else value
    return found


def _scaled(step: Step) -> dict[str, Any]:
    low, high = step.number("a_min"), step.number("a_max")
    to = (step.number("b_min", 0.0), step.number("b_max", 1.0))
    return {"intensity": {"kind": "scale", "low": low, "high": high, "to": to, "clip": step.switch("clip")}}


def _stretched(step: Step) -> dict[str, Any]:
    """From the least to the greatest value of the image."""
    if step.has("factor"):
        _refuse(step, "factor")
    to = (step.number("minv", 0.0), step.number("maxv", 1.0))
    return {"intensity": {"kind": "percentiles", "low": 0.0, "high": 100.0, "to": to, "clip": False}}


def _percentiles(step: Step) -> dict[str, Any]:
    to = (step.number("b_min"), step.number("b_max"))
    ends = {"low": step.number("lower"), "high": step.number("upper")}
    return {"intensity": {"kind": "percentiles", "to": to, "clip": step.switch("clip"), **ends}}


def _standardised(step: Step) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": "standardise", "non_zero": step.switch("nonzero")}
    if step.has("subtrahend") and step.has("divisor"):
        found |= {"mean": step.number("subtrahend"), "std": step.number("divisor")}
    return {"intensity": found}


def _spaced(step: Step) -> dict[str, Any]:
    mode = step.first("mode", "bilinear")
    if mode not in {"bilinear", "nearest", 1, 0}:
        raise step.refused(f"has mode {mode!r}, and known are bilinear and nearest")
    spacing = step.numbers("pixdim", 3)
    return {"spacing_mm": spacing, "interpolation": "linear" if mode in {"bilinear", 1} else "nearest"}


def _axes(step: Step) -> dict[str, Any]:
    return {"axes": str(step.first("axcodes", "RAS"))}


def _cropped(step: Step) -> dict[str, Any]:
    return {"crop": {"above": 0.0, "margin_mm": 0.0}} if not step.has("select_fn") else _refuse(step, "select_fn")


def _resized(step: Step) -> dict[str, Any]:
    mode = step.first("mode", "trilinear")
    if mode not in {"trilinear", "bilinear"}:
        raise step.refused(f"has mode {mode!r}, and known are trilinear and bilinear")
    return {"size": step.whole_numbers("spatial_size", 3)}


def _fitted(step: Step) -> dict[str, Any]:
    return {"fit": step.whole_numbers("spatial_size", 3)}


def _padded(step: Step) -> dict[str, Any]:
    many = step.first("k", 1)
    return {"size_multiple": step.whole_numbers("k", 3) if isinstance(many, int) else _refuse(step, "k")}


def _refuse(step: Step, key: str) -> dict[str, Any]:
    raise step.refused(f"has {key}, which is not known here")


_PREPARES: dict[str, Callable[[Step], dict[str, Any]]] = {
    "Orientationd": _axes,
    "Spacingd": _spaced,
    "ScaleIntensityRanged": _scaled,
    "ScaleIntensityRangePercentilesd": _percentiles,
    "ScaleIntensityd": _stretched,
    "NormalizeIntensityd": _standardised,
    "CropForegroundd": _cropped,
    "DivisiblePadd": _padded,
    "Resized": _resized,
    "ResizeWithPadOrCropd": _fitted,
}


def _use(step: Step) -> dict[str, Any]:
    if step.name == "SimpleInferer":
        return {"mode": "whole"}
    if step.name != "SlidingWindowInferer":
        raise step.refused("is not known here; known are SimpleInferer and SlidingWindowInferer")
    return {
        "mode": "windows",
        "patch": step.whole_numbers("roi_size", 3),
        "overlap": step.number("overlap", 0.25),
        "blending": str(step.first("mode", "constant")),
        "batch": int(step.number("sw_batch_size", 1)),
    }


def _postprocessing(steps: Sequence[Step], segments: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"activation": "none", "decide": "argmax", "cleaning": ()}
    for step in steps:
        if step.name == "Activationsd":
            found["activation"] = (
                "softmax" if step.switch("softmax") else "sigmoid" if step.switch("sigmoid") else "none"
            )
        elif step.name == "AsDiscreted":
            if not step.switch("argmax"):
                found |= {"decide": "threshold", "threshold": step.number("threshold", 0.5)}
        elif step.name == "KeepLargestConnectedComponentd":
            found["cleaning"] = (
                *found["cleaning"],
                {"kind": "largest_component", "segments": _applied(step, segments)},
            )
        elif step.name == "FillHolesd":
            found["cleaning"] = (*found["cleaning"], {"kind": "fill_holes", "segments": _applied(step, segments)})
        elif step.name not in _NOTHING_TO_DO:
            raise step.refused(
                "is not known here; known are Activationsd, AsDiscreted, KeepLargestConnectedComponentd, FillHolesd"
            )
    return found


def _applied(step: Step, segments: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The keys of the segments that a step is applied to; none where it is applied to all."""
    if not step.has("applied_labels"):
        return ()
    listed = step.arguments["applied_labels"]
    labels = set(listed if isinstance(listed, list) else [listed])
    keys = tuple(segment["key"] for segment in segments if segment["index"] in labels)
    return keys if keys else _refuse(step, "applied_labels")  # type: ignore[return-value]


def _outputs(pred: Mapping[str, Any]) -> dict[str, Any]:
    segments: list[dict[str, Any]] = []
    named = {int(index): str(name) for index, name in dict(pred.get("channel_def", {})).items()}
    for index, name in sorted(named.items()):
        if name.lower() in {"background", "bg"}:
            continue
        category, kind, laterality = codes_of(name)
        key = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_") or f"channel_{index}"
        segments.append(
            {
                "key": key if key[0].isalpha() else f"channel_{key}",
                "label": _short(name[:1].upper() + name[1:], 64),
                "category": category.model_dump(),
                "type": kind.model_dump(),
                "color_rgb": _COLORS[len(segments) % len(_COLORS)],
                "laterality": laterality.model_dump() if laterality else None,
                "index": index,
            }
        )
    volume = {"value": "118565006", "scheme": "SCT", "meaning": "Volume"}
    unit = {"value": "mL", "scheme": "UCUM", "meaning": "milliliter"}
    return {
        "segments": tuple(segments),
        "measurements": ({"key": "volume", "name": volume, "unit": unit, "compute": "volume"},),
        "not_analysed": {"input_refused": asdict(NOT_INPUT)},
    }


def _inference(folder: Path) -> Mapping[str, Any]:
    for name in INFERENCE:
        if (folder / name).is_file():
            return _read(folder / name)
    raise PackageError(f"{folder}: holds neither {' nor '.join(INFERENCE)}")


def _read(path: Path) -> Mapping[str, Any]:
    content = path.read_bytes()
    if len(content) > MAX_CONFIG_BYTES:
        raise PackageError(f"{path}: must be at most {MAX_CONFIG_BYTES} bytes, but is {len(content)}")
    try:
        tree = json.loads(content) if path.suffix == ".json" else plain_yaml(content)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise PackageError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(tree, dict):
        raise PackageError(f"{path}: must hold keys with values")
    return tree


def _card(metadata: Any) -> dict[str, Any]:
    """What the authors say of their data and figures; of the latter those that are numbers."""
    card: dict[str, Any] = {}
    if source := str(metadata.get("data_source") or ""):
        card["training_data"] = source[:1024]
    found = metadata.get("eval_metrics")
    numbers = {
        _short(str(name), 64): float(value)
        for name, value in (found.items() if isinstance(found, dict) else ())
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    metrics = [{"name": name, "value": value, "data": "its authors' evaluation"} for name, value in numbers.items()]
    return card | ({"metrics": tuple(metrics[:16])} if metrics else {})


def _at(folder: Path, tree: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None  # type: ignore[assignment]
    if not isinstance(tree, Mapping):
        raise PackageError(f"{folder / METADATA}: {'.'.join(keys)} must be given")
    return tree


def _short(text: str, most: int) -> str:
    """As many characters as fit into so many bytes of UTF-8."""
    return text.encode()[:most].decode(errors="ignore").strip()
