"""What the header of an instance says, read once when it comes in: identity for the index, facts for later decisions.

Facts are JSON-safe: keyword of PS3.6 -> text, number, or a list of these; besides them
    has_pixel_data   whether there is any, of whole numbers or of floating point ones
    frames           of an enhanced multi-frame object: {"orientations": [..6 numbers..] of the frames that differ,
                     "positions": [[x, y, z], ..] by frame}
    notes            attributes that were left out, and why
A value that breaks its VR is left out with a note; it never stops an instance.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword

from dicom_node.character_sets import Decoder
from dicom_node.conditions import FACT_KEYWORDS, ROUTING_KEYWORDS
from dicom_node.structure import (
    DOUBLE_FLOAT_PIXEL_DATA,
    FLOAT_PIXEL_DATA,
    MAX_NESTING,
    PIXEL_DATA,
    Element,
    Structure,
    scan,
)

_GEOMETRY = (
    "AcquisitionNumber",
    "AcquisitionDate",
    "AcquisitionTime",
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "ContentTime",
    "DiffusionBValue",
    "EchoNumbers",
    "EchoTime",
    "FrameOfReferenceUID",
    "GantryDetectorTilt",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "ImagesInAcquisition",
    "InConcatenationTotalNumber",
    "InstanceNumber",
    "KVP",
    "Laterality",
    "NumberOfFrames",
    "NumberOfSeriesRelatedInstances",
    "NumberOfStudyRelatedInstances",
    "NumberOfTemporalPositions",
    "PatientPosition",
    "PhotometricInterpretation",
    "PixelRepresentation",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SamplesPerPixel",
    "SeriesDate",
    "SeriesNumber",
    "SeriesTime",
    "SliceLocation",
    "SpacingBetweenSlices",
    "StudyDate",
    "StudyTime",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "TriggerTime",
)
_PATIENT = ("IssuerOfPatientID", "PatientAge", "PatientBirthDate", "PatientSex")
FACTS = tuple(sorted({*_GEOMETRY, *_PATIENT, *ROUTING_KEYWORDS} - set(FACT_KEYWORDS)))

# Keyword -> field of Header, and how many characters of it are kept.
_IDENTITY: Mapping[str, tuple[str, int | None]] = MappingProxyType(
    {
        "SOPClassUID": ("sop_class_uid", None),
        "SOPInstanceUID": ("sop_instance_uid", None),
        "StudyInstanceUID": ("study_instance_uid", None),
        "SeriesInstanceUID": ("series_instance_uid", None),
        "PatientID": ("patient_id", None),
        "PatientName": ("patient_name", None),
        "AccessionNumber": ("accession_number", None),
        "StudyDate": ("study_date", 16),
        "StudyDescription": ("study_description", None),
    }
)
# Where an enhanced multi-frame object keeps geometry (PS3.3 C.7.6.16).
_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_GROUPS = (_SHARED, _PER_FRAME, "PlaneOrientationSequence", "PlanePositionSequence", "PixelMeasuresSequence")
_MEASURES = ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices")
# Where a modality repeats what the request says of the procedure (PS3.3 table 10-9).
_REQUEST = "RequestAttributesSequence"
_REQUESTED = ("RequestedProcedurePriority", "ScheduledProcedureStepPriority")

MAX_TEXT_CHARACTERS = 1024
MAX_VALUES = 64
MAX_FRAMES = 100_000
_CACHED_VALUES = 4096
_CACHED_BYTES = 256
_NUMBERS: Mapping[str, str] = MappingProxyType({"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"})


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(f"{keyword} is no keyword of the data dictionary")
    return tag


_TAGS: Mapping[str, int] = MappingProxyType(
    {keyword: _tag(keyword) for keyword in (*FACTS, *_IDENTITY, *_GROUPS, _REQUEST, "SpecificCharacterSet")}
)
_VRS: Mapping[str, str] = MappingProxyType({keyword: dictionary_VR(tag) for keyword, tag in _TAGS.items()})
_SINGLE = frozenset(keyword for keyword, tag in _TAGS.items() if dictionary_VM(tag) == "1")
# At most one of them is in a data set (PS3.3 C.7.6.24).
_PIXELS = (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA)
WANTED = frozenset((*_TAGS.values(), *_PIXELS))
# What they say is in the facts by what others say as well, or do not say.
READ_WITH_OTHERS = frozenset(_TAGS[keyword] for keyword in (*_GROUPS, _REQUEST, *_REQUESTED))
IDENTITY: Mapping[int, str] = MappingProxyType({_TAGS[keyword]: keyword for keyword in _IDENTITY})
_FACT_BY_TAG: Mapping[int, str] = MappingProxyType({_TAGS[keyword]: keyword for keyword in FACTS})


class Header(NamedTuple):
    """The header of one instance. Identifiers are as written, and empty where absent: whoever uses them checks them."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    patient_id: str
    patient_name: str
    accession_number: str
    study_date: str
    study_description: str
    facts: Mapping[str, Any]
    pixel_data: Element | None


