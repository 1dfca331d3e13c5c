"""Which values may a key of config.yaml take? The kinds of value that `config` composes its sections from.

A validator's message is the rule alone: the value may be a secret, and the loader adds it where it is not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError

from dicom_node.conditions import Condition, parse_clause
from dicom_node.lossless import Method
from dicom_node.result_kinds import RESULT_KINDS, ResultKind


def _not_a_switch(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


def _ae_title(value: str) -> str:
    """PS3.5 section 6.2, AE: 1 to 16 characters of the default repertoire, no backslash and no control character."""
    title = value.strip(" ")
    if not 1 <= len(title) <= 16 or not re.fullmatch(r"[ -\[\]-~]+", title):
        raise ValueError("must be an AE title: 1 to 16 ASCII characters without backslash and control characters")
    return title


def _from_folder_of_file(path: Path, info: ValidationInfo) -> Path:
    """A path in the file counts from the folder of the file, so that it means the same wherever one stands."""
    if not str(path).strip() or "\0" in str(path):
        raise ValueError("must be a path")
    folder = (info.context or {}).get("folder")
    return (folder / path.expanduser()).resolve() if folder else path.expanduser()


def _bind_address(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        raise ValueError("must be an IP address of this machine, or 0.0.0.0 for all of them") from None


def _host(value: str) -> str:
    """RFC 1123 host name, or an IP address."""
    try:
        return str(ip_address(value))
    except ValueError:
        label = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
        if len(value) > 253 or not re.fullmatch(rf"{label}(\.{label})*\.?", value) or re.fullmatch(r"[\d.]+", value):
            raise ValueError("must be a host name or an IP address") from None
        return value


def _network(value: object) -> IPv4Network | IPv6Network:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    try:
        return ip_network(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError("must be an IP address, or a network without host bits as in 10.1.2.0/24") from None


def _sha256(value: str) -> str:
    """As certificate viewers write it: upper or lower case, with or without colons."""
    digits = value.replace(":", "").strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError("must be a SHA-256 fingerprint: 64 hexadecimal digits, colons between them or not")
    return digits


def _auto_or_count(value: object) -> object:
    if isinstance(value, str) and value.isascii() and value.isdigit():  # as the environment gives it
        value = int(value)
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1024):
        return value
    raise ValueError("must be auto or a whole number from 1 to 1024")


def _condition(value: object) -> Condition:
    if isinstance(value, Condition):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("must map attribute keywords to values, as in {Modality: CT}")
    clauses, errors = [], []
    for keyword, written in value.items():
        try:
            clauses.append(parse_clause(str(keyword), written))
        except ValueError as error:
            problem = PydanticCustomError("condition", "{rule}", {"rule": str(error)})
            errors.append({"type": problem, "loc": (str(keyword),), "input": written})
    if errors:
        raise ValidationError.from_exception_data("when", errors)  # type: ignore[arg-type]
    return Condition(tuple(clauses))


def _no_kind_twice(value: tuple[ResultKind, ...]) -> tuple[ResultKind, ...]:
    if len(set(value)) < len(value):
        raise ValueError("must name no kind twice")
    return value


def _no_method_twice(value: tuple[Method, ...]) -> tuple[Method, ...]:
    if len(set(value)) < len(value):
        raise ValueError("must name no method twice")
    return value


def _by_kind(value: object) -> object:
    if not isinstance(value, Mapping):
        raise ValueError("must map kinds of result to lists of kinds, as in {sr: [sr_text, sc]}")
    errors = []
    for kind, others in value.items():
        rule = None
        if kind not in RESULT_KINDS:
            rule = f"must be a kind of result: {', '.join(RESULT_KINDS)}"
        elif isinstance(others, list | tuple) and (kind in others or len(set(map(str, others))) < len(others)):
            rule = "must name other kinds, none of them twice"
        if rule:
            problem = PydanticCustomError("next_best", "{rule}", {"rule": rule})
            errors.append({"type": problem, "loc": (str(kind),), "input": others})
    if errors:
        raise ValidationError.from_exception_data("next_best", errors)  # type: ignore[arg-type]
    return value


AETitle = Annotated[str, AfterValidator(_ae_title)]
AutoOrCount = Annotated[int | Literal["auto"], BeforeValidator(_auto_or_count)]
Bytes = Annotated[ByteSize, BeforeValidator(_not_a_switch)]
Count = Annotated[int, BeforeValidator(_not_a_switch)]
FilePath = Annotated[Path, AfterValidator(_from_folder_of_file)]
BindAddress = Annotated[str, AfterValidator(_bind_address)]
Host = Annotated[str, AfterValidator(_host)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}(@[A-Za-z0-9][A-Za-z0-9_.+-]{0,31})?$")]
Network = Annotated[IPv4Network | IPv6Network, PlainValidator(_network), PlainSerializer(str)]
Port = Annotated[Count, Field(ge=1, le=65535)]
Sha256 = Annotated[str, AfterValidator(_sha256)]
Seconds = Annotated[float, BeforeValidator(_not_a_switch)]
When = Annotated[Condition, PlainValidator(_condition), PlainSerializer(Condition.as_written)]
Kinds = Annotated[tuple[ResultKind, ...], AfterValidator(_no_kind_twice), Field(min_length=1)]
Compression = Annotated[tuple[Method, ...], AfterValidator(_no_method_twice)]
NextBest = Annotated[dict[ResultKind, tuple[ResultKind, ...]], BeforeValidator(_by_kind)]
