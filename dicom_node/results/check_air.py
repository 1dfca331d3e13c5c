"""Does an object say who made it as IHE AI Results (AIR) asks, everywhere the same, and that nobody has reviewed it?"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataset import Dataset

from dicom_node.results import codes
from dicom_node.results.explicit_vr import elements, items
from dicom_node.results.skimmed import Skimmed, items_of_raw
from inference.findings import ModelIdentity

_TEXT_VALUE, _UID_VALUE = b"\x40\x00\x60\xa1UT\x00\x00", b"\x40\x00\x24\xa1UI"
_CODE_VALUE = b"\x08\x00\x00\x01SH"
_SEGMENT_NUMBER, _ALGORITHM_TYPE, _ALGORITHM = 0x00620004, 0x00620008, 0x00620007
_ALGORITHM_NAME, _ALGORITHM_VERSION = 0x00660036, 0x00660031


def air_faults(model: ModelIdentity, skimmed: Skimmed, payload: bytes) -> Iterator[str]:
    """Faults in words: contributing equipment, flags, and wherever the algorithm is named besides."""
    dataset = skimmed.dataset
    yield from _equipment_faults(model, dataset)
    if dataset.get("VerificationFlag", "UNVERIFIED") != "UNVERIFIED":
        yield f"VerificationFlag must be UNVERIFIED, since no person has reviewed it, but is {dataset.VerificationFlag}"
    encodings = convert_encodings(dataset.get("SpecificCharacterSet") or "ISO_IR 6")
    for item in items_of_raw(dataset, "SegmentSequence"):
        yield from _segment_faults(model, elements(item), encodings)
    if "ContentSequence" in dataset:
        yield from _content_faults(model, skimmed, payload, encodings)


def _equipment_faults(model: ModelIdentity, dataset: Dataset) -> Iterator[str]:
    for item in dataset.get("ContributingEquipmentSequence") or ():
        purposes = [
            (purpose.get("CodeValue"), purpose.get("CodingSchemeDesignator"))
            for purpose in item.get("PurposeOfReferenceCodeSequence") or ()
        ]
        if (codes.PROCESSING_EQUIPMENT.value, codes.PROCESSING_EQUIPMENT.scheme) in purposes:
            break
    else:
        yield "ContributingEquipmentSequence must have an item with purpose (109102, DCM), which is missing (IHE AIR)"
        return
    for keyword, wanted in (
        ("Manufacturer", model.manufacturer),
        ("ManufacturerModelName", model.title),
        ("SoftwareVersions", model.version),
        ("DeviceUID", model.device_uid),
    ):
        if (found := str(item.get(keyword, ""))) != wanted.strip():
            yield f"{keyword} of the contributing equipment must be the model's, {wanted!r}, but is {found!r} (IHE AIR)"


def _segment_faults(model: ModelIdentity, item: Mapping[int, bytes], encodings: Sequence[str]) -> Iterator[str]:
    """Of a segment's elements. A Label Map may describe a background, which nobody found (PS3.3 C.8.20.2)."""
    number = int.from_bytes(item.get(_SEGMENT_NUMBER, b""), "little")
    if number == 0:
        return
    if (found := _text(item.get(_ALGORITHM_TYPE, b""), encodings)) != "AUTOMATIC":
        yield f"SegmentAlgorithmType of segment {number} must be AUTOMATIC, but is {found} (IHE AIR)"
    algorithm = next(items(item.get(_ALGORITHM, b"")), None)
    if algorithm is None:
        yield f"SegmentationAlgorithmIdentificationSequence of segment {number} is missing (IHE AIR)"
        return
    said = elements(algorithm)
    for keyword, tag, wanted in (
        ("AlgorithmName", _ALGORITHM_NAME, model.title),
        ("AlgorithmVersion", _ALGORITHM_VERSION, model.version),
    ):
        if (found := _text(said.get(tag, b""), encodings)) != wanted.strip():
            yield (
                f"{keyword} of segment {number} must be that of the contributing equipment, {wanted!r}, but is {found!r}"
                " (IHE AIR)"
            )


def _content_faults(model: ModelIdentity, skimmed: Skimmed, payload: bytes, encodings: Sequence[str]) -> Iterator[str]:
    """TID 4019 and TID 1004, where the content has them."""
    for code, meaning, begin, wanted in (
        ("111001", "Algorithm Name", _TEXT_VALUE, model.title),
        ("111003", "Algorithm Version", _TEXT_VALUE, model.version),
        ("121012", "Device Observer UID", _UID_VALUE, model.device_uid),
        ("121014", "Device Observer Manufacturer", _TEXT_VALUE, model.manufacturer),
        ("121015", "Device Observer Model Name", _TEXT_VALUE, model.title),
    ):
        for value in _values(payload, skimmed.head, code, begin):
            if (found := _text(value, encodings)) != wanted.strip():
                yield (
                    f"{meaning} ({code}, DCM) must be that of the contributing equipment, {wanted!r}, but is {found!r}"
                    " (IHE AIR)"
                )


def _text(value: bytes, encodings: Sequence[str]) -> str:
    return decode_bytes(value, encodings, set()).strip("\0 ")


def _values(payload: bytes, end: int, code: str, begin: bytes) -> set[bytes]:
    """What content items of a concept say, found by their bytes (PS3.5 7.1.2): the value follows the concept's name."""
    name = _CODE_VALUE + struct.pack("<H", len(code)) + code.encode()
    found: set[bytes] = set()
    at = payload.find(name, 0, end)
    while at >= 0:
        value_at = payload.find(begin, at, end)
        if value_at < 0:
            return found
        first = value_at + len(begin)
        (size,) = struct.unpack_from("<L" if begin == _TEXT_VALUE else "<H", payload, first)
        first += 4 if begin == _TEXT_VALUE else 2
        found.add(payload[first : first + size])
        at = payload.find(name, first, end)
    return found
