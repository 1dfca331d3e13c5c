"""model.yaml: every key a model package may have, defined once, and read with nothing left over."""

from __future__ import annotations

import difflib
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from inference.contract import InputContract
from inference.errors import PackageError
from inference.golden_case import GoldenCase, GoldenLimits
from inference.manifested import Label, Manifested, PathInPackage
from inference.model_card import Card
from inference.outputs import Outputs
from inference.picture_recipe import problem_with_images
from inference.plain_yaml import plain_yaml
from inference.recipe import THIS_SERIES, Postprocessing, Preprocessing, Use

MAX_MANIFEST_BYTES = 256 * 1024
NAME = r"^[a-z][a-z0-9_]{0,47}$"


class PythonRuntime(Manifested):
    """Code of this project itself; nothing from outside may name it."""

    kind: Literal["python"]
    entry_point: str = Field(pattern=r"^inference\.models(\.[a-z][a-z0-9_]*)+:[a-z][a-z0-9_]*$")
    # Other built-in models whose code this one calls: when theirs changes, this is another device too.
    builds_on: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], ...] = ()


class NetworkRuntime(Manifested):
    """A network of a file of weights, run as `preprocessing`, `use` and `postprocessing` say.

    torchscript: written by torch.jit.save. torch_export: a .pt2 written by torch.export.save. onnx: an ONNX model in one file.
    """

    kind: Literal["torchscript", "torch_export", "onnx"]
    file: PathInPackage


class BundleRuntime(Manifested):
    """A network of a MONAI bundle: read from the bundle's own files, never written by hand (see `inference.bundle`)."""

    kind: Literal["monai_bundle"]
    file: PathInPackage
    network: str
    arguments: dict[str, Any]


class Weights(Manifested):
    file: PathInPackage
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Resources(Manifested):
    """memory_bytes: of the machine, beside the images and what any model needs to run; without it as much as the node allows.
    gpu_memory_bytes: of the GPU, where the model runs on one.
    """

    timeout_s: float = Field(gt=0, le=86400)
    memory_bytes: Annotated[int, Field(ge=64 * 1024**2)] | None = None
    gpu_memory_bytes: Annotated[int, Field(ge=64 * 1024**2)] | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"


class Manifest(Manifested):
    """model.yaml: who made the model, what it is for, what it takes and what it says."""

    name: str = Field(pattern=NAME)
    version: str = Field(pattern=r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$")
    title: Label = Field(max_length=48)
    manufacturer: Label
    intended_use: str = Field(min_length=1)
    limits: tuple[str, ...] = Field(min_length=1)
    model_card: Card = Card()
    runtime: PythonRuntime | NetworkRuntime | BundleRuntime = Field(discriminator="kind")
    weights: tuple[Weights, ...] = ()
    input: InputContract
    preprocessing: Preprocessing | None = None
    use: Use | None = None
    postprocessing: Postprocessing | None = None
    outputs: Outputs
    golden: tuple[GoldenCase, ...] = Field(default=(), max_length=64)
    golden_limits: GoldenLimits = GoldenLimits()
    resources: Resources

    @model_validator(mode="after")
    def holds_what_its_runtime_needs(self) -> Manifest:
        parts = ("preprocessing", "use", "postprocessing")
        if isinstance(self.runtime, PythonRuntime):
            if given := [name for name in parts if getattr(self, name) is not None]:
                raise ValueError(f"{given[0]} is for models without code; one of runtime.kind python does this itself")
            return self
        if missing := [name for name in parts if getattr(self, name) is None]:
            raise ValueError(
                f"{missing[0]} must be given for runtime.kind {self.runtime.kind}; {{}} where it does nothing"
            )
        if self.runtime.kind == "onnx" and self.use is not None and self.use.precision != "fp32":
            raise ValueError(
                f"use.precision must be fp32 for runtime.kind onnx, but is {self.use.precision}: convert the file"
            )
        if self.runtime.file not in {item.file for item in self.weights}:
            raise ValueError(f"runtime.file {self.runtime.file} must be listed under weights, with its SHA-256")
        return self

    @model_validator(mode="after")
    def answers_in_one_way(self) -> Manifest:
        if isinstance(self.runtime, PythonRuntime):
            return self
        outputs = self.outputs
        numbers = [item for item in outputs.measurements if item.compute is None]
        of_voxels = bool(outputs.segments or outputs.maps)
        ways = [of_voxels, bool(outputs.detections), bool(outputs.classifications or numbers)]
        if sum(ways) != 1:
            raise ValueError(
                "outputs must be of one kind: segments and maps (with what is computed of them), detections, or"
                " classifications and numbers; a network answers in one way"
            )
        sampler = self.use.sampler if self.use else None
        if sampler and not of_voxels:
            raise ValueError("use.sampler is for segments and maps: it draws a value for each voxel")
        vague = next((item.key for item in outputs.maps if item.of == "uncertainty"), None)
        if vague and (sampler is None or sampler.ensemble == 1):
            raise ValueError(f"map {vague} is of uncertainty, which takes a use.sampler with an ensemble of 2 or more")
        nameless = [item.key for item in outputs.segments if item.index is None]
        nameless += [item.key for item in numbers if item.index is None]
        if missing := next(iter(nameless), None):
            raise ValueError(f"outputs: {missing} must have an index, for the network names nothing")
        argmax = self.postprocessing is not None and self.postprocessing.decide == "argmax"
        if argmax and (none := next((item.key for item in outputs.segments if item.index == 0), None)):
            raise ValueError(
                f"outputs: segment {none} has index 0, which is no segment where the largest value decides"
            )
        return self

    @model_validator(mode="after")
    def is_used_as_its_images_are_taken(self) -> Manifest:
        if problem := problem_with_images(
            self.input.images, self.preprocessing, self.use, self.postprocessing, self.outputs
        ):
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def golden_cases_can_be_judged(self) -> Manifest:
        names = [case.name for case in self.golden]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"golden: {twice!r} must be the name of one case")
        known = {item.key for item in self.outputs.classifications}
        asked = {*self.golden_limits.least_auc, *(key for case in self.golden for key in case.labels)}
        if unknown := sorted(asked - known):
            raise ValueError(f"golden: {unknown[0]} must be one of outputs.classifications")
        for key in self.golden_limits.least_auc:
            if {case.labels[key] for case in self.golden if key in case.labels} != {True, False}:
                raise ValueError(
                    f"golden_limits.least_auc: {key} must be labelled true by one golden case at least, and false by another"
                )
        return self

    @model_validator(mode="after")
    def channels_are_read(self) -> Manifest:
        channels = self.preprocessing.channels if self.preprocessing else ()
        known = {THIS_SERIES, *(item.name for item in self.input.companions if item.required)}
        if stranger := next((name for name in channels if name not in known), None):
            raise ValueError(f"preprocessing.channels names {stranger}, which is no required companion of input")
        return self