def read_header(payload: bytes | memoryview, transfer_syntax_uid: str, max_depth: int = MAX_NESTING) -> Header:
    """Read the header of an encoded data set; raises Unparsable where the data set does not hold together."""
    found = scan(payload, transfer_syntax_uid, WANTED, max_depth)
    reader = Reader(payload, found)
    identity = dict(reader.identity(found.elements, keyword) for keyword in _IDENTITY)
    facts = {keyword: value for keyword in FACTS if (value := reader.value(found.elements, keyword)) is not None}
    pixel_data = next((found.elements[tag] for tag in _PIXELS if tag in found.elements), None)
    facts["has_pixel_data"] = pixel_data is not None
    facts |= _functional_groups(reader, found.elements, facts)
    facts |= _requested(reader, found.elements, facts)
    if reader.notes:
        facts["notes"] = reader.notes
    return Header(**identity, facts=facts, pixel_data=pixel_data)


def header_like(
    other: Header, values: Iterable[tuple[int, bytes]], pixel_data: Element, terms: tuple[str, ...]
) -> Header | None:
    """The header of an instance that differs from another only in these elements; None where one breaks its VR.

    values: tag and value of each. Little endian. terms: of the Specific Character Set of both.
    """
    facts = dict(other.facts)
    identity: dict[str, str] = {}
    for tag, raw in values:
        if keyword := IDENTITY.get(tag):
            field, most = _IDENTITY[keyword]
            text, notes = _text.__wrapped__(raw[: 4 * MAX_TEXT_CHARACTERS], _VRS[keyword], terms)
            if notes:
                return None
            identity[field] = text.strip()[:most]
        if fact := _FACT_BY_TAG.get(tag):
            value, notes = _value.__wrapped__(fact, raw, "<", terms) if raw else (None, ())
            if notes:
                return None
            if value is None:
                facts.pop(fact, None)
            else:
                facts[fact] = value
    return other._replace(**identity, facts=facts, pixel_data=pixel_data)


def _plain(raw: bytes) -> str | None:
    """Text that is the same in every character set; None where it may not be."""
    text = raw.rstrip(b"\0 ")
    if len(text) > MAX_TEXT_CHARACTERS or not text.isascii() or any(map(text.__contains__, b"\\~")):
        return None
    plain = text.decode("ascii")
    return plain if plain.isprintable() else None


class Reader:
    """Decodes values where the scan found them; what breaks its VR becomes a note."""

    def __init__(self, payload: bytes | memoryview, found: Structure, terms: tuple[str, ...] | None = None) -> None:
        """terms: of the Specific Character Set, where they are known and without fault."""
        self._payload = payload
        self._order = found.order
        self.notes: list[str] = []
        self.terms = self._read_terms(found.elements) if terms is None else terms
        if terms is None:
            Decoder(self.terms, self.notes.append)  # what is wrong with the terms themselves is noted once

    def identity(self, elements: Mapping[int, Element], keyword: str) -> tuple[str, str]:
        """Field of Header, and its text."""
        field, most = _IDENTITY[keyword]
        return field, self.text(elements, keyword)[:most]

    def text(self, elements: Mapping[int, Element], keyword: str) -> str:
        """The value as one text; empty where absent."""
        element = elements.get(_TAGS[keyword])
        if element is None:
            return ""
        raw = self._raw(element)[: 4 * MAX_TEXT_CHARACTERS]
        decode = _text if len(raw) <= _CACHED_BYTES else _text.__wrapped__
        text, notes = decode(raw, _VRS[keyword], self.terms)
        self.notes += notes
        return text.strip()

    def value(self, elements: Mapping[int, Element], keyword: str) -> Any:
        """Number, text, or a list of these; None where absent, empty or not of its VR."""
        element = elements.get(_TAGS[keyword])
        if element is None or element.start == element.end:
            return None
        # From one instance of a series to the next, most values are the same.
        decode = _value if element.end - element.start <= _CACHED_BYTES else _value.__wrapped__
        value, notes = decode(keyword, self._raw(element), self._order, self.terms)
        self.notes += notes
        return value

    def _read_terms(self, elements: Mapping[int, Element]) -> tuple[str, ...]:
        element = elements.get(_TAGS["SpecificCharacterSet"])
        if element is None:
            return ()
        return tuple(part.strip(" \x00") for part in self._raw(element).decode("ascii", "replace").split("\\"))

    def _raw(self, element: Element) -> bytes:
        return bytes(self._payload[element.start : element.end])


Notes = tuple[str, ...]


