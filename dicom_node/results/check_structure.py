"""Is a written object whole, of the right kind, about the right patient, and does all that it points at exist?

What holds for every kind, asked of the bytes; what only one kind can get wrong is asked by its own check. Frames and their
functional groups are left to these, so this takes milliseconds for an object of any size.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from dicom_node.result_kinds import kind_of
from dicom_node.results import explicit_vr
from dicom_node.results.check_air import air_faults
from dicom_node.results.check_uids import uid_faults
from dicom_node.results.dicom_file import DicomFile
from dicom_node.results.explicit_vr import elements
from dicom_node.results.patient import REQUIRED_IF_EMPTY
from dicom_node.results.required import IODS, ITEMS, MODULES, Needs
from dicom_node.results.scene import Scene
from dicom_node.results.skimmed import Skimmed, items_of_raw, skim
from dicom_node.results.source_text import element_of

PIXELS = ("PixelData", "FloatPixelData")
SAME_AS_SOURCE = (*REQUIRED_IF_EMPTY, "StudyInstanceUID", "IssuerOfPatientID")


def check_structure(scene: Scene, ordered: str, file: DicomFile) -> list[str]:
    """What is wrong with a Part 10 file, in words that name attribute, rule and value; never a value of the patient's."""
    try:
        skimmed = skim(file.head, file.size_bytes)
    except ValueError as error:
        return [f"the file cannot be read back: {error}"]
    iod, dataset = IODS[kind_of(ordered)], skimmed.dataset
    # What is marked on images without a place in the patient has no frame of reference either (PS3.3 table A.51-1).
    is_placed = all(plane.has_place or plane.tile is not None for plane in scene.planes)
    modules = [module for module in iod.modules if is_placed or module != "frame-of-reference"]
    faults = [fault for module in modules for fault in _lacking(dataset, MODULES[module], f"module {module}", skimmed)]
    try:
        for path, needs in ITEMS.items():
            faults += _lacking_in_items(dataset, path, needs)
    except (ValueError, struct.error) as error:
        faults.append(f"a sequence cannot be read back: {error}")
    faults += _class_faults(dataset, iod.sop_class_uid)
    faults += _source_faults(scene, dataset)
    faults += _size_faults(skimmed)
    return [*faults, *uid_faults(scene, skimmed, file.head), *air_faults(scene.report.model, skimmed, file.head)]


def _lacking(dataset: Dataset, needs: Needs, where: str, skimmed: Skimmed) -> Iterator[str]:
    for keyword in (*needs.type_1, *needs.type_2):
        if keyword in PIXELS:
            if not skimmed.frames_size and skimmed.frames_at is None:
                yield f"{named(keyword)} is missing ({where}, type 1)"
        elif keyword not in dataset:
            yield f"{named(keyword)} is missing ({where}, type {1 if keyword in needs.type_1 else 2})"
        elif keyword in needs.type_1 and _is_empty(dataset, keyword):
            yield f"{named(keyword)} has no value ({where}, type 1)"


def _lacking_in_items(dataset: Dataset, path: Sequence[str], needs: Needs) -> Iterator[str]:
    """The same of each item of the sequences at a path; all that is asked of items is of type 1."""
    wanted = [(tag_for_keyword(keyword) or 0, keyword) for keyword in needs.type_1]
    for where, item in _items(items_of_raw(dataset, path[0]), path):
        for tag, keyword in wanted:
            if not item.get(tag):
                said = "has no value" if tag in item else "is missing"
                yield f"{named(keyword)} {said} ({where}, type 1)"


def _items(items: Iterable[bytes], path: Sequence[str], above: str = "") -> Iterator[tuple[str, Mapping[int, bytes]]]:
    """The elements of each item of the sequences at a path, with its place in words."""
    further = tag_for_keyword(path[1]) or 0 if len(path) > 1 else 0
    for number, item in enumerate(items, start=1):
        where, found = f"{above}item {number} of {path[0]}", elements(item)
        if not further:
            yield where, found
        else:
            yield from _items(explicit_vr.items(found.get(further, b"")), path[1:], f"{where}, ")


def _is_empty(dataset: Dataset, keyword: str) -> bool:
    """Of what was read, without parsing it."""
    element = dataset.get_item(keyword)
    return not element.value if isinstance(element, RawDataElement) else element.is_empty


def _class_faults(dataset: Dataset, sop_class_uid: str) -> Iterator[str]:
    if (found := dataset.get("SOPClassUID")) != sop_class_uid:
        yield f"{named('SOPClassUID')} must be {sop_class_uid} for this kind of result, but is {found}"
    meta = getattr(dataset, "file_meta", Dataset())
    for in_meta, keyword in (
        ("MediaStorageSOPClassUID", "SOPClassUID"),
        ("MediaStorageSOPInstanceUID", "SOPInstanceUID"),
    ):
        if meta.get(in_meta) != dataset.get(keyword):
            yield f"{named(in_meta)} must equal {keyword} {dataset.get(keyword)}, but is {meta.get(in_meta)}"


def _source_faults(scene: Scene, dataset: Dataset) -> Iterator[str]:
    """Patient and study are the source's: else a PACS would file the result elsewhere."""
    source, volume = scene.report.first_source, scene.report.volume
    for keyword in SAME_AS_SOURCE:
        if _text(dataset, keyword) != _text(source, keyword):
            yield f"{named(keyword)} must be that of the source images, but is another"
    wanted = volume.frame_of_reference_uid if volume else ""
    found = dataset.get("FrameOfReferenceUID")
    if wanted and found and found != wanted:
        yield f"{named('FrameOfReferenceUID')} must be that of the source images, {wanted}, but is {found}"


def _text(dataset: Dataset, keyword: str) -> str:
    """As the source's character set, or our own, writes it: two encodings of one name are one name."""
    element = element_of(dataset, keyword)
    return "" if element is None or element.is_empty else str(element.value).strip()


def _size_faults(skimmed: Skimmed) -> Iterator[str]:
    """As many bytes of pixels as rows, columns, frames and bits ask for, and one more where that is odd (PS3.5 8.1.1)."""
    dataset = skimmed.dataset
    if skimmed.frames_size is not None:
        frames = int(dataset.get("NumberOfFrames") or 1)
        samples = [int(dataset.get(name) or 0) for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")]
        bits = frames * samples[0] * samples[1] * samples[2] * samples[3]
        wanted = -(-bits // 8)
        wanted += wanted % 2
        if skimmed.frames_size != wanted:
            yield (
                f"the pixel data must have {wanted} bytes for {frames} frames of {samples[0]} x {samples[1]} pixels with"
                f" {samples[2]} samples of {samples[3]} bits, but have {skimmed.frames_size}"
            )
    document, stated = dataset.get("EncapsulatedDocument"), dataset.get("EncapsulatedDocumentLength")
    if document is not None and stated is not None and len(document) != stated + stated % 2:
        yield f"{named('EncapsulatedDocumentLength')} must be that of the document, {len(document)}, but is {stated}"


def named(keyword: str) -> str:
    """ "SeriesInstanceUID (0020,000E)"."""
    tag = tag_for_keyword(keyword) or 0
    return f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"
