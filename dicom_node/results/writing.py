"""How a result becomes a file: its character set, its private coding schemes, and PS3.10 around it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

from pydicom.charset import convert_encodings, decode_bytes, default_encoding, encode_string
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import TEXT_VR_DELIMS, VR

from dicom_node.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.results.dicom_file import DicomFile

UNICODE, LATIN_1 = "ISO_IR 192", "ISO_IR 100"
JAPANESE = {"iso2022_jp": b"\x1b$B", "iso2022_jp_2": b"\x1b$(D"}
"""JIS X 0208 and JIS X 0212 by the escape sequences that announce them (PS3.3 table C.12-4)."""
NAME_DELIMITERS = re.compile(r"[\^=]")
TEXT_VRS = {VR.LO, VR.LT, VR.PN, VR.SH, VR.ST, VR.UC, VR.UT}


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """An object as a complete Part 10 file, and its data set, which need not hold what is large."""

    dataset: Dataset
    file: DicomFile

    @property
    def payload(self) -> bytes:
        """The file in one piece; of one with frames of their own, a copy."""
        return self.file.whole()


def written(dataset: Dataset) -> Written:
    return Written(dataset, DicomFile(part10(dataset)))


def part10(dataset: Dataset) -> bytes:
    """The data set as a file, with its private coding schemes named, in a character set that can write all of it."""
    say_what_it_is_written_in(dataset)
    return whole_file(dataset)


def say_what_it_is_written_in(dataset: Dataset) -> None:
    """Its character set, and who is responsible for its private codes."""
    name_private_coding_schemes(dataset)
    choose_character_set(dataset)


def whole_file(dataset: Dataset, last: tuple[int, bytes] | None = None) -> bytes:
    """The data set as it is as a file (PS3.10 section 7), zero preamble, Explicit VR Little Endian.

    last: tag and bytes of an element already encoded, which comes after all others; ValueError where it would not.
    """
    if last and last[0] <= max(dataset.keys()):
        raise ValueError(f"{last[0]:08X} must be the last element, but {max(dataset.keys()):08X} would come after it")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset.file_meta = meta
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    if last:
        buffer.write(last[1])
    return buffer.getvalue()


def name_private_coding_schemes(dataset: Dataset) -> None:
    """Say who is responsible for the codes of private schemes (PS3.3 C.12.1.1.17); their designators begin with 99."""
    items = []
    for designator in sorted({scheme for scheme in schemes(dataset) if scheme.startswith("99")}):
        item = Dataset()
        item.CodingSchemeDesignator = designator
        item.CodingSchemeResponsibleOrganization = dataset.ContributingEquipmentSequence[0].Manufacturer
        items.append(item)
    if items:
        dataset.CodingSchemeIdentificationSequence = items


def schemes(dataset: Dataset) -> Iterator[str]:
    """Every Coding Scheme Designator in the data set, nested ones included."""
    for element in dataset:
        if element.VR == VR.SQ:
            for item in element.value:
                yield from schemes(item)
        elif element.keyword == "CodingSchemeDesignator":
            yield str(element.value)


def choose_character_set(dataset: Dataset) -> None:
    """Keep the source's character set where it can write our text too; else write everything in Unicode.

    Where the source states none, ISO_IR 100 does for what is not ASCII and was read as such.
    """
    found = [text for text in set(texts(dataset)) if not text.isascii()]
    if not found:
        return
    declared = dataset.get("SpecificCharacterSet")
    for terms in (declared, UNICODE) if declared else (LATIN_1,):
        encodings = convert_encodings(terms)
        if all(writable(text, encodings) for text in found):
            dataset.SpecificCharacterSet = terms
            return
    dataset.SpecificCharacterSet = UNICODE


def writable(text: str, encodings: Sequence[str]) -> bool:
    """True where the text, written in these encodings of Python, is read as it was.

    Each character must be in one of them; none may have a byte that readers take for the backslash between two values; and
    the whole must survive its escape sequences, which a line's end undoes.
    """
    if not all(has_character(character, encodings) for character in set(text)):
        return False
    encoded = encode_string(text, encodings)
    if b"\\" in encoded and "\\" not in text:
        return False
    try:
        return len(encodings) == 1 or decode_bytes(encoded, encodings, TEXT_VR_DELIMS) == text
    except (ValueError, Warning):
        return False


def has_character(character: str, encodings: Iterable[str]) -> bool:
    return any(in_encoding(character, encoding) for encoding in encodings)


def in_encoding(character: str, encoding: str) -> bool:
    """Python's codecs for Japanese know more than the one character set that DICOM means by each."""
    try:
        encoded = character.encode("ascii" if encoding == default_encoding else encoding)
    except UnicodeEncodeError:
        return False
    if encoding in JAPANESE:
        return encoded.startswith(JAPANESE[encoding])
    return encoding != "shift_jis" or len(encoded) == 1


def texts(dataset: Dataset) -> Iterator[str]:
    """Every text that the character set governs (PS3.5 6.1.2.2), nested ones included; of names their components."""
    for element in dataset:
        if element.VR == VR.SQ:
            for item in element.value:
                yield from texts(item)
        elif element.VR in TEXT_VRS and element.value:
            for value in element.value if element.VM > 1 else [element.value]:
                yield from NAME_DELIMITERS.split(str(value)) if element.VR == VR.PN else (value,)
