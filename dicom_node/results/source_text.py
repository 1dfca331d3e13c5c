"""Elements of a source as our objects bear them: the same values, whatever the source says of its character set.

The library reads text that is not in the character set that is stated by putting marks of replacement in its place. A name
must not change so: bytes that mean nothing there are read as ISO_IR 100, which loses none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import VR

from dicom_node.character_sets import BY_CHARACTER_SET, Decoder, are_as_defined

CHARACTER_SET = Tag("SpecificCharacterSet")
ONE_VALUE = {VR.LT, VR.ST, VR.UT}
"""In these a backslash is a character as any other (PS3.5 6.2)."""


def terms_of(dataset: Dataset) -> tuple[str, ...]:
    """The values of Specific Character Set; none where it is absent or empty."""
    stated = dataset.get("SpecificCharacterSet")
    if not stated:
        return ()
    return (str(stated),) if isinstance(stated, str) else tuple(str(term) for term in stated)


def element_of(source: Dataset, keyword: str) -> DataElement | None:
    """A copy of the element, with its text as str; None where the source has none."""
    tag = Tag(keyword)
    return _copy(source, tag, terms_of(source)) if tag in source else None


def items_of(source: Dataset, keyword: str) -> Sequence[Dataset]:
    """Copies of the items of a sequence; none where it is absent."""
    element = element_of(source, keyword)
    return () if element is None else element.value or ()


def _copy(dataset: Dataset, tag: BaseTag, terms: Sequence[str]) -> DataElement:
    stored = dataset.get_item(tag)
    if isinstance(stored, RawDataElement) and stored.value and (vr := _text_vr(stored)):
        notes: list[str] = []
        text = Decoder(terms, notes.append).text(stored.value, vr)
        # A name that is as it should be keeps its bytes, so it is written just as it came; but the library splits it at
        # each byte that could be a backslash, and in Chinese that may be half a character.
        if notes or vr != VR.PN or not are_as_defined(terms) or b"\\" in stored.value:
            values = [text] if vr in ONE_VALUE else text.split("\\")
            value = values[0] if len(values) == 1 else values
            return DataElement(tag, vr, value, validation_mode=IGNORE)
    element = dataset[tag]
    if element.VR == VR.SQ:
        # A new one, since that of a source may be of undefined length, and ours are not.
        return DataElement(tag, VR.SQ, Items([_copied(item, terms) for item in element.value]))
    return deepcopy(element)


def _copied(item: Dataset, terms: Sequence[str]) -> Dataset:
    """An item may have a character set of its own (PS3.5 7.5.3); ours is that of the whole object."""
    own, copied = terms_of(item) or terms, Dataset()
    for tag in item.keys():  # noqa: SIM118 - to iterate over it would decode
        if tag != CHARACTER_SET:
            copied.add(_copy(item, tag, own))
    return copied


def _text_vr(stored: RawDataElement) -> str | None:
    """Its VR where the character set governs it. In implicit VR it is that of the dictionary; private elements are bytes."""
    if stored.tag.is_private:
        return None
    vr = stored.VR or dictionary_VR(stored.tag)
    return vr if vr in BY_CHARACTER_SET else None
