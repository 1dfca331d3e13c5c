"""Names of organs and lesions, as people write them for the channels of a network, and their codes in SNOMED CT."""

from __future__ import annotations

import re

from inference.manifested import CodedConcept

_STRUCTURE = ("91723000", "Anatomical Structure")
_ABNORMAL = ("49755003", "Morphologically Abnormal Structure")
_RIGHT, _LEFT = ("24028007", "Right"), ("7771000", "Left")

_STRUCTURES = {
    "adrenal gland": ("23451007", "Adrenal gland"),
    "aorta": ("15825003", "Aorta"),
    "bladder": ("89837001", "Urinary bladder"),
    "brain": ("12738006", "Brain"),
    "colon": ("71854001", "Colon"),
    "duodenum": ("38848004", "Duodenum"),
    "esophagus": ("32849002", "Esophagus"),
    "gallbladder": ("28231008", "Gallbladder"),
    "heart": ("80891009", "Heart"),
    "hippocampus": ("5366008", "Hippocampus"),
    "inferior vena cava": ("64131007", "Inferior vena cava"),
    "kidney": ("64033007", "Kidney"),
    "liver": ("10200004", "Liver"),
    "lung": ("39607008", "Lung"),
    "pancreas": ("15776009", "Pancreas"),
    "portal vein": ("32764006", "Portal vein"),
    "prostate": ("41216001", "Prostate"),
    "spleen": ("78961009", "Spleen"),
    "stomach": ("69695003", "Stomach"),
    "trachea": ("44567001", "Trachea"),
    "vertebra": ("51282000", "Vertebra"),
}
_ABNORMALITIES = {
    "edema": ("79654002", "Edema"),
    "lesion": ("52988006", "Lesion"),
    "necrosis": ("6574001", "Necrosis"),
    "nodule": ("27925004", "Nodule"),
    "tumor": ("108369006", "Neoplasm"),
}
_SAME = {"oesophagus": "esophagus", "urinary bladder": "bladder", "postcava": "inferior vena cava", "tumour": "tumor"}


def codes_of(name: str) -> tuple[CodedConcept, CodedConcept, CodedConcept | None]:
    """Category, type and laterality of what a channel is called: "left_kidney", "Liver", "lung tumor".

    What has no name here is an anatomical structure, which its label names: codes are never made up.
    """
    words = re.sub(r"[^a-z]+", " ", name.lower()).strip()
    side = _RIGHT if re.search(r"\bright\b", words) else _LEFT if re.search(r"\bleft\b", words) else None
    words = re.sub(r"\b(right|left)\b", "", words)
    words = " ".join(words.split())
    words = _SAME.get(words, words)
    laterality = _concept(*side) if side else None
    for abnormal, code in _ABNORMALITIES.items():
        if re.search(rf"\b{abnormal}s?\b", words):
            return _concept(*_ABNORMAL), _concept(*code), laterality
    singular = words.removesuffix("s")
    found = _STRUCTURES.get(words) or _STRUCTURES.get(singular) or _STRUCTURE
    return _concept(*_STRUCTURE), _concept(*found), laterality


def _concept(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value=value, scheme="SCT", meaning=meaning)
