"""How a result becomes a file: its character set, its private coding schemes, and PS3.10 around it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO

from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import VR, PersonName

from dicom_node.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

UNICODE = "ISO_IR 192"
TEXT_VRS = {VR.LO, VR.LT, VR.PN, VR.SH, VR.ST, VR.UC, VR.UT}


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """An object as a complete Part 10 file, and its data set, which need not hold what is large."""

    dataset: Dataset
    payload: bytes


def written(dataset: Dataset) -> Written:
    return Written(dataset, part10(dataset))


def part10(dataset: Dataset) -> bytes:
    """The data set as a file (PS3.10 section 7), zero preamble, Explicit VR Little Endian."""
    name_private_coding_schemes(dataset)
    choose_character_set(dataset)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset.file_meta = meta
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
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
    """Keep the source's character set where it can write our text too; else write everything in Unicode."""
    declared = dataset.get("SpecificCharacterSet")
    encodings = convert_encodings(declared) if declared else ["ascii"]
    if not all(writable(character, encodings) for character in set("".join(texts(dataset)))):
        dataset.SpecificCharacterSet = UNICODE


def writable(character: str, encodings: Iterable[str]) -> bool:
    """True where one of the Python encodings has the character."""
    for encoding in encodings:
        try:
            character.encode(encoding)
        except UnicodeEncodeError:
            continue
        return True
    return False


def texts(dataset: Dataset) -> Iterator[str]:
    """Every value that the character set governs (PS3.5 6.1.2.2), nested ones included."""
    for element in dataset:
        if element.VR == VR.SQ:
            for item in element.value:
                yield from texts(item)
        elif element.VR in TEXT_VRS and element.value:
            values = element.value if element.VM > 1 else [element.value]
            yield from (str(value) if isinstance(value, PersonName) else value for value in values)
