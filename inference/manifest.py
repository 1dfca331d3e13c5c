"""model.yaml: every key a model package may have, defined once, and read with nothing left over."""

from __future__ import annotations

import difflib
import types
import typing
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from inference.contract import InputContract
from inference.errors import PackageError
from inference.findings import Code

MAX_MANIFEST_BYTES = 256 * 1024


LONGEST_BYTES = 64


def fits(text: str) -> str:
    """VR LO holds 64 characters (PS3.5 6.2), and there are receivers that count the bytes of Unicode."""
    if len(text.encode()) > LONGEST_BYTES:
        raise ValueError(f"must be at most {LONGEST_BYTES} bytes long in UTF-8")
    return text


ShortText = Annotated[str, Field(min_length=1), AfterValidator(fits)]


class Manifested(BaseModel):
    """A part of model.yaml: never changed after reading, and without keys that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class CodedConcept(Manifested):
    value: str = Field(min_length=1, max_length=16)
    scheme: str = Field(min_length=1, max_length=16)
    meaning: ShortText

    @property
    def code(self) -> Code:
        return Code(self.value, self.scheme, self.meaning)


class PythonRuntime(Manifested):
    """Code of this project itself; nothing from outside may name it."""

    kind: Literal["python"]
    entry_point: str = Field(pattern=r"^inference\.models(\.[a-z][a-z0-9_]*)+:[a-z][a-z0-9_]*$")
    # Other built-in models whose code this one calls: when theirs changes, this is another device too.
    builds_on: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], ...] = ()


class Weights(Manifested):
    file: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("file")
    @classmethod
    def stays_in_the_folder(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or "\\" in value or not path.parts:
            raise ValueError("must be a path inside the package folder, without '..'")
        return value


Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Channel = Annotated[int, Field(ge=0, le=255)]


class SegmentOutput(Manifested):
    key: Key
    label: ShortText
    category: CodedConcept
    type: CodedConcept
    color_rgb: tuple[Channel, Channel, Channel]
    finding_site: CodedConcept | None = None
    laterality: CodedConcept | None = None


class MeasurementOutput(Manifested):
    key: Key
    name: CodedConcept
    unit: CodedConcept
    derivation: CodedConcept | None = None
    method: CodedConcept | None = None


class Outputs(Manifested):
    """All that the model may say. What it says beyond this is refused, not reported."""

    segments: tuple[SegmentOutput, ...] = ()
    measurements: tuple[MeasurementOutput, ...] = ()
    remarks: dict[Key, CodedConcept] = Field(default_factory=dict)
    not_analysed: dict[Key, CodedConcept]

    @model_validator(mode="after")
    def keys_are_unique(self) -> Outputs:
        for listed in (self.segments, self.measurements):
            keys = [item.key for item in listed]
            twice = sorted({key for key in keys if keys.count(key) > 1})
            if twice:
                raise ValueError(f"key {twice[0]} is given twice")
        return self


class Resources(Manifested):
    timeout_s: float = Field(gt=0, le=86400)
    device: Literal["auto", "cpu", "cuda"] = "auto"


class Manifest(Manifested):
    """model.yaml: who made the model, what it is for, what it takes and what it says."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=48)
    version: str = Field(pattern=r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$")
    title: ShortText = Field(max_length=48)
    manufacturer: ShortText
    intended_use: str = Field(min_length=1)
    limits: tuple[str, ...] = Field(min_length=1)
    runtime: PythonRuntime
    weights: tuple[Weights, ...] = ()
    input: InputContract
    outputs: Outputs
    resources: Resources


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
        tree = frozen(yaml.safe_load(content))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise PackageError(f"{path}: is not YAML of plain values: {' '.join(str(error).split())}") from error
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
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return path.removeprefix(".") or "the manifest"


def keys_at(loc: tuple[int | str, ...]) -> list[str]:
    """The keys that the definitions know at this place of the tree."""
    here: Any = Manifest
    for part in loc:
        if isinstance(part, str):
            field = here.model_fields.get(part)
            if field is None:
                return []
            here = model_within(field.annotation)
        if here is None:
            return []
    return list(here.model_fields)


def model_within(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation such as tuple[SegmentOutput, ...] or CodedConcept | None holds."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    found = (model_within(part) for part in typing.get_args(annotation))
    return next((model for model in found if model is not None), None)
