"""Does this Key Object Selection reject instances, and which? A pure reading (PS3.3 A.35.4 and C.17; IHE RAD TF-3 4.66).

By its title a key object says that the instances it refers to were of no use, unsafe, of another patient, or are kept no
longer. Whatever the reason, they are not analysed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from dicom_node.attributes import Attributes, read_attributes
from dicom_node.content import is_uid
from dicom_node.refusals import Unparsable
from dicom_node.structure import MAX_NESTING

# PS3.16 CID 7011, those of IHE RAD TF-3 table 4.66.4.1.3-1.
TITLES: Mapping[str, str] = MappingProxyType(
    {
        "113001": "Rejected for Quality Reasons",
        "113037": "Rejected for Patient Safety Reasons",
        "113038": "Incorrect Modality Worklist Entry",
        "113039": "Data Retention Policy Expired",
    }
)
_SCHEME = "DCM"
_TITLE, _CODE, _DESIGNATOR = "ConceptNameCodeSequence", "CodeValue", "CodingSchemeDesignator"
_EVIDENCE, _SERIES = "CurrentRequestedProcedureEvidenceSequence", "ReferencedSeriesSequence"
_CONTENT, _INSTANCES, _INSTANCE_UID = "ContentSequence", "ReferencedSOPSequence", "ReferencedSOPInstanceUID"
_KEYWORDS = (_TITLE, _CODE, _DESIGNATOR, _EVIDENCE, _SERIES, _CONTENT, _INSTANCES, _INSTANCE_UID)


@dataclass(frozen=True, slots=True)
class Rejection:
    """code: the title (DCM). sop_instance_uids: of what is rejected, of whichever studies and series."""

    code: str
    sop_instance_uids: tuple[str, ...]


def reason_of(code: str) -> str:
    """ "113001, Rejected for Quality Reasons"."""
    return f"{code}, {TITLES[code]}" if code in TITLES else code


def nothing_left(instance_count: int, codes: Iterable[str]) -> str:
    """Why a series is not analysed of which every image was rejected."""
    return f"all {instance_count} images were rejected ({'; '.join(map(reason_of, codes))})"


def read_rejection(
    payload: bytes | memoryview, transfer_syntax_uid: str, max_depth: int = MAX_NESTING
) -> Rejection | None:
    """None for a key object of another title. Raises Unparsable where it does not say for certain what it rejects."""
    document = read_attributes(payload, transfer_syntax_uid, _KEYWORDS, max_depth)
    titles = document.items(_TITLE)
    if not titles:
        raise Unparsable("the key object has no title")
    code = titles[0].text(_CODE)
    if titles[0].text(_DESIGNATOR) != _SCHEME or code not in TITLES:
        return None
    listed = dict.fromkeys(_listed(document))
    if not listed:
        raise Unparsable("the key object refers to no instance")
    if not all(is_uid(uid) for uid in listed):
        raise Unparsable("the key object refers to an instance by something that is no UID (PS3.5 9.1)")
    shown = set(_shown(document))
    if shown and shown != listed.keys():
        raise Unparsable("the key object lists other instances as evidence than it shows in its content")
    return Rejection(code, tuple(listed))


def _listed(document: Attributes) -> Iterator[str]:
    """Of the evidence, where every instance of the content stands with its series and study (PS3.3 C.17.6.2)."""
    for study in document.items(_EVIDENCE):
        for series in study.items(_SERIES):
            for instance in series.items(_INSTANCES):
                yield instance.text(_INSTANCE_UID)


def _shown(item: Attributes) -> Iterator[str]:
    """Of the content tree (TID 2010)."""
    for child in item.items(_CONTENT):
        for instance in child.items(_INSTANCES):
            yield instance.text(_INSTANCE_UID)
        yield from _shown(child)
