"""May this data set be taken in? A pure judgement of the bytes that came, without decoding a pixel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from dicom_node.facts import Header, read_header
from dicom_node.refusals import NotAsCommanded, NotIdentified, OutOfResources, Unparsable
from dicom_node.structure import MAX_NESTING, Element

# PS3.5 9.1, but for leading zeros: they are forbidden, common, and harmless.
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")
MAX_UID_CHARACTERS = 64

_NATIVE = frozenset(("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"))
_MPEG = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.10[0-8](?:\.1)?")  # a fragment holds many frames
# Chrominance stored for every second or fourth pixel: this share of three full samples is there (PS3.3 C.7.6.3.1.2).
_SUBSAMPLED = MappingProxyType({"YBR_FULL_422": (2, 3), "YBR_PARTIAL_422": (2, 3), "YBR_PARTIAL_420": (1, 2)})


@dataclass(frozen=True, slots=True)
class Received:
    """A data set as it came over an association, and what its C-STORE command said of it."""

    payload: bytes | memoryview
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    association_id: str


def is_uid(text: str) -> bool:
    return len(text) <= MAX_UID_CHARACTERS and _UID.fullmatch(text) is not None


class Commanded(Protocol):
    """What a C-STORE command and its presentation context say of the data set that follows."""

    @property
    def sop_class_uid(self) -> str: ...

    @property
    def sop_instance_uid(self) -> str: ...

    @property
    def transfer_syntax_uid(self) -> str: ...


def judge(received: Received, max_depth: int = MAX_NESTING) -> Header:
    """The header of an acceptable data set; raises Unparsable, NotAsCommanded or NotIdentified with the reason.

    max_depth: how deep sequences may nest.
    """
    check_command(received)
    header = read_header(received.payload, received.transfer_syntax_uid, max_depth)
    check_header(header, received)
    return header


def check_command(commanded: Commanded) -> None:
    if not is_uid(commanded.sop_class_uid) or not is_uid(commanded.sop_instance_uid):
        raise NotIdentified("a SOP UID of the command breaks the rules for UIDs (PS3.5 9.1)")


def check_header(header: Header, commanded: Commanded) -> None:
    for name, found, expected in (
        ("SOP Class", header.sop_class_uid, commanded.sop_class_uid),
        ("SOP Instance", header.sop_instance_uid, commanded.sop_instance_uid),
    ):
        if not found:
            raise NotAsCommanded(f"{name} UID is missing in the data set")
        if found != expected:
            raise NotAsCommanded(f"{name} UID of the data set is not that of the command")
    for name, uid in (("Study", header.study_instance_uid), ("Series", header.series_instance_uid)):
        if not uid:
            raise NotIdentified(f"{name} Instance UID is missing")
        if not is_uid(uid):
            raise NotIdentified(f"{name} Instance UID breaks the rules for UIDs (PS3.5 9.1)")
    if header.pixel_data is not None:
        _judge_pixel_data(header.pixel_data, header.facts, commanded.transfer_syntax_uid)


def judged(received: Received, max_depth: int = MAX_NESTING) -> Header:
    """As `judge`, where a data set may also be too deep or too large to be judged."""
    try:
        return judge(received, max_depth)
    except RecursionError as error:
        raise Unparsable("the data set is nested too deep") from error
    except MemoryError as error:
        raise OutOfResources("there is not enough memory to read the data set") from error


def _judge_pixel_data(pixel_data: Element, facts: Mapping[str, Any], transfer_syntax_uid: str) -> None:
    frames = facts.get("NumberOfFrames", 1)
    if transfer_syntax_uid not in _NATIVE:
        fragments = pixel_data.fragments
        if fragments is not None and fragments < frames and not _MPEG.fullmatch(transfer_syntax_uid):
            raise Unparsable(f"pixel data of {frames} frames have only {fragments} fragments")
        return
    if pixel_data.fragments is not None:
        raise Unparsable("pixel data are encapsulated, though the transfer syntax is a native one")
    expected = _native_length(facts, frames)
    found = pixel_data.end - pixel_data.start
    if expected is not None and found < expected:
        raise Unparsable(f"pixel data are cut short: {expected} bytes are due, {found} are there")


def _native_length(facts: Mapping[str, Any], frames: int) -> int | None:
    """Least bytes of native pixel data (PS3.3 C.7.6.3, PS3.5 8.1); None where an attribute for it is missing."""
    keywords = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
    values = [facts.get(keyword) for keyword in keywords]
    if any(value is None for value in values):
        return None
    rows, columns, samples, bits = (int(value) for value in values if value is not None)
    part, whole = _SUBSAMPLED.get(facts.get("PhotometricInterpretation", ""), (1, 1)) if samples == 3 else (1, 1)
    return (rows * columns * samples * frames * bits * part // whole + 7) // 8