def read_manifest(path: Path) -> Manifest:
    """Parse model.yaml with the safe loader and hold it against the definitions above."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PackageError(f"{path}: cannot be read ({error.strerror}); a model package needs it") from error
    if len(content) > MAX_MANIFEST_BYTES:
        raise PackageError(f"{path}: must be at most {MAX_MANIFEST_BYTES} bytes, but is {len(content)}")
    try:
        # Lists become tuples because a manifest is never changed after reading.
        tree = frozen(plain_yaml(content))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise PackageError(f"{path}: is not YAML of plain values: {' '.join(str(error).split())}") from error
    return validated(tree, path)


def validated(tree: Any, path: Path) -> Manifest:
    """Hold a tree against the definitions above; `path` is named where it breaks them."""
    try:
        return Manifest.model_validate(tree)
    except ValidationError as error:
        raise PackageError("\n".join(f"{path}: {line}" for line in problems_of(error))) from error


def frozen(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: frozen(value) for key, value in tree.items()}
    return tuple(frozen(value) for value in tree) if isinstance(tree, list) else tree


def problems_of(error: ValidationError) -> list[str]:
    """One line a problem: key path, rule, value, and for an unknown key the nearest one that is known."""
    lines = []
    for problem in error.errors(include_url=False):
        where = key_path(problem["loc"])
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(problem["loc"][-1]), keys_at(problem["loc"][:-1]), n=1)
            hint = f", did you mean {near[0]}?" if near else ""
            lines.append(f"{where}: unknown key{hint}")
        elif problem["type"] == "missing":
            lines.append(f"{where}: must be given")
        else:
            lines.append(f"{where}: {problem['msg']}, but is {shortened(problem['input'])}")
    return lines


def shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def key_path(loc: tuple[int | str, ...]) -> str:
    """As a person writes it: "outputs.segments[0].key". The kind that chose among definitions is no key."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in walk(loc)[0])
    return path.removeprefix(".") or "the manifest"


def keys_at(loc: tuple[int | str, ...]) -> list[str]:
    """The keys that the definitions know at this place of the tree."""
    here = walk(loc)[1]
    return list(here.model_fields) if here else []


def walk(loc: tuple[int | str, ...]) -> tuple[list[int | str], type[BaseModel] | None]:
    """The keys of a place, and the definition that holds there, if it is one of several keys."""
    keys: list[int | str] = []
    here: dict[str, type[BaseModel]] = {"": Manifest}
    for part in loc:
        if isinstance(part, str) and part in here:
            here = {"": here[part]}
            continue
        keys.append(part)
        if isinstance(part, str):
            field = here[""].model_fields.get(part) if "" in here else None
            here = models_within(field.annotation) if field else {}
    return keys, here.get("")


def models_within(annotation: Any) -> dict[str, type[BaseModel]]:
    """The definitions that an annotation such as tuple[SegmentOutput, ...] or Clip | Scale holds: one under "", several by
    their kind."""
    found: list[type[BaseModel]] = []
    for part in (annotation, *typing.get_args(annotation)):
        if isinstance(part, type) and not isinstance(part, types.GenericAlias):
            found += [part] if issubclass(part, BaseModel) else []
        elif part is not annotation:
            found += models_within(part).values()
    if len(found) == 1:
        return {"": found[0]}
    return {
        kind: model
        for model in found
        if "kind" in model.model_fields
        for kind in typing.get_args(model.model_fields["kind"].annotation)
    }