@lru_cache(maxsize=_CACHED_VALUES)
def _value(keyword: str, raw: bytes, order: str, terms: tuple[str, ...]) -> tuple[Any, Notes]:
    """The value that these bytes are, and what is to be noted about it."""
    vr = _VRS[keyword]
    notes: Notes = ()
    try:
        if not _is_numeric(vr):
            text, notes = _text.__wrapped__(raw[: 4 * MAX_TEXT_CHARACTERS], vr, terms)
            parts = [text.strip()] if keyword in _SINGLE else [part.strip() for part in text.split("\\")]
            values: Sequence[Any] = [part for part in parts if part]
        else:
            values = _numbers(vr, raw, order)
    except (ValueError, struct.error):
        return None, (f"{keyword} is not a {vr} and was left out",)
    if len(values) > MAX_VALUES:
        return None, (*notes, f"{keyword} has {len(values)} values and was left out")
    if not values:
        return None, notes
    return (values[0] if keyword in _SINGLE else list(values)), notes


def _is_numeric(vr: str) -> bool:
    return vr in {"DS", "IS"} or vr.partition(" ")[0] in _NUMBERS


def _numbers(vr: str, raw: bytes, order: str) -> Sequence[Any]:
    if vr == "DS":
        return [_finite(part) for part in _parts(raw)]
    if vr == "IS":
        return [_integer(part) for part in _parts(raw)]
    code = _NUMBERS[vr.partition(" ")[0]]
    numbers = struct.unpack(f"{order}{len(raw) // struct.calcsize('=' + code)}{code}", raw)
    return [_finite(number) if isinstance(number, float) else number for number in numbers]


def _parts(raw: bytes) -> Iterator[str]:
    for part in raw.decode("ascii").split("\\"):
        if stripped := part.strip(" \x00"):
            yield stripped


@lru_cache(maxsize=_CACHED_VALUES)
def _text(raw: bytes, vr: str, terms: tuple[str, ...]) -> tuple[str, Notes]:
    if (plain := _plain(raw)) is not None:
        return plain, ()
    notes: list[str] = []
    decoder = Decoder(terms, notes.append)
    notes.clear()
    text = decoder.text(raw, vr)
    printable = text if text.isprintable() else "".join(c for c in text if c.isprintable())
    return printable[:MAX_TEXT_CHARACTERS], tuple(notes)


def _finite(value: str | float) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not a finite number")
    return number


def _integer(value: str) -> int:
    number = float(value)  # "5.0" is common, and means 5
    if not number.is_integer() or abs(number) >= 2**31:
        raise ValueError("not an integer string")
    return int(number)


def _functional_groups(reader: Reader, elements: Mapping[int, Element], facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Geometry of an enhanced multi-frame object; the first frame's also under the keywords of a single-frame one."""
    shared, per_frame = (elements.get(_TAGS[keyword]) for keyword in (_SHARED, _PER_FRAME))
    if per_frame is None or not 0 < len(per_frame.items) <= MAX_FRAMES:
        return {}
    common: Mapping[int, Element] = shared.items[0] if shared and shared.items else {}
    read = _FrameReader(reader, common)
    orientations = read.all(per_frame.items, "PlaneOrientationSequence", "ImageOrientationPatient")
    positions = read.all(per_frame.items, "PlanePositionSequence", "ImagePositionPatient")
    distinct = list(dict.fromkeys(tuple(value) for value in orientations if value is not None))
    added: dict[str, Any] = {"frames": {"orientations": [list(value) for value in distinct], "positions": positions}}
    first = {
        "ImageOrientationPatient": orientations[0],
        "ImagePositionPatient": positions[0],
        **{keyword: read.one(per_frame.items[0], "PixelMeasuresSequence", keyword) for keyword in _MEASURES},
    }
    return added | {keyword: value for keyword, value in first.items() if value is not None and keyword not in facts}


def _requested(reader: Reader, elements: Mapping[int, Element], facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the request says, where only an item of the Request Attributes Sequence has it."""
    request = elements.get(_TAGS[_REQUEST])
    found: dict[str, Any] = {}
    for item in request.items if request else ():
        for keyword in _REQUESTED:
            value = reader.value(item, keyword) if keyword not in facts and keyword not in found else None
            if value is not None:
                found[keyword] = value
    return found


class _FrameReader:
    def __init__(self, reader: Reader, common: Mapping[int, Element]) -> None:
        self._value: Callable[[Mapping[int, Element], str], Any] = reader.value
        self._common = common

    def one(self, frame: Mapping[int, Element], group: str, keyword: str) -> Any:
        """A value of one frame, from its own functional groups or else from the shared ones."""
        for groups in (frame, self._common):
            macro = groups.get(_TAGS[group])
            if macro is not None and macro.items:
                return self._value(macro.items[0], keyword)
        return None

    def all(self, frames: Sequence[Mapping[int, Element]], group: str, keyword: str) -> list[Any]:
        return [self.one(frame, group, keyword) for frame in frames]
