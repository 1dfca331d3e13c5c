"""What all parts of model.yaml are made of."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from inference.findings import Code


class Manifested(BaseModel):
    """A part of model.yaml: never changed after reading, and without keys that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


LONGEST_BYTES = 64


def fits(text: str) -> str:
    """VR LO holds 64 characters (PS3.5 6.2), and there are receivers that count the bytes of Unicode."""
    if len(text.encode()) > LONGEST_BYTES:
        raise ValueError(f"must be at most {LONGEST_BYTES} bytes long in UTF-8")
    return text


Label = Annotated[str, Field(min_length=1), AfterValidator(fits)]


class CodedConcept(Manifested):
    value: str = Field(min_length=1, max_length=16)
    scheme: str = Field(min_length=1, max_length=16)
    meaning: Label

    @property
    def code(self) -> Code:
        return Code(self.value, self.scheme, self.meaning)


def _inside(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or "\\" in value or not path.parts:
        raise ValueError("must be a path inside the package folder, without '..'")
    return value


PathInPackage = Annotated[str, AfterValidator(_inside)]
Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Share = Annotated[float, Field(ge=0, le=1)]
Color = tuple[
    Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)]
]
